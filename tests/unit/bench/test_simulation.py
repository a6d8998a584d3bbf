"""What speakers write into a large cluster stays within its bounds (contracts.md), by simulation."""

import asyncio
from collections import Counter
from io import StringIO
from itertools import pairwise

import pytest
from rich.console import Console

from bench.aims import Line, show
from bench.statuses import Life, life
from bench.virtual import run
from metalbgp.model.report import QUIET, REPORTED_EVERY
from metalbgp.speaker.status import INTENTS, PACE


@pytest.fixture(scope="module")
def large() -> Life:
    """Of a node with more Services than it may have status objects."""
    found: Life = run(life(20 * INTENTS))
    return found


def test_a_node_with_nothing_new_only_says_now_and_then_that_what_it_said_is_true(large: Life) -> None:
    assert {kind for _, kind, _ in large.steady} == {"nodestates"}
    assert len(large.steady) <= 3600 / REPORTED_EVERY
    times = [when for when, _, _ in large.steady]
    assert all(REPORTED_EVERY <= later - earlier <= QUIET / 2 for earlier, later in pairwise(times))


def test_a_restart_beyond_the_limit_tells_no_service_as_news(large: Life) -> None:
    kinds = Counter(kind for _, kind, _ in large.restart)
    assert set(kinds) == {"configurationstates", "nodestates"}


def test_one_service_more_is_its_event_and_the_nodes_state(large: Life) -> None:
    assert Counter(kind for _, kind, _ in large.service) == {"events": 1, "nodestates": 1}


def test_a_node_state_is_written_at_most_once_a_pace_and_is_small(large: Life) -> None:
    times = [when for when, kind, _ in large.advertisement if kind == "nodestates"]
    assert len(times) > 1  # it takes longer than a pace until all routes are confirmed
    assert all(later - earlier >= PACE for earlier, later in pairwise(times))
    assert max(size for _, _, size in large.advertisement) < 64 * 1024


def test_an_hour_passes_at_once() -> None:
    async def hour() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run(hour()) == 3600


@pytest.mark.parametrize(("value", "good", "words"), [(5.0, True, "0.50"), (20.0, False, "2.00")])
def test_an_aim_stands_beside_what_was_seen(value: float, good: bool, words: str) -> None:
    console = Console(file=StringIO(), width=120)
    assert show(console, "figures", [Line("told only", 1e9), Line("judged", value, "ms", 10)]) is good
    assert isinstance(console.file, StringIO)
    assert words in console.file.getvalue()
