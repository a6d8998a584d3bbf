"""Attributes beyond MetalLB's, as a real FRR shows them; and a change of any is an implicit replace.

Needs root, FRR and network namespaces.
"""

from typing import Any

import pytest

from metalbgp.model import extended
from tests.wire.bgp_lab import Lab
from tests.wire.doing import wait_for

ONE = {4: "192.0.2.1/32", 6: "2001:db8::1/128"}


@pytest.mark.parametrize("family", [4, 6])
def test_med_path_and_extended_communities_reach_the_router_and_change_without_a_withdrawal(
    lab: Lab, family: int
) -> None:
    router = lab.router(1)
    router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(router.neighbor(family))
    peer = router.v4 if family == 4 else router.v6
    agent.established(peer)
    key = peer, ONE[family]
    log = router.folder / "debug.log"
    router.vtysh("configure terminal", "debug bgp updates in", f"log file {log} debugging")

    def wanted(attributes: dict[str, Any], *words: str) -> dict[str, Any]:
        """Until the router's path has all these words."""
        agent.want({key: attributes})
        agent.settled({key: attributes})

        def path() -> dict[str, Any]:
            found = router.path(ONE[family]) if ONE[family] in router.table(family) else {}
            return found if found and all(word in str(found) for word in words) else {}

        found: dict[str, Any] = wait_for(path, f"a path with {words}")
        return found

    marks = [extended.extended("target", 64512, 30), extended.extended("origin", 4200000000, 7)]
    attributes = {
        "med": 50,
        "as_path": [65001, 65001],
        "communities": [[65535, 65281]],
        "extended_communities": sorted([*marks, extended.bandwidth(65001, 200)]),
    }
    path = wanted(attributes, "RT:64512:30")
    assert path["metric"] == 50
    assert path["aspath"]["string"] == "65001 65001 65001"
    assert path["community"]["string"] == "no-export"
    words = path["extendedCommunity"]["string"]
    assert "SoO:4200000000:7" in words and "LB:65001:25000000 (200.000 Mbps)" in words
    # Twice as many endpoints, and nothing else: the router replaces what it has, and never lacks it.
    path = wanted({"med": 50, "extended_communities": [extended.bandwidth(65001, 400)]}, "400.000 Mbps")
    assert path["aspath"]["string"] == "65001" and "community" not in path
    wanted({"med": 7}, "'metric': 7")
    prefix = ONE[family].partition("/")[0]
    heard = [line for line in log.read_text().splitlines() if prefix in line]
    assert heard and not any("withdrawn" in line for line in heard)
    agent.want({key: None})
    wait_for(lambda: "withdrawn" in log.read_text(), "a withdrawal, so they are logged")


@pytest.mark.parametrize("asked", [True, False])
def test_a_router_that_demands_ttl_security_gets_it_from_who_is_asked_to(lab: Lab, asked: bool) -> None:
    strict, plain = lab.router(1), lab.router(2)
    strict.start(neighbor_lines=("ttl-security hops 1",))
    plain.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(strict.neighbor(ttl_security=asked), plain.neighbor())
    agent.established(plain.v4)
    if asked:
        agent.established(strict.v4)
        return
    # Its packets are dropped by the router's kernel, so it takes as long as any lost SYN.
    key = plain.v4, ONE[4]
    agent.want({key: {}})
    agent.settled({key: {}})
    assert agent.sessions[strict.v4]["state"] != "Established"
