"""The clock of loops that judge others by their silence, and the age of what the kernel received for them."""

import socket
import struct
import time
from typing import Final

SO_TIMESTAMPNS: Final = 35  # the kernel's time of receipt: tells what queued while we were stopped
_TIMESPEC: Final = struct.Struct("ll")

Ancillary = list[tuple[int, int, bytes]]


def clock() -> float:
    """Seconds that go on while the machine sleeps, whatever people do to the wall clock (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def age(ancillary: Ancillary) -> float:
    """Seconds since the kernel received it. Without a stamp: none. A clock that was set back: fresh."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return max(0.0, time.time() - float(seconds) - float(nanoseconds) * 1e-9)
    return 0.0
