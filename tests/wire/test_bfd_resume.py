"""One reflex goes on with the sessions of another, and FRR's bfdd does not notice.

The parent's part is played here: it keeps what the rows said, and says it to the next reflex.
"""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from bfd_lab import HERE, THERE, Lab, Row, entry, laboratory

from metalbgp.clocks import clock
from tests.wire.doing import figures, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

PEER = f" peer {HERE} interface p0\n  receive-interval 100\n  transmit-interval 100\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        made.router.start(PEER)
        made.node.start()
        yield made


def come_up(lab: Lab, **fields: int) -> None:
    lab.node.want(entry(**fields))
    lab.node.until_state("Up")
    agreed(lab)


def agreed(lab: Lab) -> None:
    def so() -> bool:
        return bool(lab.router.peers()[HERE]["remote-transmit-interval"] == 100)

    lab.node.until(so, "FRR to know our pace")
    lab.node.until(lambda: lab.node.rows[THERE]["detection"] == 300, "FRR's pace")


def resumed(lab: Lab, row: Row, at: float, **fields: int) -> Row:
    lab.node.start()
    return lab.node.want(entry(**fields) | {"resume": [row["resume"], at]})[THERE]


def test_a_reflex_that_hands_over_may_be_away_for_as_long_as_the_routers_agreed_to_wait(lab: Lab) -> None:
    come_up(lab)
    lab.node.hand_over(20.0)
    assert lab.router.peers()[HERE]["remote-transmit-interval"] * 3 >= 19_900  # it shows milliseconds
    row, at = lab.node.rows[THERE], clock()
    lab.node.kill(signal.SIGTERM)
    began = time.monotonic()
    time.sleep(2.0)  # six detection times as they were
    assert lab.router.peers()[HERE]["status"] == "up"
    assert resumed(lab, row, at)["state"] == "Up"
    figures(f"a reflex away for {time.monotonic() - began:.1f} s: FRR saw nothing")
    agreed(lab)
    assert lab.router.counters()[HERE]["session-down"] == 0
    lab.node.kill()  # the next death is noticed as quickly as ever
    began = time.monotonic()
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "down", "FRR to notice")
    assert time.monotonic() - began < 5 * 0.3


def test_a_reflex_that_is_killed_and_back_within_the_detection_time_was_never_away(lab: Lab) -> None:
    come_up(lab, multiplier=50)
    row, at = lab.node.rows[THERE], clock()
    lab.node.kill()
    assert resumed(lab, row, at, multiplier=50)["state"] == "Up"
    time.sleep(0.5)
    agreed(lab)
    assert lab.node.rows[THERE]["flaps"] == lab.router.counters()[HERE]["session-down"] == 0


def test_a_reflex_that_comes_too_late_begins_anew(lab: Lab) -> None:
    come_up(lab)
    row, at = lab.node.rows[THERE], clock()
    lab.node.kill()
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "down", "FRR to notice")
    assert resumed(lab, row, at)["state"] == "Down"
    assert "bfd-resumed" not in lab.node.said()
    lab.node.until_state("Up")
    assert not any(row["failed"] for _, _, row in lab.node.log)


def test_a_router_that_was_restarted_meanwhile_is_a_failure_and_then_up(lab: Lab) -> None:
    come_up(lab, multiplier=50)
    row, at = lab.node.rows[THERE], clock()
    lab.node.kill()
    lab.router.kill("bfdd")
    lab.router.start(PEER)
    assert resumed(lab, row, at, multiplier=50)["state"] == "Up"
    lab.node.until(lambda: lab.node.rows[THERE]["flaps"] == 1, "its Down")
    lab.node.until_state("Up")
    assert [row["failed"] for _, _, row in lab.node.log].count(True) == 1


def test_a_hand_over_that_does_not_happen_ends_with_the_next_list(lab: Lab) -> None:
    come_up(lab)
    lab.node.hand_over(20.0)
    lab.node.want(entry())
    agreed(lab)
    lab.node.kill(signal.SIGTERM)
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "down", "FRR to hear of it")
    assert lab.router.peers()[HERE]["remote-diagnostic"] == "administratively down"
