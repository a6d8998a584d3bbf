"""The process that ExaBGP starts for its API: a bridge between its two pipes and the parent's unix socket.

In:  argv[1], the socket's path. Out: bytes, unchanged, both ways.
It ends when either side ends: ExaBGP then starts another one, or ends as well, which is what is wanted when
the parent is gone. It never drops a byte: if the parent does not read, ExaBGP waits.
"""

import os
import select
import socket
import sys


def main() -> None:
    parent = socket.socket(socket.AF_UNIX)
    parent.connect(sys.argv[1])
    while True:
        ready, _, _ = select.select([0, parent], [], [])
        if 0 in ready:
            events = os.read(0, 65536)
            if not events:
                return
            parent.sendall(events)
        if parent in ready:
            commands = parent.recv(65536)
            if not commands:
                return
            while commands:
                commands = commands[os.write(1, commands) :]


main()
