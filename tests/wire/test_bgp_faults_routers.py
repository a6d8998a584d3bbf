"""What a router does to us, on real FRR: it falls silent, resets, refuses, and comes back.

After each of them both routers hold what is wanted for both families, the other router's sessions never
ended, and what was wrong stands in the session (bgp_stand.py). Router restarted, wrong password and shutdown
are in test_bgp_sessions.py; what FRR never says is test_bgp_faults_scripted.py.
"""

import base64
from contextlib import nullcontext
from operator import gt

import pytest

from tests.wire.bgp_lab import Lab, Router
from tests.wire.bgp_stand import Stand
from tests.wire.doing import run, wait_for


def test_a_router_that_is_busy_for_less_than_the_hold_time_costs_nothing(lab: Lab) -> None:
    it = Stand(lab, hold_time=9)
    it.start()
    it.as_wanted()
    one = it.routers[0]
    one.pause()
    try:
        it.sent(it.change())  # its kernel takes them
        it.sent(it.change())
    finally:
        one.go_on()
    it.as_wanted()
    assert it.drops(1) == it.drops(2) == (0, 0)


def test_a_silent_router_is_given_up_at_hold_time_and_gets_everything_when_it_speaks_again(lab: Lab) -> None:
    it = Stand(lab, hold_time=3)
    it.start()
    it.as_wanted()
    one = it.routers[0]
    one.pause()
    try:
        it.said(1, "HoldTimerExpired", "Hold Timer Expired")
        it.change()
        it.sent(it.change(2))  # the other one has it at once
    finally:
        one.go_on()
    it.as_wanted()
    assert it.drops(1) == (1, 1) and it.drops(2) == (0, 0)
    assert "Hold Timer Expired" in it.agent.sessions[one.v4]["ended_why"]


@pytest.mark.parametrize("graceful", [0, 60])
def test_a_connection_that_is_reset_comes_back_with_every_route(lab: Lab, graceful: int) -> None:
    it = Stand(lab, graceful_restart=graceful)
    it.start(zebra=True)
    it.as_wanted()
    one = it.routers[0]
    with it.never_lost() if graceful else nullcontext():
        for _ in range(3):
            drops = it.drops(1)
            reset = ("ss", "-K", "state", "established", "( sport = :179 or dport = :179 )")
            run("ip", "netns", "exec", one.namespace, *reset)
            wait_for(lambda was=drops: all(map(gt, it.drops(1), was)), "the end of both sessions")
            it.change()
            it.as_wanted()
    assert it.drops(2) == (0, 0)


def test_a_router_that_expects_another_as_says_so_until_it_is_mended(lab: Lab) -> None:
    it = Stand(lab)
    it.start()
    it.as_wanted()
    one = it.routers[0]

    def expect(number: int) -> None:
        for ours in (one.ours4, one.ours6):
            one.vtysh("configure terminal", f"router bgp {one.asn}", f"neighbor {ours} remote-as {number}")

    expect(64999)
    it.said(1, "BadPeerAS", "OPEN Message Error / Bad Peer AS (from the router)")
    it.change()
    expect(65001)
    it.as_wanted(limit=60)
    assert it.drops(2) == (0, 0)


@pytest.mark.parametrize("first", ["ours", "the router's"])
def test_a_password_that_changes_at_both_ends_one_after_the_other(lab: Lab, first: str) -> None:
    """Ours first, with graceful restart: nothing is lost. FRR ends the session when its own changes."""
    it = Stand(lab, graceful_restart=60, password_base64=secret("old"))
    it.start(zebra=True, word="old")
    it.as_wanted()

    def theirs(router: Router) -> None:
        for ours in (router.ours4, router.ours6):
            words = f"neighbor {ours} password new"
            router.vtysh("configure terminal", f"router bgp {router.asn}", words)

    with it.never_lost() if first == "ours" else nullcontext():
        if first != "ours":
            for router in it.routers:
                theirs(router)
            it.ended(1)
        it.options["password_base64"] = secret("new")
        it.tell()
        it.change()
        if first == "ours":
            it.said(1, "AuthenticationSuspected", "do both ends have the same password?")
            for router in it.routers:
                theirs(router)
        it.as_wanted(60)


def secret(word: str) -> str:
    return base64.b64encode(word.encode()).decode()
