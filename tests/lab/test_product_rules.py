"""What must never be left behind, what nobody else may write, and what the processes may do.

In:  the product as the manifest installs it.
Out: the laws in the tests' names. Elsewhere: faults in test_product_faults.py.
"""

from __future__ import annotations

import itertools
import json
import re
import urllib.error
from pathlib import Path
from typing import Final

import pytest

from lab.shell import LabError, inside, run
from tests.lab.product import (
    MANIFEST,
    METALLB,
    POOLS,
    SERVICES,
    STATES,
    SYSTEM,
    VIPS,
    Product,
    kill,
    processes_of,
    until,
)

PROCESSES: Final = {
    "parent": r"-m metalbgp\.speaker$",
    "agent": r"-m metalbgp\.speaker\.agent",
    "reflex": r"-m metalbgp\.reflex",
    "exabgp": r"launch\.py server",
    "helper": r"helper\.py",
}
NET_RAW, SYS_NICE = 1 << 13, 1 << 23


def test_whatever_goes_first_the_route_goes_and_nothing_is_left(product: Product) -> None:
    """Service, pool and advertisement of an address, deleted in each of the six orders, side by side."""
    product.peer()
    orders = list(itertools.permutations(("service", "pool", "advertisement")))
    paths: list[dict[str, str]] = []
    for number in range(len(orders)):
        name = f"o{number}"
        product.pool(name, f"198.51.100.{number * 8}/29")
        product.advertise(name, ipAddressPools=[name])
        product.service(name, pool=name)
        paths.append(
            {
                "service": f"{SERVICES}/{name}",
                "pool": f"{POOLS}/{name}",
                "advertisement": f"{METALLB}/bgpadvertisements/{name}",
            }
        )
    wanted = {f"198.51.100.{number * 8}" for number in range(len(orders))}
    until("all are announced", product.routes, lambda routes: set(routes) == wanted, 30)
    for step in range(3):
        for order, path in zip(orders, paths, strict=True):
            product.remove(path[order[step]])
        until("no route is left", product.routes, lambda routes: not routes, 30)
    until("no VirtualIP is left", product.vips, lambda vips: not vips)


def test_what_was_deleted_while_no_controller_ran_is_gone_when_one_returns(product: Product) -> None:
    product.bgp()
    product.pool("second", "203.0.113.0/29")
    product.advertise("second", ipAddressPools=["second"])
    product.put(f"{METALLB}/bgpadvertisements", "BGPAdvertisement", "all", {"ipAddressPools": ["pool"]})
    for name, pool in (("gone", "pool"), ("stays", "pool"), ("poolless", "second")):
        product.service(name, pool=pool)
        product.routed(product.address(name))
    gone, stays, poolless = (product.address(name) for name in ("gone", "stays", "poolless"))
    with product.never_lost(stays):
        with product.without_controller():
            product.remove(f"{SERVICES}/gone")
            product.remove(f"{POOLS}/second")
            product.remove(f"{METALLB}/bgpadvertisements/second")
            assert product.hops(gone) and product.hops(poolless)  # nobody decides now
        product.routed(gone, on=(), limit=60)
        product.routed(poolless, on=())
        until("their claims are gone", product.vips, lambda vips: set(vips) == {stays})


def test_only_metalbgp_itself_writes_virtual_ips(product: Product) -> None:
    product.pool()
    product.service("web")
    address = product.address("web")
    before = until(  # its endpoints come after its address, and are written as well
        "nothing more is written",
        product.vips,
        lambda vips: vips[address]["holders"]["default/web"].get("serving"),
    )
    with pytest.raises(LabError, match="only metalbgp itself writes virtualips"):
        product.patch("virtualip", address, {"spec": {"pool": "mine"}})
    with pytest.raises(LabError, match="only metalbgp itself writes virtualips"):
        product.lab.kubectl("delete", "virtualip", address)
    with pytest.raises(LabError, match="only metalbgp itself writes"):
        product.lab.kubectl("delete", "nodestate", "n1", "-n", SYSTEM)
    with pytest.raises(LabError, match="only metalbgp itself writes"):
        product.patch("speakerconfiguration", SYSTEM, {"spec": {"sequence": 1}}, SYSTEM)
    assert product.vips() == before
    # But what deletes a whole namespace may: --dry-run asks all admission rules and changes nothing.
    product.lab.kubectl(
        *("delete", "nodestate", "n1", "-n", SYSTEM, "--dry-run=server"),
        "--as=system:serviceaccount:kube-system:namespace-controller",
    )


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_no_process_of_the_speaker_may_more_than_it_needs(product: Product) -> None:
    product.peer()  # so that ExaBGP's file has a neighbour
    pod = product.speaker("n1")
    pids = {name: product.pid(pod, words) for name, words in PROCESSES.items()}
    assert all(pids.values()), pids
    status = {name: _status(pid) for name, pid in pids.items()}
    for name in ("agent", "exabgp", "helper"):
        for field in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(status[name][field], 16) == 0, f"{name}: {field} {status[name][field]}"
    for field in ("CapEff", "CapPrm"):
        assert int(status["reflex"][field], 16) == NET_RAW | SYS_NICE
        assert int(status["parent"][field], 16) & ~(NET_RAW | SYS_NICE) == 0
    assert {name: found["NoNewPrivs"] for name, found in status.items()} == dict.fromkeys(PROCESSES, "1")
    assert {found["Seccomp"] for found in status.values()} == {"2"}
    mounts = Path(f"/proc/{pids['parent']}/mounts").read_text().splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")
    assert "ro" in root[3].split(",")
    files = Path("/proc", str(pids["parent"]), "root", "run", "metalbgp")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in files.iterdir()}
    assert {"parent.sock", "exabgp.sock", "reflex.sock", "exabgp.conf"} <= modes.keys()
    assert set(modes.values()) == {"0o600"}, modes


def test_no_process_of_the_controller_may_anything(product: Product) -> None:
    for pod in product.pods("controller").values():
        for pid in processes_of(pod):
            status = _status(pid)
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
            assert status["NoNewPrivs"] == "1"
            assert status["Uid"].split() == ["65532"] * 4


def test_a_manifest_deleted_and_applied_again_keeps_pools_claims_and_addresses(product: Product) -> None:
    product.bgp(enableGracefulRestart=True)  # so that only a withdrawal takes the route away
    product.service("web", address="198.51.100.77")
    address = product.address("web")
    product.routed(address)
    before = product.vips()[address]
    product.lab.kubectl("delete", "-f", str(MANIFEST), "--ignore-not-found", check=False)
    until("no speaker is left", lambda: product.list_pods("speaker"), lambda pods: not pods, 60)
    product.routed(address, on=())  # whoever removes the speakers wants no routes to stay
    assert {item["metadata"]["name"] for item in product.list(POOLS)} == {"pool"}
    assert product.vips()[address]["holders"].keys() == before["holders"].keys()
    assert product.ingress("web") == address
    product.lab.apply(MANIFEST)
    product.all_ready(90)
    product.routed(address, limit=30)
    assert product.address("web") == address


def _get(product: Product, host: str, url: str) -> tuple[int, str]:
    """Status and text, asked from within a host's namespace."""
    space = product.lab.settings.namespace(host)
    said = run(*inside(space, ["curl", "-s", "-w", "\n%{http_code}", "--max-time", "5", url]), check=False)
    text, _, code = said.stdout.rpartition("\n")
    return int(code or 0), text


def _series(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_metrics_say_what_is_announced_under_the_names_that_users_know(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    node = product.lab.nodes[0]

    def speaker() -> dict[str, float]:
        return _series(_get(product, "n2", f"http://{node.address}:9120/metrics")[1])

    labels = f'ip="{address}",node="n1",protocol="bgp",service="default/web"'
    announced = f"metallb_speaker_announced{{{labels}}}"
    seen = until("the speaker shows the announcement", speaker, lambda s: _sorted(s).get(_key(announced)))
    peer = '{peer="10.252.252.1:179"}'
    assert seen[f"metallb_bgp_session_up{peer}"] == 1
    assert seen[f"metallb_bgp_announced_prefixes_total{peer}"] == 1
    assert seen[f"metallb_bgp_updates_total{peer}"] >= 1
    assert seen["metallb_k8s_client_config_loaded_bool"] == 1
    leader = product.pods("controller")[product.leader()]["status"]["podIP"]
    shown = _series(_get(product, "n1", f"http://{leader}:9120/metrics")[1])
    assert shown['metallb_allocator_addresses_in_use_total{pool="pool"}'] == 1
    assert shown['metallb_allocator_addresses_total{pool="pool"}'] == 256
    assert shown["metallb_k8s_client_config_loaded_bool"] == 1
    assert shown["metallb_k8s_client_config_stale_bool"] == 0


def _key(series: str) -> str:
    name, _, labels = series.partition("{")
    return name + ",".join(sorted(re.findall(r'\w+="[^"]*"', labels)))


def _sorted(series: dict[str, float]) -> dict[str, float]:
    """Labels in one order: theirs is no promise."""
    return {_key(name): value for name, value in series.items()}


def test_ready_means_that_the_child_runs_and_not_that_a_router_answers(product: Product) -> None:
    product.peer("nobody", peerAddress="10.252.252.10", peerPort=1790)
    url = "http://127.0.0.1:17473/readyz"
    until("a speaker whose router is away is ready", lambda: _get(product, "n3", url), lambda a: a[0] == 200)
    pod = product.speaker("n3")
    seen: list[tuple[int, str]] = []

    def killed() -> bool:
        """Each kill makes the next start wait longer, until the gap is long enough to be asked about."""
        if pid := product.pid(pod, PROCESSES["exabgp"]):
            kill(pid)
        seen.append(_get(product, "n3", url))
        return seen[-1] == (503, "ExaBGP does not run\n")

    until("without ExaBGP it is not ready", killed, limit=30)
    until("with ExaBGP it is ready", lambda: _get(product, "n3", url), lambda a: a == (200, "ok\n"), 30)
    leader = product.pods("controller")[product.leader()]["status"]["podIP"]
    assert _get(product, "n1", f"http://{leader}:17472/readyz") == (200, "ok\n")


def test_what_nobody_listens_to_is_not_served(product: Product) -> None:
    """The readiness port of a speaker, which shares its node's network, is on the loopback alone."""
    assert _get(product, "n2", f"http://{product.lab.nodes[0].address}:17473/readyz")[0] == 0
    with pytest.raises(urllib.error.HTTPError):
        product.api.request("POST", STATES, json.loads('{"metadata": {"name": "n9"}}'))
    assert "n9" not in {item["metadata"]["name"] for item in product.list(STATES)}
    assert product.list(VIPS) == []
