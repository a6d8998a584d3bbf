"""Classic BPF that keeps strangers' datagrams out of a port's queue: no flood displaces a router's. Pure.

In:  packed addresses of the routers; in a flood from one of these, what else a packet of theirs must have.
Out: raw sock_filter instructions for SO_ATTACH_FILTER on a UDP socket.
Elsewhere: attaching in receiver.py. It saves wake-ups and room: edge.py checks everything again.
"""

import struct
from collections.abc import Collection, Iterable
from typing import Final

LIMIT: Final = 1000  # routers: two instructions each, of the kernel's 4,096

_INSTRUCTION: Final = struct.Struct("=HBBI")
_AND, _LOAD_WORD, _LOAD_BYTE, _JUMP, _JUMP_EQUAL, _RETURN = 0x54, 0x20, 0x30, 0x05, 0x15, 0x06
_IP: Final = 0xFFF00000  # SKF_NET_OFF: offsets from the IP header, whatever the socket sees of the packet
_TTL: Final = {4: 8, 16: 7}  # by the length of an address
_SOURCE_END: Final = {4: 12, 16: 20}  # its last word: enough to be rid of nearly all others
_FIRST, _YOURS = 8, 16  # version, Your Discriminator; the socket's data begin with the UDP header
_ACCEPT: Final = _INSTRUCTION.pack(_RETURN, 0, 0, 0x40000)
_REJECT: Final = _INSTRUCTION.pack(_RETURN, 0, 0, 0)


def program(
    size: int, sources: Iterable[bytes], *, near: bool = False, discriminators: Collection[int] = ()
) -> bytes:
    """`size`: of the family's addresses; `near`: TTL 255 and nothing less; `discriminators`: version 1, and
    Your Discriminator is one of these or 0. Without any, every packet counts."""
    code = b""
    if near:
        code += _INSTRUCTION.pack(_LOAD_BYTE, 0, 0, _IP + _TTL[size])
        code += _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, 255) + _REJECT
    if 0 < len(discriminators) <= LIMIT:
        code += _INSTRUCTION.pack(_LOAD_BYTE, 0, 0, _FIRST) + _INSTRUCTION.pack(_AND, 0, 0, 0xE0)
        code += _INSTRUCTION.pack(_JUMP_EQUAL, 1, 0, 1 << 5) + _REJECT
        code += _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _YOURS) + _one_of({0, *discriminators})
    words = {int.from_bytes(source[-4:], "big") for source in sources}
    if len(words) > LIMIT:
        return code + _ACCEPT
    return code + _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _IP + _SOURCE_END[size]) + _one_of(words) + _ACCEPT


def _one_of(words: Collection[int]) -> bytes:
    """Go on if the word loaded is one of them, else reject."""
    code, left = b"", 2 * len(words)
    for word in sorted(words):
        left -= 2
        code += _INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, word)
        code += _INSTRUCTION.pack(_JUMP, 0, 0, left + 1)  # past the others, and past the end of the chain
    return code + _REJECT
