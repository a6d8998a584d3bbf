"""Counting a pool: exact for every size and family."""

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.controller.pools import buggy
from metalbgp.model.addresses import Range, from_int


@given(st.integers(0, 2000), st.integers(0, 1200))
def test_avoided_addresses_are_counted_as_if_one_looked_at_each(first: int, length: int) -> None:
    piece = Range(version=4, first=first, last=first + length)
    slow = sum(
        from_int(4, number).rsplit(".")[-1] in ("0", "255") for number in range(piece.first, piece.last + 1)
    )
    assert buggy(piece) == slow


def test_no_ipv6_address_is_avoided() -> None:
    assert buggy(Range(version=6, first=0, last=2**64)) == 0
