"""What happens in the router: its kernel's routes as they change, and the UPDATEs that reach it.

In:  a Place. Out: Routes (a live view, times from `ip -ts`), Capture (a file, read when all is over).
Both run as programs in the router's namespace, so that measuring costs the harness nothing.
"""

import re
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from bench.place import Place, interface_to
from bench.wire import Update, updates

_LINE: Final = re.compile(
    r"\[(?P<time>[^\]]+)\]\s*(?P<gone>Deleted )?(?:unicast )?(?P<prefix>[0-9a-f.:]+(?:/\d+)?)\s(?P<rest>.*)"
)
_VIA: Final = re.compile(r"\bvia (?:inet6 )?([0-9a-f.:]+)")


def parse_route(line: str) -> tuple[float, str, int] | None:
    """(time, prefix with length, next hops; 0: deleted) of one line of ip -o -ts monitor route."""
    found = _LINE.match(line)
    if not found:
        return None
    when = datetime.fromisoformat(found["time"]).replace(tzinfo=UTC).timestamp()
    prefix = found["prefix"]
    if "/" not in prefix:
        prefix += "/128" if ":" in prefix else "/32"
    return when, prefix, 0 if found["gone"] else len(_VIA.findall(found["rest"]))


class Routes:
    """The router's kernel routes since this was entered: prefix -> [(time, next hops)]."""

    def __init__(self, place: Place) -> None:
        argv = place.in_router("env", "TZ=UTC", "ip", "-o", "-ts", "monitor", "route")
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.changes: dict[str, list[tuple[float, int]]] = {}

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - asked for with PIPE
        for line in self._process.stdout:
            found = parse_route(line)
            if found:
                when, prefix, hops = found
                with self._changed:
                    self.changes.setdefault(prefix, []).append((when, hops))
                    self._changed.notify_all()

    def hops(self, prefix: str) -> int:
        """Next hops now."""
        changes = self.changes.get(prefix)
        return changes[-1][1] if changes else 0

    def wait(self, prefixes: set[str], hops: int, seconds: float) -> set[str]:
        """Wait until each has exactly that many next hops (0: is gone); those that do not have it in time."""
        deadline = time.monotonic() + seconds
        missing = set(prefixes)
        with self._changed:
            while True:
                missing = {prefix for prefix in missing if self.hops(prefix) != hops}
                left = deadline - time.monotonic()
                if not missing or left <= 0:
                    return missing
                self._changed.wait(left)

    def first(self, prefix: str, hops: int, since: float) -> float | None:
        """When, after `since`, it first had at least that many next hops; 0: when it first was gone."""
        for when, now in self.changes.get(prefix, ()):
            if when >= since and (now >= hops if hops else now == 0):
                return when
        return None

    def __enter__(self) -> "Routes":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join(5)


class Capture:
    """Everything that reaches the router on TCP port 179 between entering and leaving."""

    def __init__(self, place: Place) -> None:
        self._device = interface_to(place, next(iter(place.nodes)))
        self._place = place
        self.updates: list[Update] = []

    def __enter__(self) -> "Capture":
        self._file = Path(tempfile.mkstemp(suffix=".pcap")[1])
        self._process = subprocess.Popen(
            self._place.in_router(
                *(
                    "tcpdump",
                    "-n",
                    "-U",
                    "--immediate-mode",
                    "-B",
                    "8192",
                    "-s",
                    "0",
                    "-Q",
                    "in",
                    "-i",
                    self._device,
                ),
                *("-Z", "root", "-w", str(self._file), "tcp port 179"),
            ),
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None  # noqa: S101 - asked for with PIPE
        for line in self._process.stderr:
            if "listening on" in line:
                return self
        raise RuntimeError("tcpdump did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate()
        self.updates = list(updates(self._file.read_bytes()))
        self._file.unlink()
