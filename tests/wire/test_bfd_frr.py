"""BFD between the reflex and FRR's bfdd, on the wire: every kind of session, timers, and who notices what.

Bounds in seconds are five times the figure; the figures themselves are printed (pytest -s).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median

import pytest
from bfd_lab import (
    HERE,
    HERE6,
    HERE_FAR,
    HERE_LOCAL,
    NODE,
    ROUTER,
    THERE,
    THERE6,
    THERE_FAR,
    THERE_LOCAL,
    Lab,
    Row,
    entry,
    laboratory,
)

from tests.wire.doing import figures, nothing_for, run, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

LONG = bool(os.environ.get("METALBGP_LONG"))
TIMERS = "  receive-interval 100\n  transmit-interval 100\n"
PEER = f" peer {HERE} interface p0\n{TIMERS}"
FAR = f" peer {HERE_FAR} multihop local-address {THERE_FAR}\n{TIMERS}"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


def settled(lab: Lab, ours: str = HERE, theirs: str = THERE) -> None:
    """Both are Up, and both know the other's timers."""
    lab.node.until_state("Up", theirs)

    def so() -> bool:
        row, peer = lab.node.rows[theirs], lab.router.peers().get(ours, {})
        return (
            peer.get("status") == "up"
            and peer["remote-transmit-interval"] < 1000
            and row["detection"] < 1000
            and row["state"] == "Up"
        )

    lab.node.until(so, f"timers of {theirs} settled")


def flaps(lab: Lab, ours: str = HERE, theirs: str = THERE) -> tuple[int, int]:
    """As each end counts them."""
    lab.node.listen(0)
    return lab.node.ask()["bfd"][theirs]["flaps"], lab.router.counters()[ours]["session-down"]


@pytest.mark.parametrize(
    ("lines", "wanted", "ours"),
    [
        (PEER, entry(), HERE),
        (f" peer {HERE6} local-address {THERE6} interface p0\n{TIMERS}", entry(THERE6), HERE6),
        (
            f" peer {HERE_LOCAL} local-address {THERE_LOCAL} interface p0\n{TIMERS}",
            entry(THERE_LOCAL, interface="eth0"),
            f"{HERE_LOCAL} p0",
        ),
        (FAR, entry(THERE_FAR, multihop=True, local=HERE_FAR), HERE_FAR),
    ],
    ids=["IPv4", "IPv6", "link-local", "multihop"],
)
def test_a_session_comes_up_with_the_timers_of_both(lab: Lab, lines: str, wanted: Row, ours: str) -> None:
    lab.router.start(lines)
    lab.node.start()
    lab.node.want(wanted)
    theirs = wanted["key"]
    settled(lab, ours, theirs)
    row, peer = lab.node.rows[theirs], lab.router.peers()[ours]
    assert (row["detection"], row["multiplier"], row["why"]) == (300, 3, "")
    assert (peer["remote-transmit-interval"], peer["remote-receive-interval"]) == (100, 100)
    assert row["local"] == ours.partition(" ")[0]
    assert flaps(lab, ours, theirs) == (0, 0)


def test_two_sessions_with_one_address_live_and_die_each_on_its_own_link(lab: Lab) -> None:
    lab.router.start(
        "".join(
            f" peer {HERE_LOCAL} local-address {THERE_LOCAL} interface {name}\n{TIMERS}"
            for name in ("p0", "p1")
        )
    )
    lab.node.start()
    lab.node.want(*(entry(THERE_LOCAL, key=name, interface=name) for name in ("eth0", "eth1")))
    lab.node.until_state("Up", "eth0", "eth1")
    lab.cut("eth1")
    lab.node.until_state("Down", "eth1")
    assert lab.node.rows["eth0"]["state"] == "Up"
    assert lab.router.counters()[f"{HERE_LOCAL} p0"]["session-down"] == 0


def test_timers_changed_while_up_by_either_end_cost_no_flap(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    for receive, transmit, multiplier in ((400, 50, 3), (50, 400, 5), (1000, 1000, 2), (60, 60, 3)):
        lab.node.want(entry(receive=receive, transmit=transmit, multiplier=multiplier))

        def known(receive: int = receive, transmit: int = transmit, multiplier: int = multiplier) -> bool:
            peer = lab.router.peers()[HERE]
            return (
                peer["remote-receive-interval"],
                peer["remote-transmit-interval"],
                peer["remote-detect-multiplier"],
            ) == (receive, transmit, multiplier)

        lab.node.until(known, "FRR to know our new timers")
    for receive, transmit, multiplier in ((400, 60, 3), (60, 400, 5), (1000, 1000, 2), (60, 60, 3)):
        lab.router.configure(
            f"peer {HERE} interface p0",
            f"receive-interval {receive}",
            f"transmit-interval {transmit}",
            f"detect-multiplier {multiplier}",
        )
        lab.node.until(
            lambda receive=receive, transmit=transmit, multiplier=multiplier: (  # type: ignore[misc]  # defaults bind the loop's values
                lab.node.rows[THERE]["detection"] == multiplier * max(60, transmit)
                and lab.node.rows[THERE]["transmit"] == max(60, receive)
            ),
            "FRR's new timers in force here",
        )
    assert flaps(lab) == (0, 0)


@pytest.mark.parametrize("who", ["we", "FRR"])
def test_the_passive_end_waits_to_be_spoken_to(lab: Lab, who: str) -> None:
    lab.router.start(PEER + ("  passive-mode\n" if who == "FRR" else ""))
    lab.node.start()
    lab.node.want(entry(passive=who == "we"))
    settled(lab)
    if who == "we":  # and it falls silent again when there is nobody
        lab.router.kill("bfdd")
        lab.node.until_state("Down")
        lab.node.until(lambda: "nothing is heard" in lab.node.rows[THERE]["why"], "silence")
        assert _packets_in(1.5) == 0


def _packets_in(seconds: float) -> int:
    """How many the node sends to the router's port within that time."""
    command = ("ip", "netns", "exec", ROUTER, "timeout", str(seconds), "tcpdump", "-ni", "p0", "-Q", "in")
    seen = subprocess.run(
        (*command, "udp port 3784"), check=False, capture_output=True, text=True, timeout=20
    )
    return seen.stdout.count("BFD")


def test_both_passive_never_speak(lab: Lab) -> None:
    lab.router.start(PEER + "  passive-mode\n")
    lab.node.start()
    lab.node.want(entry(passive=True))
    assert _packets_in(1.5) == 0
    assert lab.node.ask()["bfd"][THERE]["why"] == f"nothing is heard from {THERE}"


def test_a_session_that_is_no_longer_wanted_ends_as_administratively_down(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    lab.node.want()
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "down", "FRR to hear of it")
    assert lab.router.peers()[HERE]["remote-diagnostic"] == "administratively down"
    lab.node.want(entry())
    settled(lab)


def test_a_router_that_is_shut_down_by_its_operator_is_no_failure(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    lab.router.configure(f"peer {HERE} interface p0", "shutdown")
    lab.node.until_state("Down")
    row = lab.node.rows[THERE]
    assert (row["remote_state"], row["why"]) == ("AdminDown", f"{THERE} is administratively down")
    assert not any(row["failed"] for _, _, row in lab.node.log)
    lab.router.configure(f"peer {HERE} interface p0", "no shutdown")
    settled(lab)
    assert lab.node.rows[THERE]["flaps"] == 1


def test_a_router_whose_bfdd_dies_is_known_to_be_down(lab: Lab) -> None:
    took: list[float] = []
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    for _ in range(5):
        settled(lab)
        lab.node.log.clear()
        began = time.monotonic()
        lab.router.kill("bfdd")
        took.append(lab.node.until_state("Down") - began)
        row = next(row for _, _, row in lab.node.log if row["state"] == "Down")
        assert row["failed"] and row["diagnostic"] == 1
        assert "nothing is heard" in row["why"]
        assert not lab.node.ask()["bfd"][THERE]["failed"]  # told once
        lab.router.start(PEER)
    figures(f"bfdd killed → Down here, 100 ms × 3: {sorted(round(each * 1000) for each in took)} ms")
    assert median(took) <= 5 * 0.3


def test_a_reflex_that_is_killed_is_a_failure_to_the_router(lab: Lab) -> None:
    took: list[float] = []
    lab.router.start(PEER)
    for count in range(5):
        lab.node.start()
        lab.node.want(entry())
        settled(lab)
        began = time.monotonic()
        lab.node.kill()
        wait_for(lambda count=count: lab.router.counters()[HERE]["session-down"] == count + 1, "FRR")  # type: ignore[misc]  # a default binds the loop's value
        took.append(time.monotonic() - began)
        assert lab.router.peers()[HERE]["diagnostic"] == "control detection time expired"
    figures(f"reflex killed → Down at FRR, 100 ms × 3: {sorted(round(each * 1000) for each in took)} ms")
    assert median(took) <= 5 * 0.3


def test_a_reflex_that_is_told_to_go_says_admin_down_before_anything_else(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    began = time.monotonic()
    assert lab.node.process is not None
    lab.node.process.send_signal(signal.SIGTERM)
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "down", "FRR to hear of it")
    figures(f"SIGTERM → Down at FRR: {(time.monotonic() - began) * 1000:.0f} ms, vtysh included")
    assert lab.router.peers()[HERE]["remote-diagnostic"] == "administratively down"
    lab.node.process.wait(5)


def test_sessions_outlive_the_parents_connection(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    lab.node.disconnect()
    nothing_for(1.0)  # three detection times without a client
    lab.node.connect()
    assert lab.node.want(entry())[THERE]["state"] == "Up"
    assert flaps(lab) == (0, 0)


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_packets_from_beyond_the_link_are_refused_and_said(lab: Lab, family: str) -> None:
    ours, theirs = (HERE, THERE) if family == "IPv4" else (HERE6, THERE6)
    lab.router.start(f" peer {ours} local-address {theirs} interface p0\n{TIMERS}")
    field = "ip ttl" if family == "IPv4" else "ip6 hoplimit"
    rules = (
        "add table inet far\nadd chain inet far output { type filter hook output priority 0; }\n"
        f"add rule inet far output udp dport 3784 {field} set 64\n"
    )
    run("ip", "netns", "exec", ROUTER, "nft", rules)
    lab.node.start()
    lab.node.want(entry(theirs))
    lab.node.until(lambda: "TTL 64, not 255" in lab.node.rows[theirs]["why"], "the reason")
    assert lab.node.rows[theirs]["state"] == "Down"
    assert lab.node.ask()["bfd_dropped"]["ttl"] >= 1
    run("ip", "netns", "exec", ROUTER, "nft", "delete table inet far")
    settled(lab, ours, theirs)


def test_a_multihop_session_takes_what_minimum_ttl_leaves(lab: Lab) -> None:
    lab.router.start(FAR)
    rules = (
        "add table inet far\nadd chain inet far output { type filter hook output priority 0; }\n"
        "add rule inet far output udp dport 4784 ip ttl set 250\n"
    )
    run("ip", "netns", "exec", ROUTER, "nft", rules)
    lab.node.start()
    far = entry(THERE_FAR, multihop=True, local=HERE_FAR)
    lab.node.want(far)
    lab.node.until(
        lambda: "TTL 250, less than minimumTtl 254" in lab.node.rows[THERE_FAR]["why"], "the reason"
    )
    lab.node.want(far | {"minimum_ttl": 250})
    settled(lab, HERE_FAR, THERE_FAR)


def test_nobody_listening_at_the_router_is_said(lab: Lab) -> None:
    lab.node.start()
    lab.node.want(entry())
    lab.node.until(lambda: "nothing listens" in lab.node.rows[THERE]["why"], "the reason")
    lab.router.start(PEER)
    settled(lab)
    assert lab.node.rows[THERE]["why"] == ""


def test_an_interface_and_an_address_that_come_late_are_waited_for(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    late = entry(local="10.80.0.77", interface="eth7")
    assert "no interface eth7" in lab.node.want(late)[THERE]["why"]
    assert (
        "10.80.0.77 is not an address of this node" in lab.node.want(entry(local="10.80.0.77"))[THERE]["why"]
    )
    before = lab.node.cpu()
    lab.node.want(entry(local=HERE, interface="eth0"))
    settled(lab)
    # The interface goes with its addresses, and another of that name comes.
    run("ip", "-n", NODE, "link", "set", "eth0", "name", "gone")
    run("ip", "-n", NODE, "link", "set", "gone", "down")
    lab.node.until_state("Down")
    lab.node.until(lambda: "no interface eth0" in lab.node.rows[THERE]["why"], "the reason")
    run("ip", "-n", NODE, "link", "set", "gone", "name", "eth0")
    run("ip", "-n", NODE, "link", "set", "eth0", "up")
    settled(lab)
    assert lab.node.cpu() - before < 1.0


def test_another_bfd_daemon_on_the_node_is_told_of_and_waited_for(lab: Lab) -> None:
    lab.router.start(PEER)
    program = (
        "import socket, time; s = socket.socket(2, 2); s.bind(('', 3784)); print(flush=True); time.sleep(60)"
    )
    command = ("ip", "netns", "exec", NODE, sys.executable, "-c", program)
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        lab.node.start()
        assert "another program speaks BFD here" in lab.node.want(entry())[THERE]["why"]
    finally:
        holder.kill()
        holder.wait()
    settled(lab)
    assert lab.node.rows[THERE]["why"] == ""


def test_what_cannot_be_read_is_said_under_its_key_and_costs_nothing(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    rows = lab.node.want(entry(receive=5), entry("10.80.0.9", key="other", multiplier="three"), {"peer": "x"})
    assert rows[THERE]["state"] == "Up"
    assert rows[THERE]["why"] == f"{THERE}: receive is 5, not a number from 10 to 60000"
    assert (rows["other"]["state"], rows["other"]["why"]) == (
        "Down",
        "other: multiplier is 'three', not a number from 1 to 255",
    )
    lab.node.until(lambda: lab.node.problems, "the entry without a key")
    assert flaps(lab) == (0, 0)


def test_what_is_said_to_people_who_ask_is_what_the_parent_hears(lab: Lab) -> None:
    lab.router.start(PEER)
    lab.node.start()
    lab.node.want(entry())
    settled(lab)
    assert json.dumps(lab.node.ask()["bfd"][THERE]) == json.dumps(lab.node.rows[THERE])
