"""What every fault of BGP is tried on: two routers, each with a session of either family, and some routes.

In:  a laboratory, a hold time, whether restarts are graceful.
Out: `Stand`: routes change in any moment; `as_wanted` is the one judgement after a fault: both routers hold
     for both families what is wanted and nothing else, every session is up and has nothing to say.
"""

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.wire.bgp_lab import Agent, Attributes, Key, Lab, Router
from tests.wire.doing import run, wait_for

ROUTES: Final = 20  # for each session; the first half never changes


def prefix(peer: str, number: int) -> str:
    return f"2001:db8::{number:x}/128" if ":" in peer else f"192.0.2.{number}/32"


class Stand:
    def __init__(self, lab: Lab, hold_time: int = 9, graceful_restart: int = 0, **changes: Any) -> None:
        """`zebra` runs, so that a route that is absent for a moment is absent from the kernel: it tells."""
        self.lab = lab
        self.routers: tuple[Router, Router] = lab.router(1), lab.router(2)
        self.options = {"hold_time": hold_time, "graceful_restart": graceful_restart, **changes}
        self.wants: dict[Key, Attributes] = {}
        self._turn = 0

    def start(self, *, zebra: bool = False, word: str = "", **environment: str) -> None:
        for router in self.routers:
            router.start(zebra=zebra, neighbor_lines=[f"password {word}"] if word else [])
        self.lab.speaker.start(**environment)
        self.connect()

    def connect(self) -> None:
        """A new agent, which says everything anew."""
        self.agent: Agent = self.lab.speaker.agent()
        if not self.wants:
            self.wants = {(p, prefix(p, n)): {"med": n} for p in self.peers() for n in range(1, ROUTES + 1)}
        self.tell()
        self.agent.want(self.wants)

    def neighbors(self) -> list[dict[str, Any]]:
        return [r.neighbor(f, **self.options) for r in self.routers for f in (4, 6)]

    def tell(self) -> None:
        self.agent.neighbors(*self.neighbors())

    def peers(self, *numbers: int) -> list[str]:
        chosen = [r for r in self.routers if r.number in (numbers or (1, 2))]
        return [address for r in chosen for address in (r.v4, r.v6)]

    def steady(self) -> list[Key]:
        """What change() leaves alone."""
        return [(p, prefix(p, n)) for p in self.peers() for n in range(1, ROUTES // 2 + 1)]

    def change(self, *numbers: int) -> dict[Key, Attributes]:
        """Of each session: one route goes or comes back, one gets another MED, one is new."""
        self._turn += 1
        changed: dict[Key, Attributes] = {}
        for peer in self.peers(*numbers):
            moving = ROUTES // 2 + 1 + self._turn % (ROUTES // 2)
            key = peer, prefix(peer, moving)
            changed[key] = None if self.wants.get(key) else {"med": 1}
            other = peer, prefix(peer, ROUTES // 2 + 1 + (self._turn + 1) % (ROUTES // 2))
            changed[other] = {"med": 1000 + self._turn}
            changed[peer, prefix(peer, 100 + self._turn % 100)] = {"med": self._turn}
        self.agent.want(changed)
        self.wants |= changed
        return changed

    def sent(self, changed: dict[Key, Attributes]) -> None:
        """The speaker's own view of it; the router may be looking elsewhere."""
        self.agent.settled(changed)

    def as_wanted(self, limit: float = 40.0) -> None:
        self.agent.established(*self.peers(), limit=limit)
        self.agent.settled(self.wants, limit)
        self.lab.equal(self.wants, limit)
        for peer in self.peers():
            session = self.agent.sessions[peer]
            assert (session["state"], session["reason"], session["last_error"]) == ("Established", "", "")

    def drops(self, number: int) -> tuple[int, int]:
        """Sessions of this router that ended, of either family."""
        router = self.routers[number - 1]
        four, six = (int(router.session(family)["connectionsDropped"]) for family in (4, 6))
        return four, six

    def ended(self, number: int, limit: float = 20.0) -> None:
        """Both sessions with this router are down, as the speaker sees it."""

        def down() -> bool:
            return all(self.agent.sessions[p]["state"] != "Established" for p in self.peers(number))

        self.agent.until(down, f"the end of the sessions with r{number}", limit)

    def said(self, number: int, reason: str, words: str, limit: float = 20.0) -> None:
        """Both sessions with this router say why they are down, or why they were."""

        def told() -> bool:
            rows = [self.agent.sessions[peer] for peer in self.peers(number)]
            now = all(row["reason"] == reason and words in row["last_error"] for row in rows)
            return now or all(words in row.get("ended_why", "") for row in rows)

        self.agent.until(told, f"r{number}: {reason}, {words}", limit)

    @contextmanager
    def never_lost(self) -> Iterator[None]:
        """No router's kernel lacks a steady route for a moment: it is listened to, not polled."""
        prefixes = {key[1].rpartition("/")[0] for key in self.steady()}
        listeners = [Listener(router) for router in self.routers]
        try:
            yield
        finally:
            gone = [line for one in listeners for line in one.stop() if deleted(line) in prefixes]
        assert not gone, f"routes that should have stayed went: {gone[:5]}"


class Listener:
    """`ip monitor route` in a router's namespace."""

    def __init__(self, router: Router) -> None:
        self._router = router
        for family in (4, 6):
            wait_for(lambda f=family: installed(router, f) >= ROUTES // 2, "routes in the kernel")
        command = ["ip", "netns", "exec", router.namespace, "ip", "-o", "monitor", "route"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._mark("203.0.113.1")

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines.extend(self._process.stdout)

    def _mark(self, address: str) -> None:
        """A route of our own: what was before it has been heard."""

        def heard() -> bool:
            for verb in ("add", "del"):
                run("ip", "-n", self._router.namespace, "route", verb, "blackhole", address)
            return any(address in line for line in self._lines)

        wait_for(heard, "the listener hears")

    def stop(self) -> list[str]:
        self._mark("203.0.113.2")
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        return self._lines


def installed(router: Router, family: int) -> int:
    return len(run("ip", "-n", router.namespace, f"-{family}", "route", "show", "proto", "bgp").splitlines())


def deleted(line: str) -> str:
    found = re.match(r"Deleted (?:unicast )?([0-9a-f.:]+)", line)
    return found[1] if found else ""
