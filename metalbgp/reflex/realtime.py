"""The scheduling class of the reflex: the best that this machine grants. Imports next to nothing.

In:  nothing.
Out: which class it is now: fifo, deadline, nice or none.
Elsewhere: the fuse against endless loops, set in process.py once the imports are done.
"""

import os
from typing import Final

FIFO: Final = "fifo"
DEADLINE: Final = "deadline"
NICE: Final = "nice"
NONE: Final = "none"

_PRIORITY: Final = 50
_SCHED_DEADLINE: Final = 6
_FLAG_RESET_ON_FORK: Final = 1
_ATTRIBUTES_SIZE: Final = 48
_RUNTIME, _DEADLINE, _PERIOD = (
    2_000_000,
    10_000_000,
    10_000_000,
)  # ns; all reservations share 95 % of the CPUs
_SYSCALLS: Final = {"x86_64": 314, "aarch64": 274}  # sched_setattr, which neither Python nor every libc has


def take() -> str:
    """FIFO; where a cgroup has no realtime budget DEADLINE, which needs none; else only nice."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except OSError:
        pass
    else:
        return FIFO
    if _take_deadline():
        return DEADLINE
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    except OSError:
        return NONE
    return NICE


def _take_deadline() -> bool:
    number = _SYSCALLS.get(os.uname().machine)
    if number is None:
        return False
    import ctypes

    attributes = b"".join(
        value.to_bytes(size, "little")  # both architectures are
        for value, size in (
            (_ATTRIBUTES_SIZE, 4),
            (_SCHED_DEADLINE, 4),
            (_FLAG_RESET_ON_FORK, 8),
            (0, 4),  # nice
            (0, 4),  # priority
            (_RUNTIME, 8),
            (_DEADLINE, 8),
            (_PERIOD, 8),
        )
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, attributes, 0) == 0)
