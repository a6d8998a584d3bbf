"""One BFD session by the sections of RFC 5880 that say what it does; what two of them do is tests/laws."""

import itertools
from collections.abc import Iterator

import pytest

from metalbgp.bfd.machine import GOODBYES, NEXT, SOONEST, Parameters, Session
from metalbgp.bfd.wire import Diagnostic, Packet, State

A_SECOND = 1_000_000
FAST = Parameters(receive=100_000, transmit=100_000, multiplier=3)


def session(parameters: Parameters = FAST, jitter: float = 1.0) -> Session:
    return Session(parameters, 0xA, 0.0, lambda: jitter)


def packet(
    state: State, yours: int = 0xA, transmit: int = 100_000, receive: int = 100_000, **more: int
) -> Packet:
    fields = {"diagnostic": 0, "multiplier": 3} | more
    return Packet(state, mine=0xB, yours=yours, transmit=transmit, receive=receive, **fields)  # type: ignore[arg-type]  # fields by name


def up(parameters: Parameters = FAST, **more: int) -> Session:
    """At second 1.0, all polls answered."""
    made = session(parameters)
    made.wake(0.0, 0.0)
    made.receive_packet(packet(State.INIT, **more), 1.0, 1.0)
    made.wake(1.0, 1.0)
    made.receive_packet(packet(State.UP, final=True, **more), 1.0, 1.0)
    made.receive_packet(packet(State.UP, **more), 1.0, 1.0)
    made.wake(1.0, 1.0)
    assert made.state is State.UP and not made.polling
    return made


def sent(made: Session, until: float) -> Iterator[tuple[float, Packet]]:
    """With nothing more to hear, and nobody judged for it."""
    while made.deadline <= until:
        now = max(made.deadline, 0.0)
        for each in made.wake(now, 0.0):
            yield now, each
        if made.deadline <= now:
            return


@pytest.mark.parametrize(
    ("ours", "theirs"), list(itertools.product((State.DOWN, State.INIT, State.UP), State))
)
def test_the_table_has_an_answer_for_every_pair(ours: State, theirs: State) -> None:
    assert NEXT[ours, theirs] in (State.DOWN, State.INIT, State.UP)


def test_three_packets_make_a_session() -> None:
    a, b = session(), Session(FAST, 0xB, 0.0, lambda: 1.0)
    (first,) = a.wake(0.0, 0.0)
    b.receive_packet(first, 0.0, 0.0)
    (second,) = b.wake(0.0, 0.0)
    a.receive_packet(second, 0.0, 0.0)
    assert (b.state, a.state) == (State.INIT, State.UP)
    (third,) = a.wake(SOONEST, SOONEST)
    b.receive_packet(third, SOONEST, SOONEST)
    assert b.state is State.UP


def test_until_up_a_packet_a_second_says_so_whatever_is_configured() -> None:
    """§6.8.3"""
    packets = list(sent(session(), 3.5))
    assert [at for at, _ in packets] == [0.0, 1.0, 2.0, 3.0]
    assert {each.transmit for _, each in packets} == {A_SECOND}
    assert {each.yours for _, each in packets} == {0}


@pytest.mark.parametrize(("multiplier", "most"), [(3, 1.0), (1, 0.9)])
def test_jitter_shortens_by_a_quarter_and_a_single_chance_by_a_tenth_at_least(
    multiplier: int, most: float
) -> None:
    """§6.8.7"""
    for jitter, share in ((0.0, 0.75), (1.0, most)):
        made = session(FAST._replace(multiplier=multiplier), jitter)
        assert [round(at, 3) for at, _ in sent(made, 1.4)] == [0.0, share]


def test_silence_ends_it_after_the_others_multiplier_and_the_slower_pace() -> None:
    """§6.8.4"""
    made = up(transmit=200_000, multiplier=5)
    made.wake(1.999, 1.999)
    assert made.state is State.UP
    made.wake(2.001, 2.001)
    assert (made.state, made.failed, made.flaps) == (State.DOWN, True, 1)
    assert made.diagnostic == Diagnostic.TIME_EXPIRED


def test_silence_is_judged_by_what_was_read_not_by_the_time() -> None:
    made = up()
    made.wake(5.0, 1.2)
    assert made.state is State.UP
    made.spare(6.0)
    made.wake(5.5, 5.5)
    assert made.state is State.UP
    made.wake(6.0, 6.0)
    assert made.state is State.DOWN


def test_whoever_speaks_after_a_silence_is_somebody_new() -> None:
    """§6.8.1: bfd.RemoteDiscr"""
    made = up()
    (packet_down,) = made.wake(2.0, 2.0)
    assert (packet_down.state, packet_down.yours) == (State.DOWN, 0)


@pytest.mark.parametrize(("theirs", "failed"), [(State.DOWN, True), (State.ADMIN_DOWN, False)])
def test_the_other_end_may_end_it(theirs: State, failed: bool) -> None:
    """§6.8.6; RFC 5882 §3.2: administratively down is no failure."""
    made = up()
    made.receive_packet(packet(theirs), 1.1, 1.1)
    assert (made.state, made.failed, made.diagnostic) == (
        State.DOWN,
        failed,
        Diagnostic.NEIGHBOUR_SAID_DOWN,
    )


def test_a_poll_is_answered_at_once_and_once() -> None:
    """§6.8.7"""
    made = up()
    made.receive_packet(packet(State.UP, poll=True), 1.01, 1.01)
    made.receive_packet(packet(State.UP, poll=True), 1.02, 1.02)
    assert made.deadline <= 1.02
    (answer,) = made.wake(1.02, 1.02)
    assert answer.final and not answer.poll
    assert made.deadline > 1.02


def test_a_quicker_pace_that_the_other_end_asks_for_counts_from_the_last_packet() -> None:
    """§6.8.3: otherwise the session flaps for ever."""
    made = up(transmit=A_SECOND, receive=A_SECOND)
    (at, _), *_ = sent(made, 2.5)
    assert at == pytest.approx(2.0)
    made.receive_packet(packet(State.UP), 2.05, 2.05)
    assert made.deadline == pytest.approx(2.1)


def test_slower_sending_waits_for_the_answer_and_quicker_does_not() -> None:
    """§6.8.3"""
    made = up()
    made.change(FAST._replace(transmit=500_000), 1.05)
    assert made.polling and made.transmit == 100_000
    made.wake(1.1, 1.0)
    made.receive_packet(packet(State.UP, final=True), 1.11, 1.11)
    assert not made.polling and made.transmit == 500_000
    made.receive_packet(packet(State.UP), 1.2, 1.2)
    made.change(FAST, 1.3)
    assert made.polling and made.transmit == 100_000


def test_a_shorter_patience_waits_for_the_answer_and_a_longer_one_does_not() -> None:
    """§6.8.3"""
    made = up(transmit=50_000)
    made.change(FAST._replace(receive=400_000), 1.0)
    assert made.polling and made.detection == 1_200_000 and made.deadline <= 1.1
    made.wake(1.1, 1.0)
    made.receive_packet(packet(State.UP, transmit=50_000, final=True), 1.11, 1.11)
    made.receive_packet(packet(State.UP, transmit=50_000), 1.2, 1.2)
    made.change(FAST, 1.3)
    assert made.polling and made.detection == 1_200_000
    made.wake(1.4, 1.3)
    made.receive_packet(packet(State.UP, transmit=50_000, final=True), 1.41, 1.41)
    assert made.detection == 300_000


def test_two_changes_are_two_sequences() -> None:
    """§6.8.3: nobody could tell which of them a Final answers."""
    made = up()
    made.change(FAST._replace(transmit=500_000), 1.05)
    made.wake(1.1, 1.0)
    made.change(FAST._replace(transmit=900_000), 1.12)
    (poll,) = made.wake(made.deadline, 1.0)
    assert poll.transmit == 500_000
    made.receive_packet(packet(State.UP, final=True), 1.3, 1.3)
    assert made.transmit == 500_000 and not made.polling
    made.receive_packet(packet(State.UP, final=True), 1.31, 1.31)  # of the second packet of the first
    assert made.transmit == 500_000 and not made.polling
    made.receive_packet(packet(State.UP), 1.6, 1.6)
    assert made.polling and made.transmit == 500_000
    made.wake(1.7, 1.6)
    made.receive_packet(packet(State.UP, final=True), 1.8, 1.8)
    assert made.transmit == 900_000


def test_a_final_that_nobody_asked_for_ends_nothing() -> None:
    made = up()
    made.change(FAST._replace(transmit=500_000), 1.05)
    made.receive_packet(packet(State.UP, final=True), 1.04, 1.06)  # of a Poll that has not even gone
    assert made.polling and made.transmit == 100_000


def test_another_multiplier_goes_without_a_poll() -> None:
    """§6.8.12"""
    made = up()
    made.change(FAST._replace(multiplier=7), 1.05)
    assert not made.polling
    (each,) = made.wake(1.1, 1.0)
    assert each.multiplier == 7


def test_who_wants_to_hear_nothing_hears_nothing_but_answers() -> None:
    """§6.8.7: bfd.RemoteMinRxInterval is zero."""
    made = up()
    made.receive_packet(packet(State.UP, receive=0), 1.01, 1.01)
    assert list(sent(made, 1.25)) == []
    made.receive_packet(packet(State.UP, receive=0, poll=True), 1.26, 1.26)
    assert [each.final for each in made.wake(1.26, 1.26)] == [True]


def test_who_speaks_on_demand_is_not_sent_to_and_still_judged() -> None:
    """§6.8.7; we never ask for it ourselves: our packets have no D bit."""
    made = up(demand=True)
    assert list(sent(made, 1.25)) == []
    made.change(FAST._replace(transmit=200_000), 1.26)
    assert [each.poll for each in made.wake(1.27, 1.0)] == [True]
    made.wake(2.0, 2.0)
    assert made.state is State.DOWN


def test_the_passive_end_is_silent_until_it_hears_somebody() -> None:
    """§6.1"""
    made = session(FAST._replace(passive=True))
    assert list(sent(made, 10.0)) == []
    made.receive_packet(packet(State.DOWN, yours=0), 11.0, 11.0)
    assert [each.state for each in made.wake(11.0, 11.0)] == [State.INIT]


def test_the_end_is_said_a_few_times_and_nothing_after_it() -> None:
    """§6.8.16"""
    made = up()
    made.end(1.05)
    said = list(sent(made, 9.0))
    assert [each.state for _, each in said] == [State.ADMIN_DOWN] * GOODBYES
    assert {each.diagnostic for _, each in said} == {Diagnostic.ADMIN_DOWN}
    assert said[0][0] <= 1.05 and said[-1][0] < 1.2
    assert made.over
    made.receive_packet(packet(State.UP, poll=True), 1.3, 1.3)
    assert (made.wake(2.0, 2.0), made.state) == ([], State.ADMIN_DOWN)


def test_a_passive_end_that_never_spoke_has_nobody_to_say_goodbye_to() -> None:
    made = session(FAST._replace(passive=True))
    made.end(1.0)
    assert made.over and list(sent(made, 9.0)) == []


def test_nonsense_sets_no_pace() -> None:
    """States that change with every packet are told every 10 ms at most."""
    made = session()
    count = 0
    for step in range(1000):
        now = 1.0 + step * 0.001
        made.receive_packet(packet(State.DOWN if step % 2 else State.INIT), now, now)
        count += len(made.wake(now, now))
    assert count <= 1.0 / SOONEST + 2


def test_our_packets_say_that_bfd_does_not_die_with_bgp() -> None:
    """C: the reflex is another process than ExaBGP, and the parent restarts either alone."""
    assert all(each.independent and not each.demand and not each.echo for _, each in sent(session(), 1.5))
