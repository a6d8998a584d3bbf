"""Laws of speaker/guard.py: whatever order things come in, no limit is exceeded and nothing is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.model.routes import Attributes
from metalbgp.speaker.guard import Guard, Limits, Want

PEER = "192.0.2.1"
PREFIXES = tuple(f"198.51.100.{number}/32" for number in range(12))
MED = tuple(Attributes(med=number) for number in range(3))

batches = st.lists(
    st.tuples(
        st.floats(0, 20),  # seconds since the last one
        st.dictionaries(st.sampled_from(PREFIXES), st.sampled_from((None, *MED)), min_size=1),
    ),
    max_size=30,
)


class Router:
    """What the parent was told, and how often it was told to withdraw."""

    def __init__(self) -> None:
        self.table: dict[str, Attributes] = {}
        self.withdrawn: list[float] = []

    def take(self, wants: list[Want], now: float) -> None:
        for _, prefix, attributes in wants:
            if attributes is not None:
                self.table[prefix] = attributes
            elif self.table.pop(prefix, None) is not None:
                self.withdrawn.append(now)


@given(batches, st.integers(1, 6), st.integers(0, 8))
def test_limits_hold_and_what_is_held_back_is_known(
    batches: list[tuple[float, dict[str, Attributes | None]]], withdrawals: int, most: int
) -> None:
    guard, router, now = Guard(), Router(), 0.0
    guard.set_limits({PEER: Limits(most, withdrawals, 10.0)}, now)
    wanted: dict[str, Attributes] = {}
    for pause, batch in batches:
        now += pause
        for prefix, attributes in batch.items():
            wanted.pop(prefix, None)
            if attributes is not None:
                wanted[prefix] = attributes
        router.take(guard.judge([(PEER, *one) for one in batch.items()], now), now)
        assert len(router.table) <= (most or len(PREFIXES))
        assert sum(moment > now - 10.0 for moment in router.withdrawn) <= withdrawals
        held, beyond = guard.held(PEER), guard.beyond(PEER)
        assert router.table.keys() - wanted.keys() == held.keys()
        assert wanted.keys() - router.table.keys() == beyond.keys()
        assert {p: a for p, a in wanted.items() if p not in beyond} == {
            p: a for p, a in router.table.items() if p not in held
        }
        assert not beyond or len(router.table) == most  # nobody waits while there is room
    router.take(guard.set_free(lambda peer: peer == PEER, now), now)
    assert not guard.held(PEER)
    router.take(guard.set_limits({}, now), now)
    assert router.table == wanted


@given(batches)
def test_without_limits_every_wish_goes_as_it_came(
    batches: list[tuple[float, dict[str, Attributes | None]]],
) -> None:
    guard = Guard()
    for number, (_, batch) in enumerate(batches):
        wants: list[Want] = [(PEER, *one) for one in batch.items()]
        assert sorted(guard.judge(wants, number), key=str) == sorted(wants, key=str)


def test_withdrawals_that_come_together_are_held_together() -> None:
    guard = Guard()
    guard.set_limits({PEER: Limits(withdrawals=3, window=60.0)}, 0.0)
    guard.judge([(PEER, prefix, MED[0]) for prefix in PREFIXES], 0.0)
    assert guard.judge([(PEER, prefix, None) for prefix in PREFIXES[:3]], 1.0)
    assert guard.judge([(PEER, PREFIXES[3], None)], 59.0) == []
    assert guard.judge([(PEER, prefix, None) for prefix in PREFIXES[4:8]], 100.0) == []  # four at once
    assert guard.judge([(PEER, PREFIXES[8], None)], 100.0) == []  # it belongs to the same mistake
    assert guard.judge([(PEER, PREFIXES[9], None)], 161.0) == [(PEER, PREFIXES[9], None)]
    assert guard.held(PEER).keys() == {*PREFIXES[3:9]}
    assert guard.judge([(PEER, PREFIXES[4], MED[1])], 101.0) == [(PEER, PREFIXES[4], MED[1])]
    assert PREFIXES[4] not in guard.held(PEER)


def test_what_was_held_stays_so_when_the_parent_says_where_it_stands_unless_gone_or_wanted() -> None:
    guard = Guard()
    guard.set_limits({PEER: Limits(withdrawals=1, window=60.0)}, 0.0)
    both = [(PEER, PREFIXES[0]), (PEER, PREFIXES[1])]
    wants: list[Want] = [(*key, None) for key in both]
    guard.standing(both, (), 0.0)
    assert guard.judge(wants, 1.0) == []
    guard.standing(both, (), 2.0)
    assert guard.judge(wants, 2.0) == [] and guard.held(PEER)[PREFIXES[0]] == 1.0
    guard.standing(both, both[:1], 3.0)
    assert guard.held(PEER).keys() == {PREFIXES[1]}
    guard.standing([], (), 4.0)
    assert not guard.held(PEER)


def test_a_restart_lets_nothing_go_that_was_held() -> None:
    """Not even as much as the limit would let go, had it come now."""
    before, after = Guard(), Guard()
    limit, all_of = {PEER: Limits(withdrawals=2, window=60.0)}, [(PEER, prefix) for prefix in PREFIXES[:3]]
    before.set_limits(limit, 0.0)
    before.standing(all_of, (), 0.0)
    assert [len(before.judge([(*key, None)], 1.0)) for key in all_of] == [1, 1, 0]
    after.remember(before.all_held())
    assert after.all_held() == all_of[2:]  # whoever is killed again before he knows more
    after.standing(all_of[2:], (), 100.0)
    after.set_limits(limit, 100.0)
    assert after.judge([(*all_of[2], None)], 100.0) == [] and after.all_held() == all_of[2:]
    assert after.set_free(lambda _: True, 101.0) == [(*all_of[2], None)]


def test_what_a_person_wants_gone_is_not_held_before_or_after_he_said_so() -> None:
    silent: set[str] = set()
    guard = Guard(silent.__contains__)
    guard.set_limits({PEER: Limits(withdrawals=1, window=60.0)}, 0.0)
    guard.standing([(PEER, prefix) for prefix in PREFIXES[:4]], (), 0.0)
    silent.add(PREFIXES[0])
    assert guard.judge([(PEER, prefix, None) for prefix in PREFIXES[:3]], 1.0) == [(PEER, PREFIXES[0], None)]
    silent.add(PREFIXES[1])
    assert guard.set_free(lambda _: False, 2.0) == [(PEER, PREFIXES[1], None)]
    assert guard.held(PEER).keys() == {PREFIXES[2]}
