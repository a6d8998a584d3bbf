"""Ten thousand addresses on one node: the work grows with their number and not faster, in short steps."""

import pytest

from bench.answers import Course, course


@pytest.mark.parametrize("family", [4, 6])
def test_ten_thousand_cost_ten_times_a_thousand(family: int) -> None:
    """On CPU time, the best of three, twice the ratio allowed: the machine has other things to do."""
    few, many = (min((course(count, family) for _ in range(3)), key=Course.total) for count in (1000, 10_000))
    assert many.take < 20 * few.take
    assert many.give < 20 * few.give
    assert many.frames == 10 * few.frames


def test_no_address_costs_more_than_600_bytes() -> None:
    from bench.answers import memory

    assert memory(10_000, 4) < 600
    assert memory(10_000, 6) < 600


def test_above_the_limit_a_new_address_changes_no_filter() -> None:
    assert course(10_000, 4).listens <= 2 * 3  # 500, 1,000, every question; on two interfaces
