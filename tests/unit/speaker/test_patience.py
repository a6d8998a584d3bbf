"""When a node begins and ends to announce (patience.py), second by second."""

from typing import Any

import pytest

from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.select import NodeView
from metalbgp.speaker.patience import OVERLAP, Patience
from tests.values import bgp, configuration, holder, node, peer, vip

ADDRESS = "10.252.252.100"
READY = {"nodes": {"n1": 1}}
GONE: dict[str, Any] = {"nodes": {"n2": 1}}
MOVES = {"nodes": {"n2": 1}, "terminating": {"n1": 1}}


def local(fields: dict[str, Any], sequence: int = 1) -> VirtualIP:
    one = holder(bgp=("external",), policy="Local", **fields)
    return vip(ADDRESS, {"web/nginx": one}, configuration=sequence)


class Speaker:
    """Patience of n1, and what it lets through."""

    def __init__(self, delay: int, started: bool = True) -> None:
        self.patience = Patience()
        self.patience.started = started
        self.delay(delay)
        self.vip = local(GONE)

    def delay(self, seconds: int) -> None:
        made = configuration(peer("tor"), bgp(announce_delay=seconds * 1000))
        self.view = NodeView(made, node("n1"))

    def sees(self, now: float, fields: dict[str, Any], sequence: int = 1) -> bool:
        self.vip = local(fields, sequence)
        return self.at(now)

    def at(self, now: float) -> bool:
        """Whether it announces then."""
        return bool(self.patience.judge(self.vip, self.view, now).routes)


def test_what_begins_waits_for_its_delay_and_says_when_to_look_again() -> None:
    speaker = Speaker(delay=5)
    assert not speaker.sees(10, READY)
    assert (speaker.patience.deadline, speaker.patience.due(14.9)) == (15, [])
    assert not speaker.at(14.9)
    assert speaker.patience.due(15) == [ADDRESS]
    assert speaker.at(15)
    assert speaker.patience.deadline is None
    assert speaker.sees(16, {"nodes": {"n1": 7, "n2": 1}})


def test_a_start_and_an_advertisement_without_a_delay_delay_nothing() -> None:
    assert Speaker(delay=300, started=False).sees(0, READY)
    assert Speaker(delay=0).sees(0, READY)


def test_another_delay_counts_from_the_same_beginning() -> None:
    speaker = Speaker(delay=60)
    assert not speaker.sees(0, READY)
    speaker.delay(20)
    assert not speaker.at(10)
    assert speaker.patience.deadline == 20
    speaker.delay(5)
    assert speaker.at(11)


def test_what_ends_while_it_waits_begins_anew() -> None:
    speaker = Speaker(delay=5)
    assert not speaker.sees(0, READY)
    assert not speaker.sees(3, GONE)
    assert speaker.patience.deadline is None
    assert not speaker.sees(4, READY)
    assert not speaker.at(6)
    assert speaker.at(9)


def test_what_no_longer_serves_goes_at_once() -> None:
    speaker = Speaker(delay=5, started=False)
    assert speaker.sees(0, READY)
    speaker.patience.started = True
    assert not speaker.sees(1, GONE)


@pytest.mark.parametrize("delay", [0, 5])
def test_who_terminates_waits_for_the_other_one_that_has_just_begun(delay: int) -> None:
    speaker = Speaker(delay, started=False)
    assert speaker.sees(0, READY)
    speaker.patience.started = True
    assert speaker.sees(10, MOVES)
    assert speaker.patience.deadline == 10 + OVERLAP + delay
    assert speaker.at(9.9 + OVERLAP + delay)
    assert not speaker.at(10 + OVERLAP + delay)
    assert speaker.patience.deadline is None


def test_who_terminates_goes_at_once_when_another_one_has_served_for_long() -> None:
    speaker = Speaker(delay=5, started=False)
    assert speaker.sees(0, {"nodes": {"n1": 1, "n3": 1}})
    speaker.patience.started = True
    assert speaker.sees(10, {"nodes": {"n1": 1, "n2": 1, "n3": 1}})
    assert not speaker.sees(11, {"nodes": {"n2": 1, "n3": 1}, "terminating": {"n1": 1}})


def test_who_waits_for_another_one_goes_at_once_when_its_own_endpoint_no_longer_serves() -> None:
    speaker = Speaker(delay=5, started=False)
    assert speaker.sees(0, READY)
    speaker.patience.started = True
    assert speaker.sees(10, MOVES)
    assert not speaker.sees(11, GONE)
    assert speaker.patience.deadline is None


def test_what_is_undecided_stays_and_sets_no_alarm() -> None:
    speaker = Speaker(delay=5)
    assert not speaker.sees(0, READY)
    plan = speaker.patience.judge(local(READY, sequence=9), speaker.view, 1)
    assert plan.undecided == (ADDRESS,)
    assert speaker.patience.deadline is None
    assert speaker.sees(6, READY)
