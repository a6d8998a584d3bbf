"""What the parent does with what the reflex says of a path; the test plays the reflex."""

import json
import socket
from pathlib import Path
from typing import Any

from tests.wire.bgp_lab import Agent, Lab, Router
from tests.wire.doing import wait_for

BFD = {"receive": 100, "transmit": 100}


class Reflex:
    """The listening end of reflex.sock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(4)
        self._listener.settimeout(15)
        self.accept()

    def accept(self) -> None:
        self._link, _ = self._listener.accept()
        self._link.settimeout(15)
        self._lines = self._link.makefile("rb")

    def heard(self) -> list[dict[str, Any]]:
        """The next full list."""
        said: list[dict[str, Any]] = json.loads(self._lines.readline())["bfd"]
        return said

    def say(self, key: str, state: str, **more: Any) -> None:
        self._link.sendall(json.dumps({"bfd": {key: {"state": state, **more}}}).encode() + b"\n")

    def close(self) -> None:
        self._lines.close()
        self._link.close()


def told(agent: Agent, router: Router, state: str) -> None:
    def known() -> bool:
        return (agent.sessions[router.v4].get("bfd") or {}).get("state", "unknown") == state

    agent.until(known, f"BFD is {state}")


def test_a_path_found_dead_ends_its_session_once_with_a_cease_also_under_graceful_restart(lab: Lab) -> None:
    one, two = lab.router(1), lab.router(2)
    for router in (one, two):
        router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(
        one.neighbor(graceful_restart=60, hold_time=90, bfd=BFD),
        two.neighbor(graceful_restart=60, hold_time=90),
    )
    reflex = Reflex(lab.speaker.run / "reflex.sock")
    (asked,) = reflex.heard()
    assert asked == {
        "key": one.v4,
        "peer": one.v4,
        "local": "",
        "interface": "",
        "multihop": False,
        "multiplier": 3,
        "passive": False,
        "minimum_ttl": 254,
        **BFD,
    }
    agent.established(one.v4, two.v4)
    wants: dict[tuple[str, str], dict[str, Any] | None] = {
        (router.v4, f"198.51.100.{number}/32"): {} for router in (one, two) for number in range(20)
    }
    agent.want(wants)
    agent.say({"synced": True})
    agent.settled(wants)
    reflex.say(one.v4, "Up", detection=300)
    told(agent, one, "Up")
    assert agent.sessions[one.v4]["graceful_restart"] is True
    assert agent.sessions[two.v4]["bfd"] is None

    reflex.say(one.v4, "Down", failed=True, why="nothing heard for 300 ms")
    agent.until(lambda: agent.sessions[one.v4]["flaps"] == 1, "the session ended")
    agent.established(one.v4)  # BFD closes it once: the router may not speak BFD, and then it is as without
    agent.settled(wants)
    lab.equal(wants)
    session = agent.sessions[one.v4]
    assert session["flaps"] == 1
    assert session["ended_why"] == "Cease / BFD Down: nothing heard for 300 ms (from us)"
    heard = one.session()
    assert heard["messageStats"]["notificationsRecv"] >= 1  # none with ExaBGP's own teardown
    assert heard["connectionsDropped"] == 1 and two.session()["connectionsDropped"] == 0


def test_a_reflex_that_is_gone_ends_no_session_and_the_next_is_told_everything(lab: Lab) -> None:
    one = lab.router(1)
    one.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(one.neighbor(bfd=BFD))
    reflex = Reflex(lab.speaker.run / "reflex.sock")
    first = reflex.heard()
    agent.established(one.v4)
    reflex.say(one.v4, "Up")
    told(agent, one, "Up")
    reflex.close()
    told(agent, one, "unknown")
    reflex.accept()
    assert reflex.heard() == first
    reflex.say(one.v4, "Down", why="the router is silent")  # it was not Up in this reflex: nothing failed
    told(agent, one, "Down")
    agent.neighbors(one.neighbor(bfd=None))
    assert reflex.heard() == []
    agent.until(lambda: agent.sessions[one.v4]["bfd"] is None, "no BFD")
    assert (agent.sessions[one.v4]["flaps"], one.session()["connectionsDropped"]) == (0, 0)
    wait_for(lambda: agent.sessions[one.v4]["state"] == "Established", "still up")
