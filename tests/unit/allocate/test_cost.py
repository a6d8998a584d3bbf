"""The work of one allocation grows neither with the pool, nor its fill, nor those who share a key.

Counted in calls of Python functions, which no busy machine changes; the time is in docs/figures.md.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from metalbgp.allocate.allocate import allocate
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.model.addresses import Range, from_int, parse
from metalbgp.model.configuration import Configuration, Pool, PoolPolicy, Quota
from metalbgp.model.services import Service
from metalbgp.model.virtualips import VirtualIP
from tests.values import service

FIRST = int(parse("10.0.0.0"))


def calls(work: Callable[[], Any]) -> int:
    count = 0

    def tick(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def cost(size: int, held: int, *, key: str = "", cooling: bool = False, full: bool = False) -> int:
    policy = PoolPolicy(name="p", pools=("p",), quotas=(Quota(limit=1_000_000),))
    home = Pool("p", (Range(4, FIRST, FIRST + (held if full else size) - 1),))
    configuration = Configuration("test", pools=(home,), policies=(policy,))
    taken = Taken()

    def named(number: int) -> Service:
        return service(f"web/{number}", sharing_key=key)

    for number in range(held):
        address = from_int(4, FIRST + number)
        if cooling:
            kept = (f"gone/{number}",)
            taken.learn(address, VirtualIP(address=address, pool="p", phase="cooling", kept_for=kept))
        else:
            taken.hold(address, use_of(named(number)))
    request = request_of(named(held))
    allocate(request, configuration, taken, {})  # fills the caches
    return calls(lambda: allocate(request, configuration, taken, {}))


@pytest.mark.parametrize("fields", [{}, {"key": "k"}, {"cooling": True}, {"full": True}], ids=str)
def test_a_large_full_pool_costs_what_a_small_one_does(fields: dict[str, Any]) -> None:
    small, large = cost(64, 63, **fields), cost(4096, 4055, **fields)
    assert large <= small + 5


def test_an_empty_pool_of_any_size_costs_the_same() -> None:
    assert cost(2**24, 0) == cost(16, 0)
