"""The API server's door in the host's own namespace: 127.0.0.1:PORT → the control plane's namespace.

In:  a namespace, an address and port inside it, a file.
Out: a listening port, which the kernel chose, written to that file.
     The listening socket is made before this process enters the namespace, all others after it.
Elsewhere: who runs it, in cluster.py. Run: python -m lab.forwarder NAMESPACE ADDRESS PORT FILE
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from pathlib import Path
from typing import Final

from lab.shell import NETNS

CLONE_NEWNET: Final = 0x40000000


def enter(namespace: str) -> None:
    """Move this thread into a network namespace (os.setns exists only from Python 3.12 on)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (NETNS / namespace).open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}: {os.strerror(ctypes.get_errno())}")


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    with contextlib.suppress(OSError, RuntimeError):
        sink.close()


async def _serve(door: socket.socket, address: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    server = await asyncio.start_server(connected, sock=door)
    await server.serve_forever()


def main() -> None:
    """Forward until killed."""
    namespace, address, port, file = sys.argv[1:]
    wanted = Path(file)
    # After a restart the same port, so that kubeconfigs stay good.
    old = int(wanted.read_text()) if wanted.exists() else 0
    door = socket.create_server(("127.0.0.1", old), backlog=256)
    enter(namespace)
    part = wanted.with_suffix(".part")
    part.write_text(str(door.getsockname()[1]))
    part.replace(wanted)
    asyncio.run(_serve(door, address, int(port)))


if __name__ == "__main__":
    main()
