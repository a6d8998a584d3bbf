"""Which interfaces L2 leaves alone: MetalLB's ConfigMap metallb-excludel2, as the pod has it mounted.

In:  the file, looked at every 10 s; the kubelet renews it within about a minute of an edit.
Out: follow() tells the reflex the patterns, at once and when others are in force; `problems` in words.
Elsewhere: what is excluded without it, and how a name is matched, l2/links.py. The reflex reads no YAML.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from metalbgp import logs
from metalbgp.config.documents import NotYaml, documents
from metalbgp.l2.links import EXCLUDED

FILE: Final = Path("/etc/metallb/excludel2.yaml")
EVERY: Final = 10.0  # seconds; one stat()
KEY: Final = "announcedInterfacesToExclude"
WHERE: Final = f"ConfigMap metallb-excludel2, excludel2.yaml, {KEY}"


class ExcludeList:
    """The list in force. Without a ConfigMap it is ours; a file that cannot be read changes nothing."""

    def __init__(self, path: Path = FILE) -> None:
        self.patterns: tuple[str, ...] = EXCLUDED
        self.problems: tuple[str, ...] = ()
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    async def follow(self, tell: Callable[[tuple[str, ...]], Awaitable[None]], every: float = EVERY) -> None:
        """For ever. Ours is told as well: the reflex may have heard another from the agent before us."""
        self.read()
        await tell(self.patterns)
        while True:
            await asyncio.sleep(every)
            if self.read():
                await tell(self.patterns)

    def read(self) -> bool:
        """Look whether the file is another one; True if other patterns are in force now."""
        before = self.patterns
        seen = self._stat()
        if seen == self._seen:
            return False
        self._seen = seen
        if seen is None:
            self.patterns, self.problems = EXCLUDED, ()
        else:
            self._take()
        if self.patterns != before or self.problems:
            logs.log("l2-excluded", patterns=list(self.patterns), problems=list(self.problems))
        return self.patterns != before

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()  # the mount exchanges a link: another file has another inode
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _take(self) -> None:
        try:
            bodies = [one.body for one in documents(self._path.read_text(encoding="utf-8"))]
        except (OSError, UnicodeDecodeError, NotYaml) as problem:
            why = problem.why if isinstance(problem, NotYaml) else str(problem)
            self.problems = (f"{WHERE}: not YAML ({why}); the patterns before it stay in force",)
            return
        entries: Any = bodies[0].get(KEY) if bodies else None
        if not isinstance(entries, list):
            self.problems = (f"{WHERE}: must be a list of patterns; the patterns before it stay in force",)
            return
        told = [(entry, _mistake(entry)) for entry in entries]
        self.patterns = tuple(entry for entry, mistake in told if not mistake)
        self.problems = tuple(
            f"{WHERE}[{place}]: {entry!r:.80} {mistake}; the other patterns are in force"
            for place, (entry, mistake) in enumerate(told)
            if mistake
        )


def _mistake(entry: object) -> str:
    if not isinstance(entry, str):
        return "is no text: put it in quotes"
    if not entry:
        return "would exclude every interface: remove it"
    try:
        re.compile(entry)
    except re.error as problem:
        return f"is no regular expression ({problem}): correct or remove it"
    return ""
