"""Starting a child process with as few rights as it needs, and reaping all of them.

In:  a command, an environment, whether it keeps its capabilities.
Out: its pid. It dies with us (PR_SET_PDEATHSIG), and without `keep_capabilities` its capability sets are
     empty and no_new_privs holds, so that not even a setuid program gives anything back.
Elsewhere: when to restart what is speaker/children.py and bgp/edge.py.

Not subprocess: this must happen between fork and exec, in a process that is pid 1 and has one thread.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAPABILITY_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _prctl(option: int, value: int) -> None:
    if (
        _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
        != 0
    ):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def adopt_orphans() -> None:
    """Orphans of our children become ours to reap, also when we are not pid 1 (in tests)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def drop_capabilities() -> None:
    """Empty all sets but the bounding one; no_new_privs keeps exec from refilling them."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = _Header(CAPABILITY_VERSION_3, 0)
    if _libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)())) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def spawn(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    keep_capabilities: bool = False,
    output: int | None = None,
) -> int:
    """Start the command; `output` becomes its stdout and stderr. One that cannot start exits with 127."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _become(command, env, parent, keep_capabilities, output)
    except BaseException as error:  # nothing of the parent may run on in the child
        with suppress(OSError):
            os.write(2, f"cannot start {command[0]}: {error}\n".encode())
    os._exit(127)


def _become(
    command: Sequence[str], env: Mapping[str, str], parent: int, keep: bool, output: int | None
) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)  # a ^C for the parent is not one for the children: it stops them in order
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if output is not None:
        os.dup2(output, 1)
        os.dup2(output, 2)
    if not keep:
        drop_capabilities()
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(0)  # the parent died before the line above
    os.execve(command[0], list(command), dict(env))  # noqa: S606  # no shell, a fixed list: that is the point


def reap() -> list[tuple[int, int]]:
    """(pid, exit code; negative: by that signal) of every child that ended, our own and adopted ones."""
    ended = []
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended


def kill(pid: int, number: int) -> None:
    """Signal one of our own children; it may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def resident(pid: int) -> int:
    """Bytes of memory it holds, 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123  # pathlib costs memory here
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
