"""What every packet socket of the reflex has in common: filter before bind, the kernel's time of receipt.

In:  an interface, an EtherType, a filter. Out: sockets.
Elsewhere: filters.py makes the programs; edge.py and beating.py read and write; the age of
     what they read is metalbgp/clocks.py.
"""

import array
import errno
import socket
import struct
from typing import Final

from metalbgp.clocks import SO_TIMESTAMPNS
from metalbgp.l2 import filters

_SO_ATTACH_FILTER: Final = 26
_PROGRAM: Final = struct.Struct("HP")


def packet_socket(name: str, ethertype: int, *programs: bytes) -> socket.socket:
    """Filter before bind: not one frame may pass that the filter would have refused. `programs`: the first
    that the kernel has the option memory for."""
    fresh = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        fresh.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        attach(fresh, *programs)
        fresh.bind((name, ethertype))
    except OSError:
        fresh.close()
        raise
    return fresh


def attach(to: socket.socket, *programs: bytes) -> None:
    """Put a filter on a socket: the first that the kernel's option memory is large enough for."""
    for program in programs:
        held = array.array("B", program)
        fprog = _PROGRAM.pack(filters.instructions(program), held.buffer_info()[0])
        try:
            to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
        except OSError as problem:
            if problem.errno not in (errno.ENOMEM, errno.ENOBUFS) or program is programs[-1]:
                raise
        else:
            return
