"""How a changed list of sessions reaches the child: quiet, install, reload, prove, retry. Sans-I/O.

In:  the wanted neighbours, what the edge said of the file, what the child said it runs, the time.
Out: one next step at a time; machine.py carries it out and keeps route commands back while `busy`; and
     `refused`, the peers that ExaBGP's own check said no to.

ExaBGP drops a reload while routes are pending and still answers `done`, and a file that fails to parse
poisons it for good. So: only from an idle state, only a validated file, each one proven by its generation.
A list that is refused is sifted: each peer that is new in it is checked alone, routes go on meanwhile, and
all but the guilty take effect.
"""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from metalbgp.bgp.config_file import proves, render
from metalbgp.bgp.values import Neighbor

PATIENCE: Final = 5.0  # seconds to wait for quiet before the reload goes ahead with what is unconfirmed
RETRY: Final = 0.1
TRIES: Final = 20

Phase = Literal["idle", "quiet", "installing", "sifting", "installed", "asked", "show", "shown", "pause"]
Step = Literal["install", "check", "reload", "show", "restart"]
FREE: Final = ("idle", "quiet", "sifting")  # phases in which the child is not spoken to


def identity(n: Neighbor) -> tuple[object, ...]:
    """What makes it the same peer for ExaBGP; another one starts with an empty table."""
    return (n.address, n.local_address, n.local_as, n.peer_as, n.router_id)


class Refused(Struct, frozen=True):
    """A peer that ExaBGP's own check refuses, in this version of it."""

    neighbor: Neighbor
    why: str


class Reload:
    """The list that shall run, the list that runs, and where we are between them."""

    def __init__(self, helper: str) -> None:
        self._helper = helper
        self.asked: dict[str, Neighbor] = {}
        self.target: dict[str, Neighbor] = {}  # that, with the last good version of those that are refused
        self.refused: dict[str, Refused] = {}
        self.running: dict[str, Neighbor] = {}
        self._filed: dict[str, Neighbor] = {}  # what the file on disk says
        self._moving: dict[str, Neighbor] = {}  # what the step under way will bring
        self._rejected: dict[str, Neighbor] | None = None
        self._suspects: list[str] = []  # to be checked alone
        self._checking: tuple[str, Neighbor] | None = None
        self._sifted: dict[str, Neighbor] | None = None  # the last list whose suspects were all checked
        self.generation = 0
        self.phase: Phase = "idle"
        self.due = float("inf")
        self._tries = 0

    @property
    def busy(self) -> bool:
        return self.phase not in ("idle", "sifting")

    @property
    def pending(self) -> bool:
        """Is a step due that needs quiet?"""
        return self.phase == "quiet" or (self.phase == "idle" and self.target != self.running)

    @property
    def exclusive(self) -> bool:
        """Commands that overtake the queue are under way: nothing else may be written."""
        return self.phase not in FREE

    @property
    def moving(self) -> dict[str, Neighbor]:
        """What the child will run when the present step is through."""
        return self._moving

    @property
    def text(self) -> str:
        return render(self._moving.values(), self._helper, self.generation)

    @property
    def suspect(self) -> str:
        """A file with nothing but the peer that is to be checked."""
        return render([self._checking[1]] if self._checking else (), self._helper, self.generation)

    @property
    def sifting(self) -> bool:
        return self.phase == "sifting"

    @property
    def leaving(self) -> set[str]:
        """Peers whose routes go before the file forgets them (graceful restart would keep them)."""
        begins = self.phase == "idle" and self.target not in (self.running, self._rejected)
        still = begins or self.phase in ("quiet", "sifting")
        return set(self.running) - set(self.target) if still else set()

    def want(self, neighbors: dict[str, Neighbor]) -> None:
        self.asked = neighbors
        self._rejected = self._sifted = None
        self._aim()

    def _aim(self) -> None:
        """A refused version stays refused until it changes; the last good one runs on in its place."""
        self.refused = {key: one for key, one in self.refused.items() if self.asked.get(key) == one.neighbor}
        self.target = {key: one for key, one in self.asked.items() if key not in self.refused}
        taken = {one.address for one in self.target.values()}
        last = {key: self._filed[key] for key in self.refused if key in self._filed}
        self.target |= {key: one for key, one in last.items() if one.address not in taken}

    def step(self, now: float, *, connected: bool, idle: bool, quiet: bool) -> Step | None:
        """The next thing to do. `idle`: no answer is awaited. `quiet`: nor any UPDATE, nor a withdrawal."""
        if self.phase == "sifting":
            if self._next_suspect():
                return "check"
            if self._checking:
                return None
            self.phase, self._sifted = "idle", self._moving
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
            # What the file on disk holds was accepted before. Where each is accepted alone and all together
            # are not, the check itself may have been killed: the list has one more try.
            self._suspects = [key for key, one in self._moving.items() if self._filed.get(key) != one]
            if not self._suspects or self._moving == self._sifted:
                self.phase, self._rejected = "idle", self._moving
            else:
                self.phase = "sifting"
            return
        self._filed = self._moving
        self.phase = "installed"

    def unwritten(self, generation: int) -> None:
        """The file could not be put there. want() begins anew."""
        if self.phase == "installing" and generation == self.generation:
            self.phase, self._rejected = "idle", self._moving

    def _next_suspect(self) -> bool:
        """Is there one to be checked now? A version that nobody asks for any more is not looked at."""
        while self._suspects and self._checking is None:
            key = self._suspects.pop(0)
            if self.asked.get(key) == self._moving[key]:
                self._checking = key, self._moving[key]
                return True
        return False

    def checked(self, error: str | None) -> str:
        """The key of the peer that is refused, if it is."""
        if self._checking is None:
            return ""
        (key, one), self._checking = self._checking, None
        if error is None or self.asked.get(key) != one:
            return ""
        self.refused[key] = Refused(one, error)
        self._aim()
        return key

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
        if self.phase not in ("installing", "quiet", "sifting"):
            self.phase, self.due = "idle", float("inf")

    def helper_back(self) -> None:
        """The same child, but what it was asked may have been lost: ask again."""
        if self.phase in ("asked", "shown"):
            self.phase = "show"
