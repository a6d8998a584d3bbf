"""Examples are read, compiled and planned: what a page tells a user to apply works as that page says.

All YAML in docs/ (files, and blocks in pages) and k8s/. On a real cluster the same files are in tests/lab.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metalbgp.allocate.allocate import allocate
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken
from metalbgp.cli.judging import Known, judge
from metalbgp.cli.manifests import Manifests
from metalbgp.cli.validate import schemas
from metalbgp.cluster import decode
from metalbgp.config import objects
from metalbgp.config.compile import Compiled, compile
from metalbgp.config.documents import documents as read
from metalbgp.model.allocation import Allocation
from metalbgp.model.configuration import Configuration
from metalbgp.model.routes import Duty
from metalbgp.model.services import Endpoints, Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan, virtual_ip
from metalbgp.plan.ranking import Claimant
from metalbgp.plan.scene import Scene
from metalbgp.select.select import select

ROOT = Path(__file__).resolve().parents[2]
WALKTHROUGH = ROOT / "docs" / "walkthrough"
NODES = {name: Node(name=name) for name in ("n1", "n2", "n3")}
Document = dict[str, Any]


def documents(text: str) -> list[Document]:
    return [dict(one.body) for one in read(text)]


def examples() -> Iterator[tuple[str, str]]:
    for folder in ("docs", "k8s"):
        for path in sorted((ROOT / folder).rglob("*.yaml")):
            yield str(path.relative_to(ROOT)), path.read_text()
        for page in sorted((ROOT / folder).rglob("*.md")):
            for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S)):
                yield f"{page.relative_to(ROOT)} block {number + 1}", block


def compiled(*files: str) -> Compiled:
    found = [one for file in files for one in documents((WALKTHROUGH / file).read_text())]
    return compile(
        objects.gather([objects.from_mapping(one) for one in found]), Configuration("metallb-system")
    )


def virtual_ips(configuration: Configuration) -> list[VirtualIP]:
    """What the walkthrough's Service becomes, as the API server would have completed it."""
    (document,) = documents((WALKTHROUGH / "service.yaml").read_text())
    document["metadata"] |= {"namespace": "default", "uid": "u1", "resourceVersion": "1"}
    document["spec"] |= {"clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
    service = decode.service(msgspec.json.encode(document))
    answer = allocate(request_of(service), configuration, Taken(), {})
    assert isinstance(answer, Allocation)
    (pool,) = (pool for pool in configuration.pools if pool.name == answer.pool)
    holder = plan(service, Endpoints(serving=3), pool, configuration)
    scene = Scene(configuration, NODES, live=frozenset(NODES))
    claimants = [Claimant(service.key, holder, first=answer.addresses[0])]
    return [virtual_ip(address, pool, claimants, scene) for address in answer.addresses]


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in examples()])
def test_examples_are_yaml_of_kinds_that_exist(text: str) -> None:
    crds = documents((ROOT / "k8s" / "crds.yaml").read_text())
    served = {
        (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
        for crd in crds
        for version in crd["spec"]["versions"]
    }
    for document in documents(text):
        if "metallb.io/" in document["apiVersion"] or "metalbgp.io/" in document["apiVersion"]:
            assert (document["apiVersion"], document["kind"]) in served


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in examples()])
def test_configuration_in_examples_is_valid_and_in_force(text: str) -> None:
    ours = [one for one in documents(text) if one["kind"] in objects.READERS]
    pools = documents((WALKTHROUGH / "pool.yaml").read_text())  # what examples of advertisements refer to
    every = {(one["kind"], one["metadata"]["name"]): one for one in [*pools, *ours]}
    answer = compile(
        objects.gather([objects.from_mapping(one) for one in every.values()]), Configuration("metallb-system")
    )
    assert [one.explain() for one in answer.invalid] == []
    assert [one.explain() for one in answer.not_in_force] == []


def test_the_walkthroughs_service_gets_the_pools_first_address() -> None:
    (vip,) = virtual_ips(compiled("pool.yaml", "bgp.yaml").configuration)
    assert (vip.address, vip.pool) == ("10.252.252.100", "production")


def test_over_bgp_every_node_announces_one_route_to_the_router() -> None:
    configuration = compiled("pool.yaml", "bgp.yaml").configuration
    (vip,) = virtual_ips(configuration)
    plans = [select(vip, configuration, node) for node in NODES.values()]
    assert [[(route.peer, route.prefix) for route, _ in one.routes] for one in plans] == [
        [("tor", "10.252.252.100/32")]
    ] * 3
    assert not any(one.duties for one in plans)


def test_over_l2_every_node_may_answer_in_one_order_and_nothing_is_announced() -> None:
    configuration = compiled("pool.yaml", "l2.yaml").configuration
    (vip,) = virtual_ips(configuration)
    plans = [select(vip, configuration, node) for node in NODES.values()]
    duties = {duty for one in plans for duty in one.duties}
    assert duties == {Duty("10.252.252.100", None, vip.candidates)}
    assert sorted(vip.candidates) == sorted(NODES)
    assert not any(one.routes for one in plans)


@pytest.mark.parametrize(("name", "text"), [*examples()], ids=[name for name, _ in examples()])
def test_validate_has_nothing_against_an_example(name: str, text: str) -> None:
    """What an example names may stand elsewhere: pools of the walkthrough do."""
    pool = (WALKTHROUGH / "pool.yaml").read_text()
    ours = [*read(text, name)]
    if all(one.kind != "IPAddressPool" for one in ours):
        ours += read(pool, "pool.yaml")
    assert [one.lines() for one in judge(Manifests(ours, schemas()), Known()).findings] == []
