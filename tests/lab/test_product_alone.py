"""A speaker that nobody tells anything: it goes on with what it knew, says how old that is, and is corrected.

In:  the API server stopped, or one node cut off from it; agents and containers killed meanwhile; a snapshot
     that is spoilt, a volume that is read-only or full.
Out: the laws in the tests' names, on the router.
Elsewhere: the file itself is tests/unit/speaker/test_snapshot.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lab.settings import CONTROL
from tests.lab.product import SERVICES, Product, alive, kill, until

AGENT: Final = r"-m metalbgp\.speaker\.agent"
PARENT: Final = r"-m metalbgp\.speaker$"
ABSENT: Final = "10.252.252.9"  # nobody is there


def metrics(product: Product, node: str) -> dict[str, float]:
    """What the speaker says of its view; it needs no API server for that."""
    said = product.lab.node_exec(node, ["curl", "-sf", "-m", "5", "http://127.0.0.1:9120/metrics"]).stdout
    found = re.findall(r"^(metalbgp_(?:view|snapshot|own)\S*) (\S+)$", said, re.MULTILINE)
    return {name: float(value) for name, value in found}


def from_snapshot(product: Product, node: str, yes: bool = True) -> dict[str, float]:
    return until(
        f"{node} announces {'what was known before' if yes else 'what it hears'}",
        lambda: metrics(product, node),
        lambda found: found.get("metalbgp_view_from_snapshot") == float(yes),
        40,
    )


def killed(product: Product, pod: dict[str, Any], words: str, limit: float = 60) -> None:
    """kill -9, until its successor runs: the agent's by the parent, the container's by the kubelet."""
    before = product.pid(pod, words)
    kill(before)
    until(
        f"another {words} runs",
        lambda: product.pid(pod, words),
        lambda now: now not in (0, before) and not alive(before),
        limit,
    )


def run_directory(product: Product, node: str) -> Path:
    """The volume `run` of the speaker, as its container has it."""
    return Path("/proc", str(product.pid(product.speaker(node), PARENT)), "root", "run", "metalbgp")


def known_on_disk(product: Product, node: str, address: str, there: bool = True) -> None:
    """Until the snapshot has the address: it follows a change within a second."""

    def vips() -> set[str]:
        found = json.loads((run_directory(product, node) / "snapshot.json").read_bytes())
        return {one["metadata"]["name"] for one in found["vips"]}

    until(f"the snapshot of {node} knows {address}", vips, lambda found: (address in found) is there)


def whole(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_bytes()))
    except ValueError:
        return False


def paths(product: Product, address: str) -> dict[str, bool]:
    """Of the router's paths to the address: node → whether it is only kept until its speaker is back."""
    names = {node.address: node.name for node in product.lab.nodes}
    shown = json.loads(product.lab.vtysh(f"show ip bgp {address}/32 json") or "{}")
    return {
        names.get(path["peer"]["peerId"], "?"): bool(path.get("stale")) for path in shown.get("paths", ())
    }


@contextmanager
def cut_off(product: Product, node: str) -> Iterator[None]:
    """Packets between node and API server are lost, without a word; everything else goes on."""
    rules = "; ".join(
        (
            "add table inet cut",
            "add chain inet cut out { type filter hook output priority 10; }",
            f"add rule inet cut out ip daddr {CONTROL.address} tcp dport 6443 drop",
            "add chain inet cut in { type filter hook prerouting priority -310; }",  # before any translation
            f"add rule inet cut in ip saddr {CONTROL.address} tcp sport 6443 drop",
        )
    )
    product.lab.node_exec(node, ["nft", rules])
    try:
        yield
    finally:
        product.lab.node_exec(node, ["nft", "delete", "table", "inet", "cut"])


def test_a_whole_speaker_killed_without_api_server_announces_what_was_known_and_says_how_old_it_is(
    product: Product,
) -> None:
    product.bgp(enableGracefulRestart=True)
    node = least_restarted(product)
    product.service("web")
    product.service("only", policy="Local", on=(node,))
    both, only = product.address("web"), product.address("only")
    product.routed(both)
    product.routed(only, on=(node,))
    known_on_disk(product, node, only)
    pod = product.speaker(node)
    with product.never_lost(both, only):
        with product.lab.without("apiserver"):
            killed(product, pod, PARENT)
            found = from_snapshot(product, node)
            assert found["metalbgp_view_age_seconds"] > 0
            for address in (both, only):
                until(
                    f"{address} is announced anew",
                    lambda address=address: paths(product, address),
                    lambda shown: shown.get(node) is False,
                    60,
                )
            later = metrics(product, node)
            assert later["metalbgp_view_age_seconds"] > found["metalbgp_view_age_seconds"]
        from_snapshot(product, node, yes=False)
    until("it has heard the API server", lambda: metrics(product, node), young)
    product.routed(both)


def least_restarted(product: Product) -> str:
    """Its kubelet starts the container again without a pause, which grows each time."""

    def restarts(node: str) -> int:
        statuses = product.speaker(node)["status"].get("containerStatuses", ())
        return sum(one["restartCount"] for one in statuses)

    return min((node.name for node in product.lab.nodes), key=restarts)


def young(found: dict[str, float]) -> bool:
    return found["metalbgp_view_age_seconds"] < 90


def test_a_service_deleted_while_a_node_is_cut_off_stays_there_and_goes_when_it_hears_of_it(
    product: Product,
) -> None:
    product.bgp()
    product.service("web")
    product.service("stays")
    address, stays = product.address("web"), product.address("stays")
    for one in (address, stays):
        product.routed(one)
        known_on_disk(product, "n1", one)
    with product.never_lost(stays):
        with cut_off(product, "n1"):
            product.remove(f"{SERVICES}/web")
            product.routed(address, on=("n1",))  # the others heard of it
            killed(product, product.speaker("n1"), AGENT)
            from_snapshot(product, "n1")
            assert product.hops(address) == {"n1"}
            assert product.hops(stays) == {"n1", "n2", "n3"}
        product.routed(address, on=(), limit=60)
        from_snapshot(product, "n1", yes=False)
        known_on_disk(product, "n1", address, there=False)
    assert product.hops(stays) == {"n1", "n2", "n3"}


def test_a_spoilt_snapshot_is_said_and_neither_announced_from_nor_withdrawn_for(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    known_on_disk(product, "n1", address)
    before, pod = product.connections(), product.speaker("n1")
    file = run_directory(product, "n1") / "snapshot.json"
    with product.never_lost(address):
        with product.lab.without("apiserver"):
            file.write_bytes(file.read_bytes()[:-40])
            killed(product, pod, AGENT)
            until(
                "the reason is in the metrics",
                lambda: metrics(product, "n1"),
                lambda found: found.get('metalbgp_snapshot_refused{reason="SnapshotDamaged"}') == 1,
            )
            assert metrics(product, "n1")["metalbgp_view_from_snapshot"] == 0
            assert product.hops(address) == {"n1", "n2", "n3"}
        until(
            "and there is a good one again",
            lambda: whole(file),
            limit=60,
        )
    assert product.connections() == before


def test_a_volume_that_takes_no_snapshot_is_said_and_costs_no_route(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    before = product.connections()
    with product.never_lost(address):
        with spoilt(product, "ro", "rw"):
            product.service("more")
            product.routed(product.address("more"))
            said(product, "Read-only")
        written_again(product)
        with spoilt(product, f"size={used(product)}k", "size=50%"):  # as small as what is in it: full
            product.service("still-more")
            product.peer("absent", peerAddress=ABSENT)  # the list of peers is a file on the same volume
            product.routed(product.address("still-more"))
            said(product, "No space left")
            said(product, "exabgp.next cannot be written: No space left")
            told = [one["text"] for one in product.cli("doctor")["items"]]
            assert [one for one in told if one.startswith("n1: ") and "No space left" in one], told
        written_again(product)
        known_on_disk(product, "n1", product.address("still-more"))
        file = run_directory(product, "n1") / "exabgp.conf"
        until("the list of peers as well", file.read_text, lambda text: ABSENT in text, 40)
    assert product.connections() == before


@contextmanager
def spoilt(product: Product, how: str, back: str) -> Iterator[None]:
    """The volume of the speaker on n1, mounted with another option."""
    run_volume(product, "mount", "-o", f"remount,{how}")
    try:
        yield
    finally:
        run_volume(product, "mount", "-o", f"remount,{back}")


def run_volume(product: Product, *command: str) -> str:
    """A command in the mount namespace of the speaker on n1; its volume is /run/metalbgp."""
    pid = str(product.pid(product.speaker("n1"), PARENT))
    words = [*("nsenter", "-t", pid, "-m"), *command, "/run/metalbgp"]
    return str(product.lab.node_exec("n1", words).stdout)


def used(product: Product) -> int:
    """KiB of the volume that are in use."""
    return int(run_volume(product, "df", "-k", "--output=used").split()[1])


def said(product: Product, words: str) -> None:
    until(
        f"the NodeState says: {words}",
        lambda: product.nodestates()["n1"].get("problems") or [],
        lambda found: any("cannot be written" in one and words in one for one in found),
        40,
    )
    assert metrics(product, "n1")["metalbgp_snapshot_not_written"] == 1


def written_again(product: Product) -> None:
    until(
        "it is written again by itself",
        lambda: metrics(product, "n1"),
        lambda found: found["metalbgp_snapshot_not_written"] == 0,
        60,
    )
    until(
        "and the problem is gone",
        lambda: product.nodestates()["n1"].get("problems") or [],
        lambda found: not any("snapshot.json cannot be written" in one for one in found),
    )
