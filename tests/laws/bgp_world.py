"""The journal's machine and the model of ExaBGP (exabgp_model.py), joined on a virtual clock.

In:  steps: what is wanted, what the sessions do, what dies, what ExaBGP's own check refuses.
Out: `check`: every router holds what is wanted, and the journal says so.
"""

import re
from typing import Any

from metalbgp.bgp import wire
from metalbgp.bgp.effects import Check, Effect, Install, Problem, RestartChild, Write
from metalbgp.bgp.journal import Lacking
from metalbgp.bgp.machine import WINDOW, Machine
from metalbgp.bgp.values import Neighbor
from metalbgp.model.reasons import RefusedByExaBGP
from metalbgp.model.routes import Attributes
from tests.laws.exabgp_model import ExaBGP

PEERS = ("10.0.0.1", "10.0.1.1")
PREFIXES = tuple(f"192.0.2.{n}/32" for n in range(4))


def neighbor(address: str, hold_time: int = 9) -> Neighbor:
    return Neighbor(address=address, local_as=65001, peer_as=65101, router_id="10.0.0.2", hold_time=hold_time)


class World:
    """The machine and the model, joined; every line, command and second is a step of the test."""

    def __init__(self, *, mended: bool, refused: set[str] | None = None, together: bool = False) -> None:
        self.machine = Machine("helper")
        self.exabgp = ExaBGP(mended=mended)
        self.now = 0.0
        self.wanted: dict[tuple[str, str], Attributes | None] = {}
        self.neighbors: set[str] = set(PEERS)
        self.restarts = 0
        self.written: list[str] = []
        self.refused = refused or set()  # addresses whose present version ExaBGP's own check refuses
        self.together = together  # it refuses whatever has more than one peer
        self.full = False  # there is no room for a file
        self.checks: list[int] = []  # how many peers each file had that was checked
        self.problems: list[Problem] = []
        self.act(self.machine.connected(self.now, fresh=True))
        self.act(self.machine.synced(self.now))
        self.say_neighbors()

    def act(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Write(lines):
                    self.written += lines
                    self.exabgp.write(lines)
                case Install(_, generation) if self.full:
                    self.act(self.machine.unwritten(generation, "no room", self.now))
                case Install(text, generation):
                    error = self.validate(text)
                    if error is None:
                        self.exabgp.file = text
                    self.act(self.machine.installed(generation, error, self.now))
                case Check(text):
                    self.act(self.machine.checked(self.validate(text), self.now))
                case Problem():
                    self.problems.append(effect)
                case RestartChild():
                    self.restarts += 1
                    self.restart()
                case _:
                    pass

    def validate(self, text: str) -> str | None:
        """A refused version is one with hold time 77, of a peer that is in `refused`."""
        found = re.findall(r"^neighbor (\S+) {.*?hold-time (\d+);", text, re.MULTILINE | re.DOTALL)
        self.checks.append(len(found))
        guilty = any(address in self.refused and seconds == "77" for address, seconds in found)
        return "holdtime is odd" if guilty or (self.together and len(found) > 1) else None

    def restart(self) -> None:
        self.act(self.machine.child_lost(self.now))
        self.exabgp.restart()
        self.act(self.machine.connected(self.now, fresh=True))

    def say_neighbors(self) -> None:
        wanted = [neighbor(a, 77 if a in self.refused else 9) for a in PEERS if a in self.neighbors]
        self.act(self.machine.neighbors(wanted, self.now))

    def hear(self, count: int = 1) -> bool:
        heard = False
        for _ in range(count):
            if not self.exabgp.out:
                break
            heard = True
            self.act(self.machine.line(wire.decode(self.exabgp.out.popleft()), self.now))
        return heard

    def do(self, step: tuple[Any, ...]) -> None:
        self.now += 0.001
        match step:
            case "want", peer, prefix, med:
                attributes = None if med is None else Attributes(med=med)
                self.wanted[peer, prefix] = attributes
                self.act(self.machine.want([(peer, prefix, attributes)], self.now))
            case "take", _:
                self.exabgp.step()
            case "send", peer, count:
                self.exabgp.send(peer, count)
            case "hear", count:
                self.hear(count)
            case "up", peer:
                self.exabgp.up(peer)
            case "down", peer:
                self.exabgp.down(peer)
            case "helper", keep:
                self.exabgp.lose_helper(keep)
                self.act(self.machine.helper_lost(self.now))
                for _ in range(keep):
                    self.exabgp.step()
                self.exabgp.helper = True
                self.act(self.machine.connected(self.now, fresh=False))
            case "child", _:
                self.restart()
            case "neighbors", peer:
                self.neighbors ^= {peer}
                self.say_neighbors()
            case "refused", peer:
                self.refused ^= {peer}
                self.say_neighbors()
        assert all(len(keys) <= WINDOW for keys in self.machine._commanded.values())

    def settle(self) -> None:
        """All sessions come up and everything is delivered; time passes only when nothing else can happen."""
        for _ in range(3000):
            for peer in self.neighbors:
                self.exabgp.up(peer)
            moved = self.exabgp.step()
            for peer in PEERS:
                moved = self.exabgp.send(peer, 2) or moved
            if not (self.hear(5) or moved):
                if self.quiet():
                    return
                self.now += 0.5
                self.act(self.machine.wake(self.now))
        raise AssertionError(f"never quiet: {list(self.machine.entries())}")

    def quiet(self) -> bool:
        machine = self.machine
        return not machine.reloading and not machine._fifo and not machine._owing

    def check(self) -> None:
        for peer in PEERS:
            want = {p: a for (x, p), a in self.wanted.items() if x == peer and a is not None}
            refused = peer in self.refused and peer in self.neighbors
            lacking = self.machine.lacking.get(peer)
            assert refused == (lacking is not None and isinstance(lacking.why, RefusedByExaBGP)), peer
            if peer not in self.neighbors or (refused and lacking and not keeps(lacking)):
                assert peer not in self.exabgp.peers
                continue
            held = self.exabgp.peers[peer].router
            assert held == {p: "" if a.med is None else f"med {a.med}" for p, a in want.items()}, peer
            entries = self.machine.routes.get(peer, {})
            assert {p: self.machine.state(e) for p, e in entries.items()} == dict.fromkeys(want, "confirmed")


def keeps(lacking: Lacking) -> bool:
    """Does its last good version run?"""
    return isinstance(lacking.why, RefusedByExaBGP) and lacking.why.keeps


def settled(*, mended: bool = True) -> World:
    world = World(mended=mended)
    world.settle()
    return world
