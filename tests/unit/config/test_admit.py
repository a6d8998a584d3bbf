"""What admission refuses, what it warns of, and what it leaves alone. compile() itself judges the values."""

from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.config.admit import Answer, Attempt, Scene, admit
from metalbgp.config.objects import AnyObject
from tests.unit.config.made import NOTHING, alias, bfd, bgp, compiled, l2, made, peer, policy, pool

OURS = "metallb-system"


def scene(*found: AnyObject, **more: Any) -> Scene:
    return Scene(namespace=OURS, objects=found, in_force=compiled(*found).configuration, **more)


def tried(
    new: AnyObject | None, *standing: AnyObject, old: AnyObject | None = None, place: str = OURS, **more: Any
) -> Answer:
    """`new` None: `old` is deleted."""
    one = new or old
    assert one is not None
    attempt = Attempt(kind=type(one).__name__, name=one.name, namespace=place, new=new, old=old)
    return admit(attempt, scene(*standing, **more))


def words(answer: Answer) -> list[str]:
    return [one.explain() for one in answer.refused]


A, B = pool("a", "198.51.100.0/28", age=9), pool("b", "198.51.100.16/28", age=8)


def test_what_reading_would_call_wrong_is_refused_with_the_same_words() -> None:
    for one in (
        pool("c", "198.51.100.300"),
        pool("c", "198.51.100.8-198.51.100.40"),  # into both of those that stand there
        peer("p", holdTime="1s"),
        peer("p", routerID="::1"),
        peer("p", password="a", passwordSecret={"name": "s"}),  # noqa: S106  # no secret
        bgp("x", communities=["1:2:3:4"]),
        bgp("x", aggregationLength=24, aggregationLengthV6=200),
        l2("x", ipAddressPools=["a", "a"]),
        alias("x", wrong="70000:1"),
        bfd("x", receiveInterval=1),
        policy("x", "a", sticky={"for": "1 day"}),
        made("AddressReservation", "x", addresses=["198.51.100.1"]),
    ):
        answer = tried(one, A, B)
        assert answer.refused, one
        assert tuple(answer.refused) == compiled(A, B, one).invalid


def test_what_is_right_passes_in_silence() -> None:
    for one in (
        pool("c", "198.51.100.32/28"),
        peer("p"),
        bgp("x"),
        l2("x"),
        alias("x", good="64512:1"),
        bfd("x"),
    ):
        assert (tried(one, A, B, peer("q", peerAddress="10.0.0.2")).refused, one.name) == ((), one.name)
    assert tried(pool("c", "198.51.100.32/28"), A).warnings == ()


def test_what_is_named_and_is_not_there_yet_is_a_warning_so_that_files_may_have_any_order() -> None:
    for one, named in (
        (peer("p", bfdProfile="fast"), 'BFDProfile "fast" does not exist'),
        (bgp("x", communities=["blue"]), 'no Community defines "blue"'),
        (bgp("x", ipAddressPools=["later"]), 'IPAddressPool "later" does not exist'),
        (bgp("x", peers=["later"]), 'BGPPeer "later" does not exist'),
        (policy("x", "later"), 'IPAddressPool "later" does not exist'),
    ):
        answer = tried(one)
        assert answer.refused == ()
        assert any(named in said for said in answer.warnings), answer.warnings


def test_a_mistake_beside_a_name_that_may_come_is_still_refused() -> None:
    answer = tried(peer("p", bfdProfile="fast", holdTime="1s"))
    assert len(answer.refused) == 1 and "spec.holdTime" in words(answer)[0]


def test_deleting_what_another_names_is_refused_with_who_names_it() -> None:
    fast, p = bfd("fast"), peer("p", bfdProfile="fast")
    assert "this would break BGPPeer p: spec.bfdProfile" in words(tried(None, fast, p, old=fast))[0]
    blue, x = alias("names", blue="64512:1"), bgp("x", communities=["blue"])
    (said,) = words(tried(None, blue, x, old=blue))
    assert "this would break BGPAdvertisement x" in said
    assert tried(None, blue, old=blue).refused == ()
    # Renaming the alias breaks it just the same.
    assert "BGPAdvertisement x" in words(tried(alias("names", green="64512:1"), blue, x, old=blue))[0]


def test_deleting_what_others_merely_select_is_a_warning() -> None:
    answer = tried(None, A, bgp("x", ipAddressPools=["a"]), old=A)
    assert answer.refused == ()
    assert any("BGPAdvertisement x" in said and '"a" does not exist' in said for said in answer.warnings)


def test_an_edit_of_a_pool_that_breaks_an_aggregation_is_refused() -> None:
    x = bgp("x", ipAddressPools=["a"], aggregationLength=28)
    wider = pool("a", "198.51.100.0/24", age=9, generation=2)
    assert tried(wider, A, x, old=A).refused == ()
    narrow = bgp("x", ipAddressPools=["a"], aggregationLength=26)
    assert tried(narrow, A, x, old=x).refused  # /26 would cover more than the pool's /28
    fine = pool("a", "198.51.100.0/24", age=9)
    broad = bgp("x", ipAddressPools=["a"], aggregationLength=24)
    smaller = pool("a", "198.51.100.0/28", age=9, generation=2)
    (said,) = words(tried(smaller, fine, broad, old=fine))
    assert "this would break BGPAdvertisement x: spec.aggregationLength" in said


def test_what_was_wrong_before_is_not_this_edits_fault() -> None:
    broken = pool("broken", "nonsense", age=9)
    assert tried(pool("c", "198.51.100.32/28"), broken).refused == ()
    # And the wrong object itself may be labelled, or lose a finalizer: its spec is the same.
    labelled = replace(broken, metadata=replace(broken.metadata, labels={"a": "b"}))
    answer = tried(labelled, broken, old=broken)
    assert answer.refused == ()
    assert any("spec.addresses" in said for said in answer.warnings)


def test_an_unreadable_spec_is_refused_and_leaves_the_last_good_one() -> None:
    odd = made("IPAddressPool", "a", age=9, addresses=7)
    assert odd.unreadable
    assert "spec" in words(tried(odd, A, old=A))[0]


def test_a_wrong_namespace_is_refused_on_create_alone_and_never_in_anothers_installation() -> None:
    (said,) = words(tried(pool("c", "198.51.100.32/28"), place="default"))
    assert "nobody reads it in default" in said
    assert tried(pool("c", "nonsense"), old=A, place="default").refused == ()
    assert tried(None, old=A, place="default").refused == ()
    assert tried(pool("c", "nonsense"), place="edge", others=frozenset({"edge"})).refused == ()


def test_two_that_want_one_thing_the_newcomer_is_refused_whoever_he_is() -> None:
    young = pool("0-first-by-name", "198.51.100.0/29", age=0)
    assert "overlaps" in words(tried(young, A))[0]
    grown = pool("b", "198.51.100.0/24", age=10, generation=2)  # older, but it is b that changes
    assert "overlaps" in words(tried(grown, A, B, old=B))[0]


@pytest.mark.parametrize("known", [frozenset(), frozenset({"tor"}), None])
def test_a_password_whose_secret_is_not_there_is_said(known: frozenset[str] | None) -> None:
    answer = tried(peer("p", passwordSecret={"name": "tor"}), secrets=known)
    assert answer.refused == ()
    assert any("no Secret tor" in said for said in answer.warnings) is (known == frozenset())


def test_nothing_is_refused_for_what_is_in_force_no_longer() -> None:
    """The last good version of a deleted object is in force for a moment, and blocks nobody."""
    late = Scene(namespace=OURS, objects=(), in_force=compiled(A).configuration)
    attempt = Attempt(kind="IPAddressPool", name="z", namespace=OURS, new=pool("z", "198.51.100.0/24"))
    assert admit(attempt, late).refused == ()
    assert NOTHING.pools == ()
