"""Whatever happens to which node in which order: one owner, and never two that a client could hear."""

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.laws.l2_world import VIP, World

LONG = bool(os.environ.get("METALBGP_LONG"))
NODES = ("n1", "n2", "n3", "n4")
HEARTBEAT, INSTANT = 0.05, 0.002
LIMIT = 0.25 + 0.13  # silence, and the questions of one that is alone
ENDS = {"kill": "start", "pause": "resume", "cut": "mend", "leave": "start"}

steps = st.lists(
    st.tuples(
        st.sampled_from(NODES),
        st.sampled_from(sorted(ENDS)),
        st.sampled_from([0.02, 0.1, 0.19, 0.24, 0.3, 0.5, 2.0]),  # seconds until the next
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=400 if LONG else 25)
@given(steps, st.booleans(), st.integers(0, 3))
def test_after_any_faults_one_node_answers_and_never_two_for_longer_than_a_heartbeat(
    schedule: list[tuple[str, str, float]], revertive: bool, seed: int
) -> None:
    it = World(*NODES, seed=seed)
    it.start(revertive=revertive)
    broken: dict[str, str] = {}
    for node, fault, pause in schedule:
        since = it.now
        if node in broken:
            end = ENDS[broken.pop(node)]
            it.hosts[node].start() if end == "start" else getattr(it, end)(node)
        elif len(broken) < len(NODES) - 2:  # two live: of one alone is test_l2_faults.py
            getattr(it, fault)(node)
            broken[node] = fault
        it.run(pause)
        whole = set(NODES) - broken.keys()
        assert it.several(since, among=whole) <= HEARTBEAT + INSTANT
    since = it.now
    it.run(4.0)
    living = [node for node in NODES if node not in broken]
    assert it.nobody(since) <= LIMIT + 1.0  # one that has just begun listens first
    owners = it.owners()
    assert len(owners) == 1 and owners <= set(living)
    if revertive:
        assert owners == {living[0]}
    assert it.several(it.now - 1.0, VIP) == 0


@settings(max_examples=200 if LONG else 12)
@given(
    st.lists(st.sampled_from(NODES), min_size=1, max_size=2, unique=True),
    st.floats(0.0, 0.2),
    st.integers(0, 9),
)
def test_with_any_loss_a_client_can_bear_a_dead_owner_is_replaced_and_a_living_one_is_not(
    dead: list[str], loss: float, seed: int
) -> None:
    it = World(*NODES, seed=seed)
    it.start()
    it.loses = lambda sender, receiver, segment, frame: it.random.random() < loss
    since = it.now
    it.run(20.0)
    assert it.moves(since)[0] == "n1"
    assert it.several(since) + it.nobody(since) <= 0.3
    for node in dead:
        it.kill(node)
        it.run(1.0)
    it.run(3.0)
    owners = it.owners()
    assert len(owners) == 1 and not owners & set(dead)
