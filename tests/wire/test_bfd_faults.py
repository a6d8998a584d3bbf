"""What must cost no BFD session: floods, nonsense, a machine without time to spare, a stopped reflex."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bfd_lab import HERE, ROUTER, THERE, Lab, entry, laboratory

from tests.wire.doing import figures, nothing_for, run, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

LONG = bool(os.environ.get("METALBGP_LONG"))
PEER = f" peer {HERE} interface p0\n  receive-interval 100\n  transmit-interval 100\n"
STRANGER = "10.80.0.9"
FLOOD = """
import os, socket, sys
source, ttl, payload = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
s.bind((source, 0))
s.connect(("10.80.0.2", 3784))
print(flush=True)
while True:
    try:
        s.send(payload)
    except OSError:
        pass
"""
FOREIGN = "20c0031800000009deadbeef000186a0000186a000000000"  # Up, to a session that is none of ours
DOWN = "204003180000000900000000000f4240000f424000000000"  # Down, from somebody who never heard us


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        made.router.start(PEER)
        made.node.start()
        made.node.want(entry())
        made.node.until_state("Up")
        made.node.until(lambda: made.node.rows[THERE]["detection"] == 300, "timers of both")
        yield made


@contextmanager
def flood(source: str, ttl: int, payload: str) -> Iterator[None]:
    """As fast as one process can, from the router's namespace."""
    command = ("ip", "netns", "exec", ROUTER, sys.executable, "-c", FLOOD, source, str(ttl), payload)
    flooding = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert flooding.stdout is not None and flooding.stdout.readline()
        yield
    finally:
        flooding.kill()
        flooding.wait()


def no_flap(lab: Lab, seconds: float, downs: int = 0) -> None:
    """`downs`: those that FRR counted before."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        lab.node.listen(left)
    assert lab.node.rows[THERE]["state"] == "Up"
    assert (lab.node.rows[THERE]["flaps"], lab.router.counters()[HERE]["session-down"]) == (0, downs)


@pytest.mark.parametrize(
    ("source", "ttl", "payload"),
    [
        (STRANGER, 255, DOWN),
        (THERE, 64, DOWN),
        (THERE, 255, "00" * 24),
        (THERE, 255, FOREIGN),
    ],
    ids=["a stranger", "from beyond the link", "malformed", "to no session of ours"],
)
def test_a_flood_costs_no_session(lab: Lab, source: str, ttl: int, payload: str) -> None:
    run("ip", "-n", ROUTER, "address", "add", f"{STRANGER}/24", "dev", "p0")
    before = lab.node.cpu()
    with flood(source, ttl, payload):
        no_flap(lab, 3.0)
        used = (lab.node.cpu() - before) / 3.0
        dropped = lab.node.ask()["bfd_dropped"]
        figures(f"flood {source} TTL {ttl}: {dropped}, {used:.0%} of a core")
        assert dropped["kernel"] > 1000
        assert used < 0.5
        began = time.monotonic()
        lab.router.kill("bfdd")  # and its silence is noticed all the same
        took = lab.node.until_state("Down") - began
        figures(f"bfdd killed in that flood → Down here: {took * 1000:.0f} ms")
        assert took < 5 * 0.3


@contextmanager
def saturated() -> Iterator[None]:
    """Twice as many spinning processes as there are cores, at ordinary priority."""
    spin = "while True: pass"
    spinning = [subprocess.Popen((sys.executable, "-c", spin)) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


SECONDS = 600.0 if LONG else 20.0


@pytest.mark.timeout(900)
def test_saturated_cores_cost_no_session(lab: Lab) -> None:
    """FRR has FIFO here as well (bfd_lab.py)."""
    if lab.node.ask()["realtime"] not in ("fifo", "deadline"):
        pytest.skip("this machine grants no realtime class")
    with saturated():
        no_flap(lab, SECONDS)
    counters = lab.router.counters()[HERE]
    figures(
        f"{SECONDS:.0f} s of saturated cores, 100 ms × 3, {lab.node.ask()['realtime']}: 0 flaps,"
        f" {counters['control-packet-input']} packets at FRR"
    )


@pytest.mark.timeout(900)
def test_saturated_cores_without_a_realtime_class_cost_no_session_at_the_pace_that_is_promised(
    lab: Lab,
) -> None:
    without_realtime(lab)
    downs = lab.router.counters()[HERE]["session-down"]  # of the reflex before
    with saturated():
        no_flap(lab, SECONDS, downs)
    figures(f"{SECONDS:.0f} s of saturated cores, 300 ms × 3, no realtime class: 0 flaps")


def test_a_reflex_that_was_stopped_longer_than_the_detection_time_hears_what_the_router_says(
    lab: Lab,
) -> None:
    assert lab.node.process is not None
    lab.node.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "down", "FRR to notice")
    lab.node.process.send_signal(signal.SIGCONT)
    lab.node.until(
        lambda: lab.node.rows[THERE]["flaps"] and lab.node.rows[THERE]["state"] == "Up", "Up again"
    )
    downs = [row for _, _, row in lab.node.log if row["failed"]]
    assert [row["diagnostic"] for row in downs] == [3]  # it was not judged by its silence


def test_a_reflex_that_was_stopped_for_less_judges_nobody(lab: Lab) -> None:
    lab.node.want(entry(multiplier=20))
    wait_for(lambda: lab.router.peers()[HERE]["remote-detect-multiplier"] == 20, "FRR to know")
    for _ in range(3):
        assert lab.node.process is not None
        lab.node.process.send_signal(signal.SIGSTOP)
        nothing_for(0.8)  # more than our detection time, less than FRR's
        lab.node.process.send_signal(signal.SIGCONT)
        no_flap(lab, 0.5)


def test_a_link_that_is_away_for_less_than_the_detection_time_costs_nothing(lab: Lab) -> None:
    slow = f"peer {HERE} interface p0"
    lab.router.configure(slow, "detect-multiplier 30")
    lab.node.want(entry(multiplier=30))
    lab.node.until(lambda: lab.node.rows[THERE]["detection"] == 3000, "FRR's multiplier")
    wait_for(lambda: lab.router.peers()[HERE]["remote-detect-multiplier"] == 30, "ours")
    for _ in range(5):
        lab.cut()
        lab.mend()
        no_flap(lab, 0.3)
    assert lab.node.rows[THERE]["why"] == ""


def test_a_link_that_comes_back_is_up_again_and_was_a_failure(lab: Lab) -> None:
    lab.cut()
    lab.node.until_state("Down")
    assert [row["diagnostic"] for _, _, row in lab.node.log if row["failed"]] == [1]
    lab.mend()
    began = time.monotonic()
    lab.node.until_state("Up")
    figures(f"link back → Up: {time.monotonic() - began:.2f} s")


def test_a_way_that_leads_in_one_direction_only_is_down_at_both_ends(lab: Lab) -> None:
    lab.lose("udp dport 3784")  # the router does not hear us, and says so
    lab.node.until_state("Down")
    (row,) = (row for _, _, row in lab.node.log if row["failed"])
    assert (row["diagnostic"], row["remote_diagnostic"]) == (3, 1)
    assert row["why"] == f"{THERE} said Down: detection time expired"
    lab.lose()
    lab.node.until_state("Up")


def without_realtime(lab: Lab) -> None:
    """The same session, by a reflex that has no realtime class, at the slower pace."""
    lab.node.kill()
    lab.node.start(capabilities="-all,+net_raw")
    assert lab.node.ask()["realtime"] in ("none", "nice")
    lab.node.want(entry())
    lab.node.until(lambda: lab.node.rows[THERE]["detection"] == 900, "the slower pace")
    wait_for(lambda: lab.router.peers()[HERE]["remote-transmit-interval"] == 300, "FRR to know")


def test_without_a_realtime_class_less_is_promised_and_said(lab: Lab) -> None:
    without_realtime(lab)
    assert "100/100 ms × 3 is asked for, 300/300 ms × 3 offered" in lab.node.rows[THERE]["why"]
