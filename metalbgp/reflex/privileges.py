"""Give up every capability but the two that the reflex works with.

In:  what the container granted.
Out: NET_RAW (new sockets when interfaces come) and SYS_NICE permitted and effective, nothing else anywhere;
     no_new_privs, so that nothing started from here could get more.
"""

import ctypes
import struct
from typing import Final

NET_RAW: Final = 13
SYS_NICE: Final = 23
KEPT: Final = 1 << NET_RAW | 1 << SYS_NICE

_VERSION_3: Final = 0x20080522
_HEADER: Final = struct.Struct("=Ii")
_SETS: Final = struct.Struct("=IIIIII")  # effective, permitted, inheritable; low words, then high words
_BOUNDING_DROP: Final = 24
_BOUNDING_READ: Final = 23
_NO_NEW_PRIVS: Final = 38


def drop() -> None:
    """Raises OSError where the kernel refuses: running on with too much is worse than not running."""
    library = ctypes.CDLL(None, use_errno=True)
    header = _HEADER.pack(_VERSION_3, 0)
    sets = ctypes.create_string_buffer(_SETS.size)
    _must(library.capget(header, sets))
    permitted = _SETS.unpack(sets.raw)[1] & KEPT
    number = 0
    while library.prctl(_BOUNDING_READ, number, 0, 0, 0) >= 0:
        if not 1 << number & KEPT:
            library.prctl(
                _BOUNDING_DROP, number, 0, 0, 0
            )  # needs SETPCAP; a container has bounded us already
        number += 1
    _must(library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    _must(library.capset(header, _SETS.pack(permitted, permitted, 0, 0, 0, 0)))


def _must(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, "cannot give up capabilities")
