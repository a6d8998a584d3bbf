"""GoBGP as a second router: what FRR shows in its neighbours test_bgp_*.py is so for another implementation.

Needs root and network namespaces; GoBGP is built from its Go module. All routers run at once, for the whole
file: each test has routes of its own, and every one may run alone. Restarts are test_bgp_gobgp_restart.py.
"""

import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from metalbgp.model import extended
from tests.wire.bgp_lab import Agent, Attributes, Key, Lab, laboratory
from tests.wire.doing import wait_for
from tests.wire.gobgp_lab import GoBGP

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

WIDE, FAR = 4200000001, 4200000003  # numbers of 32 bits, ours and a router's
PREFIX = {4: "192.0.2.1/32", 6: "2001:db8::1/128"}
LIMIT = 30.0


@dataclass
class Field:
    agent: Agent
    plain: GoBGP  # eBGP
    internal: GoBGP  # iBGP; its first session carries both families
    wide: GoBGP  # AS numbers of 32 bits
    secret: GoBGP  # a password
    quick: GoBGP  # a hold time below ours; on IPv6 we say a password, and it has none
    stranger: GoBGP  # expects another AS of us
    mistaken: GoBGP  # we expect another AS of it
    same: GoBGP  # iBGP, with our router ID
    outside: GoBGP  # eBGP, with our router ID, which is allowed (RFC 6286); RFC 8950 on IPv6
    strict: GoBGP  # wants GTSM, which we do on IPv4 alone
    small: GoBGP  # takes three routes and no more

    def want(self, wants: dict[Key, Attributes]) -> None:
        self.agent.want(wants)
        self.agent.settled(wants, LIMIT)


def _routers(lab: Lab) -> list[GoBGP]:
    made = [GoBGP(lab, number) for number in range(1, 12)]
    internal, wide, secret, quick, stranger, _, same, outside, strict, small = made[1:]
    internal.asn = same.asn = 65001
    wide.asn = FAR
    ours = "10.90.0.2"
    more: dict[int, dict[str, Any]] = {
        wide.number: {"remote_as": WIDE},
        secret.number: {"password": "s3cret"},
        quick.number: {"timers": {"hold-time": 6, "keepalive-interval": 2}},
        stranger.number: {"remote_as": 64999},
        same.number: {"router_id": ours},
        outside.number: {"router_id": ours},
        strict.number: {"ttl_security": {"enabled": True, "ttl-min": 255}},
        small.number: {"max_prefixes": 3},
    }
    for router in made:
        router.start(**more.get(router.number, {}))
    return made


def password(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    with laboratory() as lab:
        made = _routers(lab)
        plain, internal, wide, secret, quick, stranger, mistaken, same, outside, strict, small = made
        lab.speaker.start()
        agent = lab.speaker.agent()
        word = password("s3cret")
        agent.neighbors(
            *(plain.neighbor(family) for family in (4, 6)),
            internal.neighbor(families=["ipv4", "ipv6"]),
            internal.neighbor(6),
            *(wide.neighbor(family, local_as=WIDE) for family in (4, 6)),
            *(secret.neighbor(family, password_base64=word) for family in (4, 6)),
            quick.neighbor(),
            quick.neighbor(6, password_base64=word),
            stranger.neighbor(),
            mistaken.neighbor(peer_as=64777),
            same.neighbor(),
            outside.neighbor(),
            outside.neighbor(6, families=["ipv4", "ipv6"], extended_next_hop=True),
            strict.neighbor(ttl_security=True),
            strict.neighbor(6),
            small.neighbor(),
        )
        yield Field(agent, *made)


def test_sessions_of_every_kind_come_up(field: Field) -> None:
    both = field.plain, field.internal, field.wide, field.secret
    four, six = (*both, field.quick, field.outside, field.strict), both
    field.agent.established(*(r.v4 for r in four), *(r.v6 for r in six), limit=LIMIT)
    for family, routers in ((4, four), (6, six)):
        for router in routers:
            wait_for(lambda r=router, f=family: r.up(f), f"r{router.number}, IPv{family}", LIMIT)
            state = router.session(family)["state"]
            assert state["peer_asn"] == (WIDE if router is field.wide else 65001)
            assert state["router_id"] == "10.90.0.2"
    kinds = [router.session()["state"].get("type", 0) for router in both]
    assert kinds == [1, 0, 1, 1]  # 0: internal


def test_the_shorter_hold_time_is_in_force_and_keepalives_keep_it(field: Field) -> None:
    field.agent.established(field.plain.v4, field.quick.v4, limit=LIMIT)
    quick = field.quick.session()
    assert field.plain.session()["timers"]["state"]["negotiated_hold_time"] == 9  # ours; GoBGP says 90
    assert quick["timers"]["state"]["negotiated_hold_time"] == 6  # GoBGP's; we say 9
    # More keepalives than one hold time has, in one session.
    wait_for(lambda: field.quick.heard().get("keepalive", 0) >= 5, "five keepalives", LIMIT)
    assert field.quick.heard()["open"] == 1


@pytest.mark.parametrize("family", [4, 6])
def test_attributes_reach_it_and_a_change_of_any_is_no_withdrawal(field: Field, family: int) -> None:
    router = field.plain
    peer, hop = (router.v4, router.ours4) if family == 4 else (router.v6, router.ours6)
    key = peer, PREFIX[family]
    field.agent.established(peer, limit=LIMIT)
    marks = [extended.extended("target", 64512, 30), extended.extended("origin", 4200000000, 7)]
    everything: dict[str, Any] = {
        "med": 50,
        "as_path": [65001, 65001],
        "local_preference": 333,
        "communities": [[65535, 65281], [65001, 100]],
        "large_communities": [[65001, 1, 2]],
        "extended_communities": sorted([*marks, extended.bandwidth(65001, 200)]),
    }

    def shows(**expected: Any) -> None:
        def same() -> bool:
            return router.path(key[1]) == {"stale": False, "next_hop": hop, **expected}

        wait_for(same, f"a path with {expected} alone", LIMIT)

    field.want({key: everything})
    shows(
        med=50,
        as_path=[65001, 65001, 65001],
        communities=[65001 << 16 | 100, 65535 << 16 | 65281],
        large=[{"ASN": 65001, "LocalData1": 1, "LocalData2": 2}],
        extended=[
            {"type": 0, "subtype": 2, "value": "64512:30"},
            {"type": 2, "subtype": 3, "value": "64086.59904:7"},  # 4200000000 as GoBGP writes it
            {"type": 64, "subtype": 4, "asn": 65001, "bandwidth": 25000000},
        ],
    )  # and no local preference, which is for iBGP alone
    withdrawn = router.heard(family).get("withdraw_prefix", 0)
    field.want({key: {"med": 7, "extended_communities": [extended.bandwidth(65001, 400)]}})
    weight = {"type": 64, "subtype": 4, "asn": 65001, "bandwidth": 50000000}
    shows(med=7, as_path=[65001], extended=[weight])
    field.want({key: {}})
    shows(as_path=[65001])
    assert router.heard(family).get("withdraw_prefix", 0) == withdrawn
    field.want({key: None})
    wait_for(lambda: router.path(key[1]) == {}, "the end of the path", LIMIT)
    assert router.heard(family)["withdraw_prefix"] == withdrawn + 1  # so they are counted


@pytest.mark.parametrize("family", [4, 6])
def test_an_internal_router_gets_the_local_preference_and_an_empty_path(field: Field, family: int) -> None:
    router = field.internal
    peer, hop = (router.v4, router.ours4) if family == 4 else (router.v6, router.ours6)
    field.agent.established(peer, limit=LIMIT)
    for wanted, seen in ((150, 150), (0, 0), (None, 100)):
        field.want({(peer, PREFIX[family]): {"local_preference": wanted, "next_hop": hop}})
        shown = {"stale": False, "as_path": [], "next_hop": hop}
        # GoBGP's JSON leaves out a value of 0.
        expected = shown | {"local_preference": seen}
        wait_for(
            lambda e=expected: {"local_preference": 0} | router.path(PREFIX[family]) == e,
            f"local preference {seen}",
            LIMIT,
        )


def test_one_session_carries_both_families_with_a_next_hop_of_each(field: Field) -> None:
    router = field.internal
    field.agent.established(router.v4, limit=LIMIT)
    wants: dict[Key, Attributes] = {
        (router.v4, "192.0.2.2/32"): {},
        (router.v4, "2001:db8::2/128"): {"next_hop": router.ours6},
    }
    field.want(wants)
    wait_for(lambda: router.path("192.0.2.2/32").get("next_hop") == router.ours4, "IPv4", LIMIT)
    wait_for(lambda: router.path("2001:db8::2/128").get("next_hop") == router.ours6, "IPv6", LIMIT)
    assert router.paths(6)["2001:db8::2/128"][0]["neighbor-ip"] == router.ours4


def test_an_ipv4_route_has_our_ipv6_address_as_next_hop_where_both_ends_offer_that(field: Field) -> None:
    router = field.outside
    field.agent.established(router.v6, limit=LIMIT)
    wants: dict[Key, Attributes] = {(router.v6, p): {} for p in ("192.0.2.3/32", "2001:db8::3/128")}
    field.want(wants)
    for _, prefix in wants:
        wait_for(lambda p=prefix: router.path(p).get("next_hop") == router.ours6, prefix, LIMIT)
    assert router.paths()["192.0.2.3/32"][0]["neighbor-ip"] == router.ours6


def test_numbers_of_32_bits_stand_in_the_path_and_as_23456_where_16_bits_are(field: Field) -> None:
    router = field.wide
    field.agent.established(router.v4, limit=LIMIT)
    key = router.v4, PREFIX[4]
    field.want({key: {"as_path": [WIDE, WIDE], "extended_communities": [extended.bandwidth(WIDE, 200)]}})
    wait_for(lambda: router.path(PREFIX[4]).get("as_path") == [WIDE, WIDE, WIDE], "the path", LIMIT)
    weight = {"type": 64, "subtype": 4, "asn": 23456, "bandwidth": 25000000}
    assert router.path(PREFIX[4])["extended"] == [weight]


def test_a_thousand_routes_are_there_exactly(field: Field) -> None:
    """On the router with the shortest hold time: sending them must not keep keepalives waiting."""
    router = field.quick
    field.agent.established(router.v4, limit=LIMIT)
    wants: dict[Key, Attributes] = {
        (router.v4, f"198.18.{n // 256}.{n % 256}/32"): {"med": n} for n in range(1000)
    }
    field.want(wants)

    def held() -> dict[str, int]:
        return {prefix: _med(paths) for prefix, paths in router.paths().items()}

    expected = {prefix: a["med"] for (_, prefix), a in wants.items() if a}
    wait_for(lambda: held() == expected, "exactly these", LIMIT)
    field.want(dict.fromkeys(wants))
    wait_for(lambda: held() == {}, "none of them", LIMIT)
    assert router.heard()["open"] == 1


def _med(paths: list[dict[str, Any]]) -> int:
    (path,) = paths
    return next((attribute.get("metric", 0) for attribute in path["attrs"] if attribute["type"] == 4), -1)


def test_who_does_not_come_up_says_why_as_the_router_does(field: Field) -> None:
    """GoBGP's own words stand in its log alone; its JSON counts what it was told."""
    agent = field.agent

    def told(peer: str, words: str) -> None:
        agent.until(lambda: words in agent.sessions.get(peer, {}).get("last_error", ""), words, LIMIT)

    told(field.stranger.v4, "OPEN Message Error / Bad Peer AS (from the router)")
    theirs = "as number mismatch expected 64999, received 65001"
    wait_for(lambda: theirs in field.stranger.log, theirs, LIMIT)
    told(field.mistaken.v4, "Bad Peer AS: ASN in OPEN (65107) did not match ASN expected (64777) (from us)")
    wait_for(lambda: field.mistaken.heard().get("notification", 0) > 0, "our refusal", LIMIT)
    # Both ends refuse it, and which is heard depends on who reads first.
    told(field.same.v4, "OPEN Message Error / Bad BGP Identifier")
    wait_for(lambda: "bad BGP identifier 10.90.0.2" in field.same.log, "its words", LIMIT)
    told(field.quick.v6, "do both ends have the same password?")
    told(field.strict.v6, "Hold Timer Expired")  # it takes the connection, and drops what comes on it
    assert not any(router.up() for router in (field.stranger, field.mistaken, field.same))
    assert not field.quick.up(6) and not field.strict.up(6)


def test_a_router_that_takes_no_more_routes_says_so_and_takes_fewer_again(field: Field) -> None:
    agent, router = field.agent, field.small
    wants: dict[Key, Attributes] = {(router.v4, f"192.0.2.{n}/32"): {} for n in range(1, 5)}
    agent.established(router.v4, limit=LIMIT)
    agent.want(wants)

    def said() -> bool:
        why = agent.sessions[router.v4].get("last_error", "")
        return "Cease / Maximum Number of Prefixes Reached" in why and "(from the router)" in why

    agent.until(said, "why it ended the session", LIMIT)
    # It stays down until its operator says otherwise; then it has the three, and not the fourth for a moment.
    wants[router.v4, "192.0.2.4/32"] = None
    agent.want(wants)
    router.gobgp("neighbor", router.ours4, "enable")
    agent.established(router.v4, limit=LIMIT)
    agent.settled(wants, LIMIT)
    wait_for(lambda: len(router.paths()) == 3, "the three", LIMIT)
    assert router.up()


def test_what_the_operator_of_the_router_says_with_a_reset_is_told(field: Field) -> None:
    """On a session of its own: GoBGP lets nobody in for 30 s after a reset by hand."""
    router = field.outside
    field.agent.established(router.v4, limit=LIMIT)
    wait_for(router.up, "its side of it", LIMIT)
    router.gobgp("neighbor", router.ours4, "reset", "--reason", "maint window")
    agent = field.agent

    def said() -> str:
        return str(agent.sessions[router.v4].get("last_error", ""))

    agent.until(lambda: agent.sessions[router.v4]["state"] != "Established", "the end of it", LIMIT)
    assert said().startswith("Cease / Administrative Reset") and '"maint window" (from the router)' in said()
    # And is still told when the router has turned the next try away.
    tried = agent.sessions[router.v4]["tries"]
    agent.until(lambda: agent.sessions[router.v4]["tries"] > tried, "another try", LIMIT)
    assert '"maint window"' in said()
