"""When neighbours are told: at once, often while it matters, rarely for ever, and never all at one moment."""

from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.l2 import announcing
from metalbgp.l2.announcing import Announcing, Gain

SCHEDULE = [0.0, 0.03, 0.07, 0.15, 0.25, 0.4, 1.5, 2.6, 3.7, 4.8]
LOSS = 0.3


def free(_: Gain) -> bool:
    return False


def address(number: int) -> bytes:
    return b"\x0a" + number.to_bytes(3, "big")


def told(machine: Announcing, end: float, now: float = 0.0) -> list[tuple[float, bytes]]:
    """Who is told when, woken as it asks for."""
    seen = []
    while (deadline := machine.deadline) is not None and deadline <= end:
        now = max(now, deadline)
        seen += [(round(now, 3), gain.address) for gain in machine.due(now, free)]
    return seen


def test_a_gain_is_told_at_once_often_and_then_every_5_minutes() -> None:
    machine = Announcing()
    machine.gain("eth0", address(1), 0.0)
    moments = [moment for moment, _ in told(machine, 700.0)]
    assert moments == [*SCHEDULE, 304.8, 604.8]


def test_30_percent_loss_leaves_less_than_one_cache_in_a_thousand_unturned_after_half_a_second() -> None:
    """Counted for a station that believes one form of ARP only; NDP has one form."""
    assert LOSS ** sum(moment <= 0.5 for moment in SCHEDULE) < 0.001
    assert LOSS ** sum(moment <= 0.25 for moment in SCHEDULE) < 0.003


def test_the_first_frames_of_all_go_before_any_repeat_and_few_are_repeated_early() -> None:
    machine = Announcing()
    for number in range(10_000):
        machine.gain("eth0", address(number), 0.0)
    seen: list[bytes] = []
    now, waits = 0.0, 0
    while waits < 1000:  # each batch takes 50 ms: repeats are long due
        now += 0.05
        batch = machine.due(now, free)
        assert len(batch) <= announcing.BATCH
        seen += [gain.address for gain in batch]
        waits += 1
        if len(seen) <= 10_000:
            assert len(set(seen)) == len(seen)
    machine = Announcing()
    for number in range(10_000):
        machine.gain("eth0", address(number), 0.0)
    early = [one for moment, one in told(machine, 0.39)]
    assert len(early) <= 10_000 + announcing.MANY * len(announcing.EARLY)
    assert len(told(machine, 1.0, 0.39)) >= 10_000 - announcing.MANY  # all others for a second time


def test_ten_thousand_are_refreshed_one_after_the_other() -> None:
    machine = Announcing()
    for number in range(10_000):
        machine.gain("eth0", address(number), 0.0)
    told(machine, 10.0)
    refreshes = told(machine, 10.0 + announcing.REFRESH, 10.0)
    assert len({one for _, one in refreshes}) == len(refreshes) == 10_000
    seconds = [0] * 311
    for moment, _ in refreshes:
        seconds[int(moment)] += 1
    assert max(seconds) <= 35


def test_what_is_lost_is_not_told_and_what_comes_back_begins_anew() -> None:
    machine = Announcing()
    first, second = (machine.gain("eth0", address(number), 0.0) for number in (1, 2))
    told(machine, 0.2)
    machine.lose(first)
    assert {one for _, one in told(machine, 1000.0, 0.2)} == {second.address}
    machine.lose(second)
    assert machine.deadline is None
    machine.gain("eth0", first.address, 2000.0)
    assert [round(moment - 2000.0, 3) for moment, _ in told(machine, 2005.0, 2000.0)] == SCHEDULE


def test_whoever_was_stopped_says_nothing_of_what_it_held_before() -> None:
    machine = Announcing()
    machine.gain("eth0", address(1), 0.0)
    assert machine.due(1.5, free) == []
    assert machine.deadline == 1.5 + announcing.REFRESH
    assert machine.due(1.5 + announcing.REFRESH + 1.5, free) == []


def test_a_busy_loop_that_is_late_still_tells_all() -> None:
    machine = Announcing()
    for number in range(5000):
        machine.gain("eth0", address(number), 0.0)
    seen = set()
    for step in range(25):
        seen |= {gain.address for gain in machine.due(step * 0.9, free)}
    assert len(seen) == 5000


def test_first_frames_wait_for_their_group() -> None:
    machine = Announcing()
    machine.gain("eth0", address(1), 0.0)
    assert machine.due(0.0, lambda gain: True) == []
    assert len(machine.due(0.1, free)) == 1


def test_a_conflict_is_answered_once_in_10_s_and_not_at_once() -> None:
    """RFC 5227 §2.4 (c)."""
    machine = Announcing()
    gain = machine.gain("eth0", address(1), 0.0)
    moments = []
    for tenth in range(250):
        now = tenth / 10
        machine.defend(gain, now)
        moments += [now for _ in machine.defences(now)]
    assert moments == [0.5, 11.0, 21.5]
    machine.defend(gain, 40.0)
    machine.lose(gain)
    assert machine.defences(41.0) == []


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("gain"), st.integers(0, 5)),
            st.tuples(st.just("lose"), st.integers(0, 5)),
            st.tuples(st.just("wait"), st.floats(0, 400)),
        ),
        max_size=40,
    )
)
def test_only_what_is_held_is_ever_told_and_all_of_it_within_a_refresh(
    steps: list[tuple[str, float]],
) -> None:
    machine, held, now = Announcing(), dict[int, Gain](), 0.0
    for what, value in steps:
        if what == "gain" and value not in held:
            held[int(value)] = machine.gain("eth0", address(int(value)), now)
        elif what == "lose" and value in held:
            machine.lose(held.pop(int(value)))
        elif what == "wait":
            seen = {one for _, one in told(machine, now + value, now)}
            assert seen <= {gain.address for gain in held.values()}
            if value > announcing.REFRESH + 5:
                assert len(seen) == len(held)
            now += value
    assert (machine.deadline is not None) >= bool(held)
