"""The law of docs/serving.md: who announces, judged by a second, obvious implementation of its table.

EndpointSlices as Kubernetes writes them, Nodes that may or may not announce, in any order of arrival.
"""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from metalbgp.cluster import decode
from metalbgp.model.configuration import Configuration
from metalbgp.model.services import EXCLUDE_LABEL, Node
from metalbgp.select.merge import standing_by
from metalbgp.select.select import select
from tests.small_controller import SmallController
from tests.values import bgp, configuration, l2, labelled, peer, service

NAMES = ("n1", "n2", "n3")
MAYBE = st.sampled_from([None, True, False])
READY = {"ready": True, "serving": True, "terminating": False}
TERMINATING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}
USUAL = st.sampled_from([READY, TERMINATING, GONE])
ANY = st.fixed_dictionaries({"ready": MAYBE, "serving": MAYBE, "terminating": MAYBE})
ENDPOINTS = st.lists(
    st.fixed_dictionaries(
        {
            "nodeName": st.sampled_from([*NAMES, None]),
            "conditions": st.one_of(USUAL, USUAL, ANY),
        }
    ),
    max_size=3,
)
FACTS = st.fixed_dictionaries(
    {
        "rack": st.sampled_from("ab"),
        "excluded": st.sampled_from([False, False, False, True]),
        "speaker": st.sampled_from([True, True, True, False]),
    }
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("slice"), st.sampled_from(["s1", "s2"]), ENDPOINTS),
        st.tuples(st.just("node"), st.sampled_from(NAMES), FACTS),
        st.tuples(st.just("rack"), st.just(""), st.sampled_from("ab")),
        st.tuples(st.just("policy"), st.just(""), st.sampled_from(["Cluster", "Local", "Local"])),
    ),
    max_size=8,
)


def advertised(sequence: int, rack: str, in_l2: bool) -> Configuration:
    """To a rack's nodes; L2 beside BGP only sometimes, for each must do without the other."""
    said = bgp(node_selectors=(labelled(rack=rack),)), l2("layer2", node_selectors=(labelled(rack=rack),))
    return configuration(peer("tor"), *(said if in_l2 else said[:1]), sequence=sequence)


class World(SmallController):
    def __init__(self, in_l2: bool) -> None:
        super().__init__()
        self.in_l2, self.sequence, self.rack = in_l2, 0, ""
        self.slices: dict[str, list[dict[str, Any]]] = {}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.policy = "Local"
        self.see("rack", "", "a")
        self.see("policy", "", "Local")
        for at, name in enumerate(NAMES):
            self.see("node", name, {"rack": "aab"[at], "excluded": False, "speaker": True})
        # One terminates, the other is ready: most of the table is a step away from here.
        one = {"nodeName": "n1", "conditions": TERMINATING}
        self.see("slice", "s1", [one, {"nodeName": "n2", "conditions": READY}])

    def see(self, kind: str, name: str, what: Any) -> None:
        match kind:
            case "slice":
                endpoints = [{**one, "addresses": [f"10.0.0.{at}"]} for at, one in enumerate(what)]
                about = {"namespace": "web", "name": name, "labels": {decode.SERVICE_NAME: "nginx"}}
                piece = decode.endpoint_slice(
                    json.dumps({"metadata": about, "endpoints": endpoints}).encode()
                )
                assert piece is not None
                self.slices[name] = endpoints
                self.work(self.inventory.put_slice(piece))
            case "node":
                self.nodes[name] = what
                labels = {"rack": what["rack"]} | ({EXCLUDE_LABEL: ""} if what["excluded"] else {})
                self.work(self.inventory.put_node(Node(name=name, labels=labels)))
                speakers = {one for one, facts in self.nodes.items() if facts["speaker"]}
                self.work(self.inventory.live(speakers))
            case "rack":
                self.rack = what
                self.sequence += 1
                self.configured(advertised(self.sequence, what, self.in_l2))
            case _:
                self.policy = what
                made = service("web/nginx", created="1", external_traffic_policy=what)
                self.work(self.inventory.put_service(made))

    # -------------------------------------------------------------- the product

    def announce(self) -> set[str]:
        (vip,) = self.inventory.claims.values()
        nodes = {name: self.inventory.nodes[name] for name in self.inventory.live_speakers}
        made = self.inventory.configuration
        return {name for name, node in nodes.items() if select(vip, made, node).routes}

    def owner(self) -> str:
        (vip,) = self.inventory.claims.values()
        made, nodes = self.inventory.configuration, self.inventory.nodes
        plans = {name: select(vip, made, nodes[name]) for name in self.inventory.live_speakers}
        (first, *_) = standing_by(plans).get(vip.address, ("",))
        return first

    # -------------------------------------------------------------- the table of docs/serving.md

    def expected(self) -> set[str]:
        able = {
            name
            for name, one in self.nodes.items()
            if one["speaker"] and not one["excluded"] and one["rack"] == self.rack
        }
        everything = [one for piece in self.slices.values() for one in piece]
        if self.policy == "Cluster":
            return able if any(_rank(one) for one in everything) else set()
        best = {
            name: max((_rank(one) for one in everything if one["nodeName"] == name), default=0)
            for name in able
        }
        return {name for name in able if best[name] == 2} or {name for name in able if best[name] == 1}


def _rank(endpoint: dict[str, Any]) -> int:
    said = endpoint["conditions"]
    if said["ready"] is False and said["serving"] is not True:
        return 0
    return 1 if said["ready"] is False or said["terminating"] else 2


@given(events=EVENTS, in_l2=st.booleans())
@settings(max_examples=400, deadline=None)
def test_the_best_rank_that_can_announce_announces_and_no_other(
    events: list[tuple[str, str, Any]], in_l2: bool
) -> None:
    world = World(in_l2)
    for event in events:
        world.see(*event)
        expected = world.expected()
        assert world.announce() == expected
        assert world.owner() in expected if expected and in_l2 else not world.owner()
