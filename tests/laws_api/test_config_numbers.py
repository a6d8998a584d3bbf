"""Numbers are read by the API server's rules: what it stores, a file says too; what it refuses, we refuse.

In:  JSON bodies with one number spelt oddly, posted raw to a real API server and read as a file is.
Out: the law in the test's name. Elsewhere: addresses and durations are unit/config/test_vectors.py.
"""

import json
from pathlib import Path

import pytest
from msgspec import structs

from metalbgp.cluster.resources import BFD_PROFILES, BGP_ADVERTISEMENTS, BGP_PEERS, IP_ADDRESS_POOLS, Resource
from metalbgp.config import objects
from metalbgp.config.compile import compile as compile_objects
from metalbgp.model.configuration import Configuration, Source
from tests.apiserver import ApiServer

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "metallb-system"
SPECS: dict[Resource, str] = {
    BGP_PEERS: '{"myASN": 64513, "peerAddress": "10.0.0.1", "peerASN": %s}',
    BGP_ADVERTISEMENTS: '{"localPref": %s}',
    BFD_PROFILES: '{"detectMultiplier": %s}',
    IP_ADDRESS_POOLS: '{"addresses": ["10.69.0.0/24"], "serviceAllocation": {"priority": %s}}',
}
NUMBERS = (
    "100",
    "100.0",
    "1e2",
    "1.0E+2",
    "-0",
    "null",
    "100.5",
    '"100"',
    "true",
    "[]",
    "-1",
    "0064",
    "+1",
    "1_000",
    "0x64",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "1e19",
    "1E400",
    "NaN",
)


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    apiserver.kubectl("apply", "-f", str(ROOT / "k8s" / "crds.yaml"))
    apiserver.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return apiserver


def stored(server: ApiServer, resource: Resource, body: str) -> objects.AnyObject | None:
    """What the API server makes of it, tried only; None when it refuses."""
    path = resource.path(SYSTEM) + "?dryRun=All"
    try:
        return objects.READERS[resource.kind](
            server.kubectl("create", "--raw", path, "-f", "-", stdin=body).encode()
        )
    except AssertionError:
        return None


def from_file(resource: Resource, body: str) -> objects.AnyObject | None:
    """As a file is read and judged; None when anything is wrong with it."""
    try:
        found = objects.from_mapping(json.loads(body, parse_constant=refuse))
    except ValueError:
        return None
    result = compile_objects(objects.gather([found]), Configuration(installation=SYSTEM))
    return None if result.invalid else found


def refuse(word: str) -> float:
    raise ValueError(word)  # NaN is no JSON, whatever Python thinks


@pytest.mark.parametrize("resource", SPECS, ids=lambda resource: resource.kind)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_in_a_file_means_what_the_api_server_makes_of_it(
    server: ApiServer, resource: Resource, number: str
) -> None:
    spec = SPECS[resource] % number
    body = (
        f'{{"apiVersion": "{resource.api_version}", "kind": "{resource.kind}", '
        f'"metadata": {{"name": "odd"}}, "spec": {spec}}}'
    )
    theirs, ours = stored(server, resource, body), from_file(resource, body)
    if isinstance(theirs, objects.BGPPeer) and not theirs.spec.peer_asn:
        theirs = None  # exactly one of peerASN and dynamicASN: no schema says so, we do
    if theirs is None or ours is None:
        assert theirs is ours
    else:
        assert not theirs.unreadable
        assert in_force(theirs) == in_force(ours)


def in_force(raw: objects.AnyObject) -> list[object]:
    """What it is compiled to; of where it comes from, nothing."""
    found = compile_objects(objects.gather([raw]), Configuration(installation=SYSTEM)).configuration
    every = (*found.pools, *found.peers, *found.bgp_advertisements, *found.bfd_profiles)
    return [structs.replace(one, source=Source()) for one in every]
