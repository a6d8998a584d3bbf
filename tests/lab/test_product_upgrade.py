"""The first release is rolled to the present version and back: no router loses a route, no visitor notices.

In:  v0.1.0 of this clone, its image and manifest; requests all the while, each on a new connection; peers
     with graceful restart. Both mixtures are made on purpose: new speakers under an old controller and with
     the old manifest's rights, and old speakers under a new controller.
Out: the law in the test's name. Elsewhere: what an operator types is docs/upgrade.md; figures of one rolling
     restart are bench/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from bench.visits import visiting
from lab.images import PRODUCT
from lab.settings import CLIENT, REPOSITORY
from lab.versions import UnknownVersion, Version, find
from tests.lab.history import History, history
from tests.lab.product import (
    MANIFEST,
    SERVICES,
    SPEAKER_CONFIGURATIONS,
    SYSTEM,
    VIPS,
    Product,
    until,
)

RELEASE: Final = "v0.1.0", "4becbe6c3b5eb19d772665e7fc45baef9dd5ce3f"
ROLLS: Final = 3  # there, back, and there again
ALONE: Final = ("n1", "n2", "n3")  # a Service of each node's own: one announcer, so nobody else covers for it


@pytest.mark.timeout(600)
def test_a_release_is_rolled_to_the_present_and_back_and_no_request_fails(product: Product) -> None:
    try:
        release = find(*RELEASE)
    except UnknownVersion as missing:
        pytest.skip(str(missing))
    product.lab.push_version(release)
    with replaced_by(product, release):
        product.bgp(enableGracefulRestart=True)
        web, alone = services(product)
        with (
            history(product, VIPS, SERVICES, SPEAKER_CONFIGURATIONS) as seen,
            product.never_lost(web, *alone.values()),
            visiting(product.lab.settings.namespace(CLIENT.name), web) as visits,
        ):
            visits.wait(50)
            forward(product)
            back(product, release)
            forward(product)
            visits.wait(50)
    found = visits.report
    sys.stdout.write(f"\nrolled {ROLLS} times: {found.asked} requests, {found.failed}\n")
    assert found.asked > 1500
    assert found.failed == []
    kept(seen, {f"Service/default/alone-{node}": address for node, address in alone.items()})
    kept(seen, {"Service/default/visited": web})


@contextmanager
def replaced_by(product: Product, release: Version) -> Iterator[None]:
    """The release where the present version was; afterwards the present one, whatever happened."""
    product.lab.kubectl("delete", "-f", str(MANIFEST), "--ignore-not-found", check=False)
    for component in ("speaker", "controller"):
        until(f"no {component} is left", partial(product.list_pods, component), lambda pods: not pods, 60)
    try:
        install(product, release.crds, release.manifest)
        runs(product, release.image)
        product.all_ready(60)
        yield
    finally:
        install(product, REPOSITORY / "k8s" / "crds.yaml", MANIFEST)
        runs(product, PRODUCT)
        product.all_ready(90)


def services(product: Product) -> tuple[str, dict[str, str]]:
    """One with real pods that is visited, and one a node, announced by it alone."""
    for node in ALONE:
        product.service(f"alone-{node}", policy="Local", on=[node])
    product.service("changes", on=[])
    web = product.visited()
    alone = {node: product.address(f"alone-{node}") for node in ALONE}
    for node, address in alone.items():
        product.routed(address, on=[node])
    return web, alone


def install(product: Product, crds: Path, manifest: Path) -> None:
    """As docs/upgrade.md says."""
    product.lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crds))
    product.lab.apply(manifest)


def forward(product: Product) -> None:
    """New speakers under the old controller and with its manifest's rights, then all of it."""
    product.lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", f"{REPOSITORY}/k8s/crds.yaml")
    speakers(product, MANIFEST)
    works(product)
    product.lab.apply(MANIFEST)
    runs(product, PRODUCT)
    works(product)


def back(product: Product, release: Version) -> None:
    """Old speakers under the new controller, then all of it."""
    speakers(product, release.manifest)
    works(product)
    install(product, release.crds, release.manifest)
    runs(product, release.image)
    works(product)


def speakers(product: Product, manifest: Path) -> None:
    """The DaemonSet of a manifest, and nothing else of it."""
    parts = manifest.read_text().split("\n---\n")
    mine = [part for part in parts if "\nkind: DaemonSet\n" in f"\n{part}"]
    assert len(mine) == 1
    product.lab.apply(mine[0])
    rolled(product, "daemonset/speaker")


def runs(product: Product, image: str) -> None:
    """Every pod is of that image and ready."""
    for what in ("daemonset/speaker", "deployment/controller"):
        rolled(product, what)
    for component in ("speaker", "controller"):
        pods = product.pods(component).values()
        found = {one["image"] for pod in pods for one in pod["spec"]["containers"]}
        assert found == {f"docker.io/{image}"}


def rolled(product: Product, what: str) -> None:
    product.lab.kubectl("-n", SYSTEM, "rollout", "status", what, "--timeout=150s", timeout=160)


def works(product: Product) -> None:
    """Who decides and who announces understand each other: a Service begins and ends to be served, and every
    node says what it holds."""
    until("a controller leads", product.leader)
    product.endpoints("changes", ["n1"])
    changes = product.address("changes")
    product.routed(changes, limit=60)
    names = {node: product.speaker(node)["metadata"]["name"] for node in ALONE}
    until(
        "every node's state is its present speaker's, and all routes are confirmed",
        lambda: {
            node: (state.get("pod"), state.get("routesWanted"), state.get("routesConfirmed"))
            for node, state in product.nodestates().items()
        },
        lambda seen: seen == {node: (name, 3, 3) for node, name in names.items()},
        30,
    )
    product.endpoints("changes", [])
    product.routed(changes, on=(), limit=30)


def kept(seen: History, addresses: dict[str, str]) -> None:
    """No address changed for a moment, and no object went to and fro: a version of ours may write each anew
    once, when it comes to lead."""
    assert not [key for key in seen.deleted if key.startswith(("VirtualIP/", "Service/"))]
    for key, address in addresses.items():
        for version in seen.versions(key):
            ingress = version["status"]["loadBalancer"].get("ingress") or [{}]
            assert [one.get("ip") for one in ingress] == [address]
        assert seen.writes.get(f"VirtualIP/{address}", 0) <= ROLLS, seen.versions(f"VirtualIP/{address}")
        assert seen.writes.get(key, 0) <= ROLLS, seen.versions(key)
