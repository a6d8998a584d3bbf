"""Whatever ends a leader, the other replica decides: in time, once, and without touching what stands.

In:  two controllers; the one that leads is killed, stopped, paused, or cut off from the API server, each in
     the middle of a burst of Services.
Out: the law in the test's name. Elsewhere: two that are both sure to lead are
     tests/laws_api/test_two_leaders.py, hundreds of pauses test_paused_leader.py there, figures in bench/.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Final

import pytest

from lab.shell import run
from tests.lab.history import History, history
from tests.lab.product import SERVICES, SPEAKER_CONFIGURATIONS, SYSTEM, VIPS, Product, alive, until

CONTROLLER: Final = r"-m metalbgp\.controller$"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/metalbgp-controller"
RENEW: Final = 10.0  # seconds; a leader that could not renew for so long writes nothing more
BURST: Final = 20
CUT: Final = "table ip cut { chain out { type filter hook output priority 0; ip daddr 10.96.0.1 drop; }; }"

Fault = Callable[[int], AbstractContextManager[None]]


@contextmanager
def killed(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGKILL)
    yield


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGTERM)
    yield


@contextmanager
def paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def cut_off(pid: int) -> Iterator[None]:
    """It still hears what the API server sends, and what it says itself arrives when the wire is mended."""
    inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "--", "nft")
    run(*inside, CUT)
    try:
        yield
    finally:
        run(*inside, "delete", "table", "ip", "cut")


@pytest.mark.parametrize(
    ("fault", "limit"),
    # What a clean stop takes is asserted at five times the figure; the others have the Lease's own slack.
    [(killed, 2 * RENEW), (stopped, 5 * 1.0), (paused, 2 * RENEW), (cut_off, 2 * RENEW)],
    ids=["killed", "stopped", "paused", "cut-off"],
)
def test_whatever_ends_a_leader_the_other_takes_over_in_time_and_no_object_goes_to_and_fro(
    product: Product, fault: Fault, limit: float
) -> None:
    product.bgp()
    standing = services(product, "standing", 5)
    for address in standing.values():
        product.routed(address)
    until("both replicas are ready", lambda: product.ready("controller"), lambda names: len(names) == 2, 30)
    before = until("a controller leads", lambda: lease(product), lambda found: found["holderIdentity"])
    leader = product.leader()
    pid = product.pid(product.pods("controller")[leader], CONTROLLER)
    assert pid
    with (
        history(product, VIPS, SERVICES, SPEAKER_CONFIGURATIONS) as seen,
        product.never_lost(*standing.values()),
    ):
        with ThreadPoolExecutor(4) as pool:
            early = pool.submit(create, product, "early", BURST)
            began = time.time()
            with fault(pid):
                early.result()
                late = create(product, "late", BURST)
                shown = until(
                    "every Service has an address",
                    lambda: ingresses(product, (*early.result(), *late)),
                    lambda found: all(found.values()),
                    4 * RENEW,
                )
        if not alive(pid):  # a container that ended is started later each time; a new pod begins anew
            product.lab.kubectl("delete", "pod", "-n", SYSTEM, leader, "--wait=false")
        after = create(product, "after", 3)  # the one that had led is back, and must know that it does not
        shown |= until(
            "the new ones have theirs", lambda: ingresses(product, after), lambda found: all(found.values())
        )
        until("both replicas are ready", lambda: product.ready("controller"), lambda ok: len(ok) == 2, 60)
        claims_are(product, standing | shown)
    now = lease(product)
    assert decided(seen, shown, datetime.fromisoformat(now["acquireTime"]).timestamp()) - began <= limit
    assert now["leaseTransitions"] == before["leaseTransitions"] + 1
    assert now["holderIdentity"] != before["holderIdentity"]
    steady(seen, standing, shown)


def decided(seen: History, shown: dict[str, str], since: float) -> float:
    """The moment of the first address that the new leader gave: what the old one gave was earlier."""
    moments = [
        version["seen"]
        for name in shown
        for version in seen.versions(f"Service/default/{name}")
        if version["status"]["loadBalancer"].get("ingress")
    ]
    return min(moment for moment in moments if moment >= since)


def services(product: Product, name: str, count: int) -> dict[str, str]:
    return {one: product.address(one, 30) for one in create(product, name, count)}


def create(product: Product, name: str, count: int) -> tuple[str, ...]:
    names = tuple(f"{name}-{number}" for number in range(count))
    for one in names:
        product.service(one)
    return names


def ingresses(product: Product, names: tuple[str, ...]) -> dict[str, str]:
    """One request for all, because the burst has many."""
    return {
        item["metadata"]["name"]: (item["status"]["loadBalancer"].get("ingress") or [{}])[0].get("ip", "")
        for item in product.list(SERVICES)
        if item["metadata"]["name"] in names
    }


def lease(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = product.api.get(LEASE)["spec"]
    return {"holderIdentity": "", **found}


def claims_are(product: Product, shown: dict[str, str]) -> None:
    """Each address once, each with the one Service that shows it, and no claim beside those."""
    assert len(set(shown.values())) == len(shown)
    until(
        "the claims are those of the Services",
        lambda: {address: set(spec["holders"]) for address, spec in product.vips().items()},
        lambda holders: holders == {address: {f"default/{name}"} for name, address in shown.items()},
    )
    until(
        "the router has all of them",
        product.routes,
        lambda routes: all(len(routes.get(address, ())) == 3 for address in shown.values()),
        30,
    )


def steady(seen: History, standing: dict[str, str], shown: dict[str, str]) -> None:
    """What stood was not written; what is new got one address, and it never changed."""
    assert seen.deleted == []
    stood = {f"Service/default/{name}" for name in standing}
    stood |= {f"VirtualIP/{address}" for address in standing.values()}
    assert not stood & seen.writes.keys(), {key: seen.versions(key) for key in stood & seen.writes.keys()}
    assert not seen.of_kind("SpeakerConfiguration")
    for name, address in shown.items():
        given = [
            one["ip"]
            for version in seen.versions(f"Service/default/{name}")
            for one in version["status"]["loadBalancer"].get("ingress") or ()
        ]
        assert set(given) == {address}
        # Claimed, and its endpoint told; a leader that ends between the two leaves the second to the next.
        assert seen.writes[f"VirtualIP/{address}"] <= 3, seen.versions(f"VirtualIP/{address}")
