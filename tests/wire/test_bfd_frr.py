"""BFD between the reflex and FRR's bfdd, on the wire: every kind of session, timers, and who notices what."""

import os
from collections.abc import Iterator

import pytest
from bfd_lab import HERE, THERE, Lab, entry, laboratory, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs network namespaces")

TIMERS = "  receive-interval 100\n  transmit-interval 100\n"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


def test_a_session_on_one_link_comes_up_with_the_timers_of_both(lab: Lab) -> None:
    lab.router.start(f" peer {HERE} interface p0\n{TIMERS}")
    lab.node.start()
    first = lab.node.want(entry())
    assert first[THERE]["state"] == "Down"
    lab.node.until_state("Up")
    lab.node.until(lambda: lab.node.rows[THERE]["detection"] == 300, "timers of both")
    assert lab.node.rows[THERE]["why"] == ""
    wait_for(lambda: lab.router.peers()[HERE]["status"] == "up", "FRR's side")
    wait_for(lambda: lab.router.peers()[HERE]["remote-transmit-interval"] == 100, "the Poll Sequence")
