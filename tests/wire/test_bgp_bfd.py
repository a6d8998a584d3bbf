"""BFD and BGP together: the whole speaker but its agent, against FRR's bgpd and bfdd on one link.

The figures are of FRR's settings in START, with 100 ms × 3 on both ends, and are printed (pytest -s).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.wire.bgp_lab import SPEAKER, Agent, Attributes, Key, Lab, Router, children, cmdline
from tests.wire.doing import wait_for

PREFIX = "198.51.100.1/32"
REFLEX = f"{sys.executable} -m metalbgp.reflex"
PROFILE = " profile fast\n  receive-interval 100\n  transmit-interval 100"
BFD = {"receive": 100, "transmit": 100}
FIGURE = 0.4  # seconds from the loss of a node to routes that are gone
Moments = list[tuple[float, str]]  # seconds since the event, what the router holds from then on


def up(lab: Lab, *, graceful: int = 0) -> tuple[Router, Agent, dict[Key, Attributes]]:
    """A session with BFD Up on both ends, and one route."""
    router = lab.router(1)
    router.start(neighbor_lines=("timers 30 90", "bfd", "bfd profile fast"), bfd=PROFILE)
    lab.speaker.start(METALBGP_REFLEX=REFLEX)
    agent = lab.speaker.agent()
    wants = speak(router, agent, graceful)
    return router, agent, wants


def speak(router: Router, agent: Agent, graceful: int) -> dict[Key, Attributes]:
    agent.neighbors(router.neighbor(hold_time=90, graceful_restart=graceful, bfd=BFD))
    wants: dict[Key, Attributes] = {(router.v4, PREFIX): {}}
    agent.want(wants)
    agent.say({"synced": True})
    agent.established(router.v4)
    agent.settled(wants)
    agent.until(lambda: path(agent, router) == "Up" and watched(router)["status"] == "up", "BFD is Up", 30)
    return wants


def path(agent: Agent, router: Router) -> str:
    state: str = (agent.sessions[router.v4].get("bfd") or {}).get("state", "unknown")
    return state


def watched(router: Router) -> dict[str, str]:
    """bfdd's session with us."""
    shown: list[dict[str, str]] = json.loads(router.vtysh("show bfd peers json"))
    return next((one for one in shown if one["peer"] == router.ours4), {"status": "none"})


def downs(router: Router) -> int:
    shown = json.loads(router.vtysh("show bfd peers counters json"))
    return next(int(one["session-down"]) for one in shown if one["peer"] == router.ours4)


def holds(router: Router) -> str:
    """absent, stale or fresh."""
    paths = json.loads(router.vtysh("show bgp ipv4 unicast json")).get("routes", {}).get(PREFIX)
    if not paths or not paths[0].get("valid"):
        return "absent"
    return "stale" if paths[0].get("stale") else "fresh"


def seen(router: Router, until: Callable[[Moments], bool], limit: float = 20.0) -> Moments:
    """What the router holds, from now until the condition holds of it."""
    began, found = time.monotonic(), Moments()
    while not (found and until(found)):
        passed, state = time.monotonic() - began, holds(router)
        assert passed < limit, found
        if not found or found[-1][1] != state:
            found.append((round(passed, 2), state))
    return found


def shut(namespace: str, rules: str) -> Callable[[], None]:
    """Rules in a namespace; the answer takes them away."""

    def nft(text: str) -> None:
        command = ("ip", "netns", "exec", namespace, "nft", "-f", "-")
        subprocess.run(command, input=text, text=True, check=True, timeout=20)

    nft(f"table inet shut {{\n{rules}\n}}\n")
    return lambda: nft("delete table inet shut\n")


ALL = """
chain i { type filter hook input priority 0; policy drop; }
chain o { type filter hook output priority 0; policy drop; }
"""
NO_BFD = """
chain o {
  type filter hook output priority 0
  udp dport 3784 drop
}
"""


def reflex(lab: Lab) -> int:
    return next(pid for pid in children(lab.speaker.pid) if b"metalbgp.reflex" in cmdline(pid))


@pytest.mark.parametrize("graceful", [0, 60])
def test_the_routes_of_a_lost_node_are_gone_within_the_figure_also_under_graceful_restart(
    lab: Lab, graceful: int
) -> None:
    router, _, _ = up(lab, graceful=graceful)
    shut(SPEAKER, ALL)
    moments = seen(router, lambda found: found[-1][1] == "absent")
    sys.stdout.write(f"\nnode lost, graceful restart {graceful}: {moments}\n")
    assert moments[-1][0] < 5 * FIGURE


def test_a_dead_path_ends_the_session_though_no_agent_lives_and_once(lab: Lab) -> None:
    """The router hears us and we do not hear it: TCP goes on, and graceful restart would keep the routes."""
    router, agent, wants = up(lab, graceful=60)
    agent.close()
    heal = shut(router.namespace, NO_BFD)
    wait_for(lambda: lab.speaker.ask()["sessions"][0]["flaps"] == 1, "the session ended")
    agent = lab.speaker.agent()
    agent.established(router.v4)
    session = agent.sessions[router.v4]
    assert session["flaps"] == 1 and session["ended_why"].startswith("Cease / BFD Down")
    agent.settled(wants)  # BFD stays Down, and BGP is as without it
    assert path(agent, router) != "Up"
    assert agent.sessions[router.v4]["bfd"]["why"]
    heal()
    agent.until(lambda: path(agent, router) == "Up", "BFD is Up again")
    agent.settled(wants)
    lab.equal(wants)
    assert agent.sessions[router.v4]["flaps"] == 1


def test_a_killed_exabgp_is_not_missed_under_graceful_restart_for_bfd_does_not_depend_on_it(lab: Lab) -> None:
    router, agent, wants = up(lab, graceful=60)
    os.kill(lab.speaker.exabgp(), signal.SIGKILL)
    moments = seen(router, lambda found: found[-1][1] == "fresh" and len(found) > 1)
    sys.stdout.write(f"\nExaBGP killed, graceful restart: {moments}\n")
    assert "absent" not in {state for _, state in moments} and len(moments) > 1
    agent.settled(wants)
    lab.equal(wants)
    assert downs(router) == 0 and path(agent, router) == "Up"


def test_a_killed_reflex_counts_as_the_loss_of_the_node_and_is_over_when_the_next_one_runs(lab: Lab) -> None:
    router, agent, wants = up(lab)
    os.kill(reflex(lab), signal.SIGKILL)
    agent.until(lambda: agent.sessions[router.v4]["flaps"] == 1, "the router ended the session")
    agent.until(lambda: path(agent, router) == "Up", "BFD is Up again", 30)
    agent.established(router.v4)
    agent.settled(wants)
    lab.equal(wants)
    assert agent.sessions[router.v4]["flaps"] == 1


def test_a_clean_stop_says_admin_down_before_anything_else(lab: Lab) -> None:
    """FRR 8.4 takes it for Down, which RFC 5882 section 4.2 says not to: docs/decisions/0012."""
    router, agent, _ = up(lab, graceful=60)
    took = lab.speaker.terminate()
    moments = seen(router, lambda found: found[-1][1] == "absent")
    sys.stdout.write(f"\nstopped in {took:.2f} s, graceful restart: {moments}\n")
    found = watched(router)
    assert found["remote-diagnostic"] == "administratively down"
    assert found["diagnostic"] == "neighbor signaled session down"
    agent.close()
