"""config/compile: the order of objects decides nothing, and nothing in force is lost to another's change.

Random worlds of pools, peers and advertisements over a few addresses, so that conflicts are common; each
world is edited several times, with objects that become invalid and others that begin to clash.
"""

import os
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.config import compiled as stored
from metalbgp.config.compile import Compiled
from metalbgp.config.objects import AnyObject
from metalbgp.model.configuration import Configuration
from tests.unit.config.made import NOTHING, alias, bgp, compiled, l2, peer, policy, pool, reservation

LONG = bool(os.environ.get("METALBGP_LONG"))
NAMES = st.sampled_from(["a", "b", "c", "d"])
AGES = {"a": 2, "b": 1, "c": 3, "d": 2}

ENTRY = st.one_of(
    st.builds("10.0.{}.0/{}".format, st.integers(0, 3), st.sampled_from([23, 24, 25])),
    st.builds("10.0.{}.0-10.0.{}.9".format, st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from(["2001:db8::/120", "nonsense"]),
)
SELECTORS = st.sampled_from([[], [{"matchLabels": {"rack": "a"}}], [{"matchLabels": {"rack": "b"}}]])


def one_pool(name: str, entries: list[str], auto: bool) -> AnyObject:
    found: AnyObject = pool(name, *entries, age=AGES[name], autoAssign=auto)
    return found


def one_peer(name: str, last: int, selectors: list[Any], asn: int) -> AnyObject:
    fields = {"peerAddress": f"10.9.9.{last}", "nodeSelectors": selectors, "peerASN": asn}
    found: AnyObject = peer(name, age=AGES[name], **fields)
    return found


def one_bgp(name: str, preference: int, length: int, community: str) -> AnyObject:
    fields = {"localPref": preference, "aggregationLength": length, "communities": [community]}
    found: AnyObject = bgp(name, age=AGES[name], **fields)
    return found


POOLS = st.builds(one_pool, NAMES, st.lists(ENTRY, min_size=1, max_size=2), st.booleans())
PEERS = st.builds(one_peer, NAMES, st.integers(1, 2), SELECTORS, st.sampled_from([0, 64512]))
ADVERTISEMENTS = st.builds(
    one_bgp,
    NAMES,
    st.sampled_from([0, 100]),
    st.sampled_from([24, 32]),
    st.sampled_from(["1:1", "X", "bad:"]),
)
ALIASES = st.builds(lambda name, value: alias(name, X=value), NAMES, st.sampled_from(["1:1", "2:2", "bad"]))
LAYER2 = st.builds(
    lambda name, interfaces: l2(name, age=AGES[name], interfaces=interfaces),
    NAMES,
    st.sampled_from([[], ["e"], ["e", "e"]]),
)
POLICIES = st.builds(
    lambda name, pools, delay: policy(name, *pools, age=AGES[name], reuseDelay=delay),
    NAMES,
    st.lists(NAMES, min_size=1, max_size=2),
    st.sampled_from(["0s", "1s", "bad"]),
)
RESERVATIONS = st.builds(
    lambda name, hosts: reservation(name, *(f"10.0.0.{host}" for host in hosts), age=AGES[name]),
    NAMES,
    st.lists(st.sampled_from([1, 2, 3, 300]), min_size=1, max_size=2),
)
OBJECT = st.one_of(POOLS, PEERS, ADVERTISEMENTS, ALIASES, LAYER2, POLICIES, RESERVATIONS)


def distinct(found: list[AnyObject]) -> list[AnyObject]:
    return list({(type(one), one.name): one for one in found}.values())


WORLD = st.lists(OBJECT, max_size=18).map(distinct)
HISTORY = st.lists(WORLD, min_size=1, max_size=4)


def play(history: list[list[AnyObject]]) -> tuple[Configuration, Compiled]:
    """The last step: what was in force before it, and what it made."""
    before, result = NOTHING, compiled()
    for world in history:
        before = result.configuration
        result = compiled(*world, previous=before)
    return before, result


def stands(configuration: Configuration) -> None:
    """No two parts in force contradict each other."""
    blocks = [(one.name, block) for one in configuration.pools for block in one.ranges]
    for at, (_, block) in enumerate(blocks):
        assert not any(block.overlaps(other) for _, other in blocks[:at])
    obeying = [pool for one in configuration.policies for pool in one.pools]
    promised = [address for one in configuration.reservations for address in one.addresses]
    for given_once in (obeying, promised):
        assert len(given_once) == len(set(given_once))
    for one in configuration.peers:
        for other in configuration.peers:
            if one.name < other.name and one.address == other.address:
                assert one.node_selectors and other.node_selectors
                assert one.node_selectors != other.node_selectors


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(HISTORY, st.randoms(use_true_random=False))
def test_compiling_does_not_depend_on_the_order_of_objects(
    history: list[list[AnyObject]], random: Any
) -> None:
    before, result = play(history)
    shuffled = list(history[-1])
    random.shuffle(shuffled)
    assert compiled(*shuffled, previous=before) == result


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(HISTORY)
def test_what_is_in_force_never_contradicts_itself(history: list[list[AnyObject]]) -> None:
    _, result = play(history)
    stands(result.configuration)


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(HISTORY)
def test_what_is_in_force_goes_only_when_its_object_goes(history: list[list[AnyObject]]) -> None:
    before, result = play(history)
    now = result.configuration
    there = {one.metadata.uid for one in history[-1]}
    pairs: list[tuple[Any, Any]] = [
        (before.pools, now.pools),
        (before.peers, now.peers),
        (before.policies, now.policies),
        (before.reservations, now.reservations),
    ]
    for old, new in pairs:
        uids = {one.source.uid for one in new}
        assert {one.source.uid for one in old} & there <= uids


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(HISTORY)
def test_every_object_is_in_force_as_it_is_or_invalid_with_what_it_was(
    history: list[list[AnyObject]],
) -> None:
    before, result = play(history)
    invalid = {(one.kind, one.object) for one in result.invalid}
    old = {one.name: one for one in before.pools}
    new = {one.name: one for one in result.configuration.pools}
    for raw in history[-1]:
        kind = type(raw).__name__
        if kind == "IPAddressPool":
            expected = compiled(raw).configuration.pools
            if (kind, raw.name) in invalid:
                assert new.get(raw.name) == old.get(raw.name)
            else:
                assert (new[raw.name],) == expected


@settings(max_examples=300 if LONG else 50, deadline=None)
@given(HISTORY)
def test_compiling_twice_changes_nothing(history: list[list[AnyObject]]) -> None:
    _, result = play(history)
    again = compiled(*history[-1], previous=result.configuration)
    assert again.configuration == result.configuration
    assert {(one.kind, one.object) for one in again.invalid} == {
        (one.kind, one.object) for one in result.invalid
    }


@settings(max_examples=300 if LONG else 50, deadline=None)
@given(HISTORY)
def test_a_restart_of_the_controller_loses_no_last_good_version(history: list[list[AnyObject]]) -> None:
    before, result = play(history)
    body = msgspec.json.encode(stored.encode(before, "metallb-system"))
    assert compiled(*history[-1], previous=stored.decode(body)) == result
