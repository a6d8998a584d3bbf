"""Whatever happens in whatever order and pace: patience shifts beginnings and moves, and nothing else.

It never announces what has no endpoint here, never says yes where select() could not, and once time has gone
by without news it stands where select() stands.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.select.select import NodeView, select
from metalbgp.speaker.patience import OVERLAP, Patience
from tests.values import bgp, configuration, holder, node, peer, vip

ADDRESS = "10.252.252.100"
HERE = node("n1")
ENDPOINTS = st.sampled_from(["", "ready", "terminating"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0]),  # seconds since the last one
        st.fixed_dictionaries({"n1": ENDPOINTS, "n2": ENDPOINTS}),
        st.sampled_from([0, 2000]),  # the delay, in milliseconds
        st.booleans(),  # n2 may announce
    ),
    max_size=10,
)


@given(steps=STEPS, started=st.booleans())
def test_patience_shifts_beginnings_and_moves_and_nothing_else(
    steps: list[tuple[float, dict[str, str], int, bool]], started: bool
) -> None:
    patience, now, delay = Patience(), 0.0, 0
    patience.started = started
    announces = False
    for pause, said, delay, able in steps:
        now += pause
        made = configuration(peer("tor"), bgp(announce_delay=delay))
        view, one = NodeView(made, HERE), _vip(said, able)
        before, announces = announces, bool(patience.judge(one, view, now).routes)
        could = bool(select(one, made, HERE).routes)
        assert not (announces and not said["n1"]), "nothing here answers"
        assert not (before and could and not announces), "what stands and may stand, stays"
        assert not (announces and not could and not before), "nobody begins what he should not"
        assert announces == could or patience.deadline is not None, "somebody looks again"
        patience.started = True
        longest = now + OVERLAP + delay / 1000
        if patience.deadline is not None:
            assert now < patience.deadline <= longest
    if steps:
        later = bool(patience.judge(one, view, now + OVERLAP + delay / 1000).routes)
        assert later == could
        assert patience.deadline is None


def _vip(said: dict[str, str], able: bool) -> Any:
    by_rank = {
        rank: {name: 1 for name, one in said.items() if one == rank} for rank in ("ready", "terminating")
    }
    one = holder(
        bgp=("external",),
        policy="Local",
        serving=any(said.values()),
        nodes=by_rank["ready"],
        terminating=by_rank["terminating"],
        last_resort=not by_rank["ready"] or (not able and "n1" not in by_rank["ready"]),
    )
    return vip(ADDRESS, {"web/nginx": one})
