"""What a link does to sessions: it flaps, and it carries one direction alone. Real FRR, both families."""

import pytest

from tests.wire.bgp_lab import Lab, Router
from tests.wire.bgp_stand import Stand
from tests.wire.doing import nothing_for, run, wait_for

CUTS = 20


def carrier(router: Router, state: str) -> None:
    run("ip", "-n", router.namespace, "link", "set", "v0", state)


def loses(router: Router, hook: str, addresses: tuple[str, str]) -> None:
    """Everything from our addresses (input) or to them (output) is lost in the router's kernel."""
    side = "saddr" if hook == "input" else "daddr"
    four, six = addresses
    for words in (
        "add table inet cut",
        f"add chain inet cut c {{ type filter hook {hook} priority 0 ; }}",
        f"add rule inet cut c ip {side} {four} drop",
        f"add rule inet cut c ip6 {side} {six} drop",
    ):
        run("ip", "netns", "exec", router.namespace, "nft", words)


def heals(router: Router) -> None:
    run("ip", "netns", "exec", router.namespace, "nft", "delete table inet cut")


def test_a_link_that_flaps_for_moments_costs_no_session_and_no_change(lab: Lab) -> None:
    """Cut within the network: no end sees its carrier go, and TCP sends again what was lost."""
    it = Stand(lab, hold_time=9)
    it.start(zebra=True)
    it.as_wanted()
    one = it.routers[0]
    with it.never_lost():
        for _ in range(CUTS):
            loses(one, "input", (one.ours4, one.ours6))
            it.change()
            nothing_for(0.05)  # it is the cut that has a length
            heals(one)
        it.as_wanted()
    assert it.drops(1) == it.drops(2) == (0, 0)


def test_a_link_that_goes_down_twenty_times_leaves_both_routers_as_wanted(lab: Lab) -> None:
    """The router ends its sessions each time that it sees the link go (FRR's fast external failover)."""
    it = Stand(lab, hold_time=9)
    it.start(zebra=True)
    it.as_wanted()
    one = it.routers[0]
    run("ip", "netns", "exec", one.namespace, "sysctl", "-qw", "net.ipv6.conf.v0.keep_addr_on_down=1")
    for number in range(CUTS):
        carrier(one, "down")
        if number % 5 == 0:  # one cut in five is long enough for the router to have ended them
            wait_for(lambda: not one.up(4) and not one.up(6), "the end of both sessions")
        it.change()
        carrier(one, "up")
        if number % 5 == 4:
            it.agent.established(*it.peers(1), limit=40)
    it.as_wanted(60)
    assert it.drops(2) == (0, 0)


@pytest.mark.parametrize("hook", ["output", "input"], ids=["to us", "to the router"])
def test_a_link_that_is_dead_in_one_direction_ends_the_session_at_both_ends_until_it_is_mended(
    lab: Lab, hook: str
) -> None:
    """TCP stops in both directions, for want of acknowledgements: whose hold time ends first is chance."""
    it = Stand(lab, hold_time=3, connect_retry=1)
    it.start()
    it.as_wanted()
    one = it.routers[0]
    loses(one, hook, (one.ours4, one.ours6))
    it.said(1, "HoldTimerExpired", "Hold Timer Expired")
    wait_for(lambda: one.table() == {} == one.table(6), "the router gives up the routes")
    it.sent(it.change(2))
    it.change(1)
    heals(one)
    it.as_wanted(60)
    assert it.drops(2) == (0, 0)
