"""One JSON line on stderr per decision, for every process. Standard library only: the parent and the reflex
must stay small (structlog and its imports cost more than they do).

In:  log("route-confirmed", prefix=…, peer=…); facts as fields, never a secret.
Out: {"time": …, "level": …, "process": …, "event": …, fields sorted}.
"""

import json
import sys
import time
import traceback
from typing import Any, Final

LEVELS: Final = {"debug": 10, "info": 20, "warn": 30, "error": 40, "none": 100}


class _Settings:
    """What a process sets once at its start."""

    process = ""
    threshold = LEVELS["info"]


def setup(process: str, level: str = "info") -> None:
    """Name this process in its lines and leave out what is below `level` (debug, info, warn, error, none)."""
    _Settings.process = process
    _Settings.threshold = LEVELS.get(level, LEVELS["debug"] if level == "all" else LEVELS["info"])


def log(event: str, *, level: str = "info", **fields: Any) -> None:
    if LEVELS[level] < _Settings.threshold:
        return
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
    head = {"time": stamp, "level": level, "process": _Settings.process, "event": event}
    line = json.dumps(head | dict(sorted(fields.items())), default=str, ensure_ascii=False)
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def debug(event: str, **fields: Any) -> None:
    log(event, level="debug", **fields)


def warn(event: str, **fields: Any) -> None:
    log(event, level="warn", **fields)


def error(event: str, **fields: Any) -> None:
    log(event, level="error", **fields)


def exception(event: str, problem: BaseException, **fields: Any) -> None:
    """An error that should not happen, with where it came from."""
    where = traceback.format_exception(problem)
    log(event, level="error", error=f"{type(problem).__name__}: {problem}", where="".join(where), **fields)
