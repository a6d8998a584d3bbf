"""How a changed list of sessions reaches the child: quiet, install, reload, prove, retry. Sans-I/O.

In:  the wanted neighbours, what the edge said of the file, what the child said it runs, the time.
Out: one next step at a time; machine.py carries it out and keeps route commands back while `busy`.

ExaBGP drops a reload while routes are pending and still answers `done`, and a file that fails to parse
poisons it for good. So: only from an idle state, only a validated file, each one proven by its generation.
"""

from collections.abc import Iterable
from typing import Final, Literal

from metalbgp.bgp.config_file import proves, render
from metalbgp.bgp.values import Neighbor

PATIENCE: Final = 5.0  # seconds to wait for quiet before the reload goes ahead with what is unconfirmed
RETRY: Final = 0.1
TRIES: Final = 20

Phase = Literal["idle", "quiet", "installing", "installed", "asked", "show", "shown", "pause"]
Step = Literal["install", "reload", "show", "restart"]


def identity(n: Neighbor) -> tuple[object, ...]:
    """What makes it the same peer for ExaBGP; another one starts with an empty table."""
    return (n.address, n.local_address, n.local_as, n.peer_as, n.router_id)


class Reload:
    """The list that shall run, the list that runs, and where we are between them."""

    def __init__(self, helper: str) -> None:
        self._helper = helper
        self.target: dict[str, Neighbor] = {}
        self.running: dict[str, Neighbor] = {}
        self._filed: dict[str, Neighbor] = {}  # what the file on disk says
        self._moving: dict[str, Neighbor] = {}  # what the step under way will bring
        self._rejected: dict[str, Neighbor] | None = None
        self.generation = 0
        self.phase: Phase = "idle"
        self.due = float("inf")
        self._tries = 0

    @property
    def busy(self) -> bool:
        return self.phase != "idle"

    @property
    def pending(self) -> bool:
        """Is a step due that needs quiet?"""
        return self.phase == "quiet" or (self.phase == "idle" and self.target != self.running)

    @property
    def exclusive(self) -> bool:
        """Commands that overtake the queue are under way: nothing else may be written."""
        return self.phase not in ("idle", "quiet")

    @property
    def moving(self) -> dict[str, Neighbor]:
        """What the child will run when the present step is through."""
        return self._moving

    @property
    def text(self) -> str:
        return render(self._moving.values(), self._helper, self.generation)

    @property
    def leaving(self) -> set[str]:
        """Peers whose routes go before the file forgets them (graceful restart would keep them)."""
        begins = self.phase == "idle" and self.target not in (self.running, self._rejected)
        return set(self.running) - set(self.target) if begins or self.phase == "quiet" else set()

    def want(self, neighbors: dict[str, Neighbor]) -> None:
        self.target = neighbors
        self._rejected = None

    def step(self, now: float, *, connected: bool, idle: bool, quiet: bool) -> Step | None:
        """The next thing to do. `idle`: no answer is awaited. `quiet`: nor any UPDATE, nor a withdrawal."""
        if self.phase == "idle" and connected and self.target not in (self.running, self._rejected):
            self.phase, self.due, self._tries = "quiet", now + PATIENCE, 0
        if self.phase == "quiet" and idle and connected and (quiet or now >= self.due):
            self.phase, self.due = "installing", float("inf")
            self._moving = self.target
            self.generation += 1
            return "install"
        if not connected or not idle:
            return None
        match self.phase:
            case "installed":
                self.phase = "asked"
                return "reload"
            case "pause" if now >= self.due:
                self.due = float("inf")
                self._tries += 1
                if self._tries > TRIES:
                    self.phase = "idle"
                    return "restart"
                self.phase = "asked"
                return "reload"
            case "show":
                self.phase = "shown"
                return "show"
            case _:
                return None

    def installed(self, generation: int, error: str | None) -> None:
        if self.phase != "installing" or generation != self.generation:
            return
        if error is not None:
            self.phase, self._rejected = "idle", self._moving
            return
        self._filed = self._moving
        self.phase = "installed"

    def answered(self) -> None:
        """`done` for the reload: it proves nothing, so ask what is configured."""
        if self.phase == "asked":
            self.phase = "show"

    def shown(self, lines: Iterable[str], now: float) -> bool:
        """Does the child run this generation, and nothing else?"""
        if self.phase != "shown":
            return False
        found = [line.strip() for line in lines if line.strip().startswith("description ")]
        if len(found) == len(self._moving) and all(proves(line, self.generation) for line in found):
            self.running = self._moving
            self.phase = "idle"
            return True
        self.phase, self.due = "pause", now + RETRY
        return False

    def child_started(self) -> None:
        """A new child has read the file."""
        self.running = self._filed
        if self.phase not in ("installing", "quiet"):
            self.phase, self.due = "idle", float("inf")

    def helper_back(self) -> None:
        """The same child, but what it was asked may have been lost: ask again."""
        if self.phase in ("asked", "shown"):
            self.phase = "show"
