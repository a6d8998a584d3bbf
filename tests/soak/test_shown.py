"""The soak's own judge of addresses given twice."""

from tests.soak.shown import Shown

ADDRESS = "192.0.2.1"


def test_two_that_never_had_a_key_in_common_are_told() -> None:
    shown = Shown()
    assert not shown.heard("web-1", "blue", [ADDRESS])
    assert shown.heard("web-2", "red", [ADDRESS]) == [f"{ADDRESS} is given to web-2, and web-1 has it"]
    assert not shown.heard("web-3", "", ["192.0.2.2"])
    assert shown.heard("web-4", "", ["192.0.2.2"])


def test_a_key_taken_away_while_another_joins_accuses_nobody() -> None:
    """Seed 11, step 840: a Service without a key got the address, then a key, then none, all at once."""
    shown = Shown()
    for key in ("", "blue", ""):
        assert not shown.heard("web-9", key, [ADDRESS])
    assert not shown.heard("web-10", "blue", [ADDRESS])


def test_what_is_left_or_removed_may_be_given_again() -> None:
    shown = Shown()
    shown.heard("web-1", "blue", [ADDRESS])
    assert not shown.heard("web-1", "", [])
    assert not shown.heard("web-2", "", [ADDRESS])
    shown.only(["web-1"])
    assert not shown.heard("web-3", "red", [ADDRESS])
