"""Two BFD machines: they come up and stay up, notice silence as they promised, and no change is a flap."""

import os
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.bfd.machine import UNTIL_UP, Parameters
from metalbgp.bfd.wire import Diagnostic, State
from tests.laws.bfd_world import LATE, MS, End, Losses, World, parameters

LONG = bool(os.environ.get("METALBGP_LONG"))
DELAY = 0.003
SLACK = 2 * (DELAY + LATE)  # what network and machine add to any interval

intervals = st.sampled_from([50, 60, 100, 150, 300, 1000, 2500])
multipliers = st.integers(3, 6)
wanted = st.builds(parameters, intervals, intervals, multipliers)
seeds = st.integers(0, 2**32)


def examples(few: int, many: int) -> settings:
    return settings(max_examples=many if LONG else few)


def judged(end: End) -> tuple[float, float]:
    """When that end may and must give up, by nothing but what it heard and said: the slow way to know.

    A receive interval that was lowered may count in its old or in its new value until the Poll is answered.
    """
    last = end.heard[-1]
    said = [one.packet.receive for one in end.sent[-50:]]
    own = said[-1], max(said)
    soonest, latest = (last.packet.multiplier * max(each, last.packet.transmit) * 1e-6 for each in own)
    return last.at + soonest, last.at + latest


@examples(60, 1500)
@given(wanted, wanted, seeds, st.booleans(), st.floats(0, 0.6))
def test_two_ends_come_up_and_stay_up_below_the_loss_that_they_allow(
    ours: Parameters, theirs: Parameters, seed: int, passive: bool, share: float
) -> None:
    it = World(ours._replace(passive=passive), theirs, seed, DELAY)
    it.lost = Losses(seed, share, row=1)
    assert it.run(12.0, it.up)
    for end in it.ends:
        end.changes.clear()
    it.run(20.0)
    assert [change for end in it.ends for change in end.changes if change.was is State.UP] == []
    assert it.up()


@examples(60, 1500)
@given(wanted, wanted, seeds, st.sampled_from(["a", "b", "ab"]), st.floats(0.0, 3.0))
def test_silence_is_noticed_not_before_the_detection_time_and_not_an_interval_after(
    ours: Parameters, theirs: Parameters, seed: int, mute: str, before: float
) -> None:
    it = World(ours, theirs, seed, DELAY)
    it.run(12.0, it.up)
    it.run(before)
    it.lost = lambda sender: sender.name in mute
    it.run(DELAY)  # what is on its way arrives
    deaf = [it.other(end) for end in it.ends if end.name in mute]
    it.run(30.0, lambda: all(end.state is not State.UP for end in deaf))
    for end in deaf:
        down = next(change for change in end.changes if change.was is State.UP)
        if not down.failed or end.session.diagnostic != Diagnostic.TIME_EXPIRED:
            assert mute != "ab"  # it heard of the other's Down first
            continue
        soonest, latest = judged(end)
        assert soonest <= down.at <= latest + LATE


@examples(60, 1500)
@given(
    wanted,
    wanted,
    st.lists(st.tuples(st.sampled_from("ab"), wanted, st.floats(0.0, 2.0)), min_size=1, max_size=8),
    seeds,
    st.floats(0, 0.5),
)
def test_no_change_of_parameters_while_up_makes_a_session_flap(
    ours: Parameters,
    theirs: Parameters,
    changes: list[tuple[str, Parameters, float]],
    seed: int,
    share: float,
) -> None:
    it = World(ours, theirs, seed, DELAY)
    it.lost = Losses(seed, share, row=1)
    it.run(12.0, it.up)
    last = {"a": ours, "b": theirs}
    for name, changed, pause in changes:
        (it.a if name == "a" else it.b).change(changed)
        last[name] = changed
        it.run(pause)
    it.run(40.0)  # eight sequences at 2.5 s with every second packet lost
    for end in it.ends:
        assert [change for change in end.changes if change.was is State.UP] == []
        assert not end.session.polling
        other = last[it.other(end).name]
        assert end.session.transmit == max(last[end.name].transmit, other.receive)
        assert end.session.detection == other.multiplier * max(last[end.name].receive, other.transmit)


@examples(30, 500)
@given(wanted, wanted, seeds)
def test_nobody_sends_faster_than_the_other_end_asks_and_slowly_until_up(
    ours: Parameters, theirs: Parameters, seed: int
) -> None:
    it = World(ours, theirs, seed, DELAY)
    it.run(12.0, it.up)
    it.run(5.0)
    for end in it.ends:
        assert all(one.packet.transmit >= UNTIL_UP for one in end.sent if one.packet.state is not State.UP)
        steady = [one for one in end.sent if one.at > it.now - 3.0 and not one.packet.final]
        gaps = [after.at - one.at for one, after in pairwise(steady)]
        pace = max(end.session.parameters.transmit, it.other(end).session.parameters.receive) * 1e-6
        assert all(0.75 * pace - LATE <= gap <= pace + LATE for gap in gaps)


@examples(30, 500)
@given(wanted, wanted, seeds, st.floats(0, 1.0))
def test_an_end_that_goes_says_so_and_is_no_failure(
    ours: Parameters, theirs: Parameters, seed: int, after: float
) -> None:
    it = World(ours, theirs, seed, DELAY)
    it.run(12.0, it.up)
    it.run(after)
    it.lost, began = Losses(seed, 0.9, row=3), it.now
    it.a.end()
    it.run(0.2)
    assert it.a.session.over
    downs = [change for change in it.b.changes if change.was is State.UP]
    assert [(down.became, down.failed) for down in downs] == [(State.DOWN, False)]
    assert downs[0].at - began <= 3 * (0.025 + LATE) + SLACK


@examples(40, 800)
@given(
    wanted,
    wanted,
    seeds,
    st.lists(st.tuples(st.sampled_from(["a", "b", "ab", ""]), st.floats(0, 4)), max_size=8),
)
def test_after_any_silence_both_ends_are_up_again(
    ours: Parameters, theirs: Parameters, seed: int, silences: list[tuple[str, float]]
) -> None:
    it = World(ours, theirs, seed, DELAY)
    for mute, pause in silences:
        it.lost = lambda sender, mute=mute: sender.name in mute
        it.run(pause)
    it.lost = lambda _: False
    assert it.run(2.5 * 6 + 3.0, it.up)  # the other end may have to be given up first
    it.run(1.0)
    assert it.up()


def test_the_milliseconds_of_these_laws_are_the_microseconds_of_the_wire() -> None:
    assert parameters(100, 200) == Parameters(100 * MS, 200 * MS, 3)
