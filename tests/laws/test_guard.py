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


def test_what_was_held_is_held_after_the_parent_said_where_it_stands_and_not_when_it_is_gone() -> None:
    guard = Guard()
    guard.set_limits({PEER: Limits(withdrawals=1, window=60.0)}, 0.0)
    wants: list[Want] = [(PEER, prefix, None) for prefix in PREFIXES[:2]]
    guard.standing([(PEER, PREFIXES[0]), (PEER, PREFIXES[1])])
    assert guard.judge(wants, 1.0) == []
    guard.standing([(PEER, PREFIXES[0]), (PEER, PREFIXES[1])])
    assert guard.judge(wants, 2.0) == [] and guard.held(PEER)[PREFIXES[0]] == 1.0
    guard.standing([])
    assert not guard.held(PEER)
