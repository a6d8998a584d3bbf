"""`metalbgp pools`: exact counts, who may use a pool, who holds what, and what is nearly full."""

import json
from typing import Any

from msgspec.structs import replace

from metalbgp.cli.pools import count, row_of
from metalbgp.config import compiled
from metalbgp.model.configuration import Configuration, PoolPolicy, Quota, Reservation, ServiceAllocation
from metalbgp.model.virtualips import VirtualIP
from tests.unit.cli.world import CONFIGURATION, SYSTEM, World, claim
from tests.values import pool

POLICY = PoolPolicy(
    name="calm",
    pools=("production",),
    sticky=True,
    reuse_delay=600,
    quotas=(Quota(limit=2, namespaces=("web",)),),
)
PROMISE = Reservation(
    name="dns", addresses=("10.252.252.103",), namespace="web", service="dns", comment="since 2019"
)


def world(*more: dict[str, Any], configuration: Configuration = CONFIGURATION) -> World:
    found = World()
    found.objects["speakerconfigurations"] = [compiled.encode(configuration, SYSTEM)]
    found.objects["virtualips"] = [claim("10.252.252.100", "web/nginx"), *more]
    return found


def cooling(address: str) -> dict[str, Any]:
    found = claim(address, "web/gone", phase="cooling", kept_for=("web/gone",), until="2026-11-25T13:00:00Z")
    del found["spec"]["holders"]
    return found


def test_each_family_of_a_pool_is_a_row_with_exact_numbers() -> None:
    said = world().run("pools")
    assert said.exit_code == 0
    lines = said.stdout.splitlines()
    assert [line.split("   ")[0].strip() for line in lines] == ["POOL", "lab-v6", "production"]
    assert [line.split() for line in lines[1:]] == [
        ["lab-v6", "fd00::/112", "65,536", "0", "0", "0", "65,536", "who", "names", "it", "-"],
        [
            "production",
            "10.252.252.100/30",
            "(real",
            "range",
            ".100",
            "–",
            ".103)",
            *list("41003"),
            "everybody",
            "-",
        ],
    ]


def test_counts_are_exact_for_any_size() -> None:
    vast = pool("vast", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")
    found = count(vast, 6, Configuration("t", pools=(vast,)), [VirtualIP(address="2001:db8::1", pool="vast")])
    assert (found.size, found.used, found.free) == (2**96, 1, 2**96 - 1)


def test_reserved_and_cooling_addresses_are_neither_used_nor_free() -> None:
    promised = replace(CONFIGURATION, policies=(POLICY,), reservations=(PROMISE,))
    said = json.loads(
        world(cooling("10.252.252.101"), configuration=promised).run("pools", "-o", "json").stdout
    )
    (production,) = (item for item in said["items"] if item["pool"] == "production")
    assert production["ipv4"] == {"size": 4, "used": 1, "reserved": 1, "cooling": 1}
    assert production["policy"] == "calm"


def test_a_pool_by_name_says_its_policy_its_promises_and_who_holds_how_many() -> None:
    promised = replace(CONFIGURATION, policies=(POLICY,), reservations=(PROMISE,))
    lines = world(cooling("10.252.252.101"), configuration=promised).run("pools", "production").stdout
    for words in (
        "IPv4        4 in all: 1 used, 1 reserved, 1 cooling, 1 free",
        "policy      PoolPolicy calm: kept for the Service that had it without end; "
        "given to others after 600 s",
        "quota       2 for web",
        "namespace   web holds 1",
        "reserved    10.252.252.103 for web/dns, dns (since 2019)",
        "cooling     10.252.252.101 for web/gone until 2026-11-25T13:00:00Z, since 12m",
    ):
        assert f"  {words}\n" in lines


def test_addresses_lists_who_holds_what_in_order_and_by_namespace() -> None:
    promised = replace(CONFIGURATION, reservations=(PROMISE,))
    more = (cooling("10.252.252.102"), claim("10.252.252.101", "shop/cart"))
    it = world(*more, configuration=promised)
    rows = json.loads(it.run("pools", "production", "--addresses", "-o", "json").stdout)["items"]
    assert [(row["address"], row["phase"], row["services"], row["keptFor"]) for row in rows] == [
        ("10.252.252.100", "bound", ["web/nginx"], []),
        ("10.252.252.101", "bound", ["shop/cart"], []),
        ("10.252.252.102", "cooling", [], ["web/gone"]),
        ("10.252.252.103", "reserved", [], ["web/dns"]),
    ]
    names = it.run("pools", "--addresses", "-n", "web", "-o", "name").stdout.split()
    assert names == ["10.252.252.100", "10.252.252.102", "10.252.252.103"]


def test_a_pool_that_is_nearly_full_is_a_problem_and_a_missing_one_has_a_near_miss() -> None:
    full = [claim(f"10.252.252.10{number}", f"web/s{number}") for number in (1, 2, 3)]
    said = world(*full).run("pools", "--problems")
    assert said.exit_code == 1
    assert "production: IPv4: 0 of 4 left" in said.stdout
    assert "lab-v6" not in said.stdout
    wrong = world().run("pools", "prodution")
    assert (wrong.exit_code, 'did you mean "production"?' in wrong.stderr) == (2, True)


def test_who_a_pool_is_given_to_is_said_in_words() -> None:
    rule = ServiceAllocation(priority=3, namespaces=("a", "b"))
    row = row_of(replace(pool("p", "192.0.2.0-192.0.2.3"), allocation=rule), Configuration("t"), ())
    assert row.given_to == "a or b, priority 3"


def test_addresses_that_end_in_0_or_255_do_not_count_where_they_are_avoided() -> None:
    avoids = pool("p", "192.0.2.0-192.0.2.255", avoid_buggy_ips=True)
    assert count(avoids, 4, Configuration("t", pools=(avoids,)), ()).size == 254
