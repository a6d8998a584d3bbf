"""python -m bench faults: what visitors lose when a part of a speaker goes, and how long nobody decides.

In:  a lab with an implementation on it (metalbgp, or MetalLB's native mode, which has no graceful restart).
Out: a table of requests that failed and of connections that were lost, a cell a fault; seconds until a
     Service gets its address after the leader went. 1 if an aim is missed.
Elsewhere: the visitors are visits.py; the same as laws are tests/lab/test_product_faults.py, _upgrade.py and
     _ha.py; Layer 2 is l2.py. The lab's router has no BFD here.

An announcer is a node that the router sends packets to: the advertisement's nodeSelectors name one or two of
three. The pods that answer run on all nodes and nothing happens to them.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from rich.console import Console
from rich.table import Table

from bench import aims, noise
from bench.aims import Line
from bench.api import Api
from bench.place import of_lab
from bench.visits import Report, visiting
from bench.watch import Addresses
from lab.cluster import Lab
from lab.settings import CLIENT, REPOSITORY
from lab.shell import LabError
from tests.lab.product import SERVICES, SYSTEM, WALKTHROUGH, Product, kill, until

REQUESTS: Final = 1500
HELD: Final = 100
BEFORE: Final = 200  # requests before the fault, and at least so many after it
NODE: Final = "n1"  # what goes is its
ANNOUNCERS: Final = (("n1", "n2"), ("n1",))
SPEAKER: Final = {
    "agent": r"-m metalbgp\.speaker\.agent",
    "ExaBGP": r"launch\.py server",
    "it": r"^/speaker ",
}
CONTROLLER: Final = r"-m metalbgp\.controller$"
TAKEOVERS: Final = 5
RENEW: Final = 10.0  # seconds, of the controllers' Lease
Fault = Callable[[Product], None]


def main(console: Console, say: Callable[[str], None], lab: str, implementation: str) -> int:
    product = Product(Lab.attach(lab))
    ours = implementation == "metalbgp"
    faults = OURS if ours else THEIRS
    with suppress(LabError):
        command(product, "drain", "--help")
        faults = {**faults, "node drained": drained} if ours else faults
    console.print(f"  before {noise.measure()}", highlight=False)
    good = True
    with visited(product, ours=ours) as address:
        table = Table("fault", "announcers", "graceful restart", "failed", "slowest", f"lost of {HELD}")
        for graceful in (True, False) if ours else (False,):
            product.peer(enableGracefulRestart=True) if graceful else product.peer()
            for announcers in ANNOUNCERS:
                for name, fault in faults.items():
                    word = "on" if graceful else "off"
                    say(f"{name}, {len(announcers)} announcers, graceful restart {word}")
                    prepared(product, address, announcers, graceful=graceful)
                    seen = suffered(product, address, announcers, fault)
                    good = good and not (graceful and seen.failed)
                    table.add_row(name, str(len(announcers)), word, *cells(seen))
        console.print(table)
    if ours:
        say("takeover")
        good = (
            aims.show(console, "controllers: leader gone → a new Service's address", takeovers(product))
            and good
        )
    console.print(f"  after  {noise.measure()}", highlight=False)
    return 0 if good else 1


def cells(seen: Report) -> tuple[str, str, str]:
    return f"{len(seen.failed)} of {seen.asked:,}", f"{seen.slowest:.2f} s", str(len(seen.lost))


# ---------------------------------------------------------------------- visitors


@contextmanager
def visited(product: Product, *, ours: bool) -> Iterator[str]:
    """A Service with the walkthrough's three pods; its address. Another's lab is taken down after it."""
    if ours:
        product.clean()
    product.lab.apply(WALKTHROUGH / "app.yaml")
    product.lab.kubectl("rollout", "status", "deployment/nginx-app", "--timeout=90s")
    product.bgp()
    spec = {"type": "LoadBalancer", "selector": {"app": "my-cool-application"}, "ports": [{"port": 80}]}
    product.create(SERVICES, {"metadata": {"name": "visited"}, "spec": spec})
    try:
        yield product.address("visited", 30)
    finally:
        if ours:
            product.clean()


def prepared(product: Product, address: str, announcers: tuple[str, ...], *, graceful: bool) -> None:
    """Those announce it and no others, on sessions that keep routes or do not."""
    wanted = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(announcers)}
    product.advertise(nodeSelectors=[{"matchExpressions": [wanted]}])
    product.routed(address, on=announcers, limit=60)
    product.served(address)
    both = "advertisedAndReceived"
    until(
        f"graceful restart is {'' if graceful else 'not '}negotiated",
        product.sessions,
        lambda seen: (
            len(seen) == 3
            and all(
                (s["neighborCapabilities"].get("gracefulRestart") == both) == graceful for s in seen.values()
            )
        ),
        60,
    )


def suffered(product: Product, address: str, announcers: tuple[str, ...], fault: Fault) -> Report:
    with visiting(product.lab.settings.namespace(CLIENT.name), address, held=HELD) as visits:
        visits.wait(BEFORE)
        fault(product)
        product.routed(address, on=announcers, limit=120)
        visits.wait(max(BEFORE, REQUESTS - visits.report.asked))
    return visits.report


# ---------------------------------------------------------------------- faults


def killed(part: str) -> Fault:
    """kill -9, and its successor runs."""

    def do(product: Product) -> None:
        pod, words = product.speaker(NODE), SPEAKER[part]
        pid = product.pid(pod, words)
        kill(pid)
        until(f"another {part}", lambda: product.pid(pod, words), lambda new: new not in (0, pid), 60)

    return do


def replaced(product: Product) -> None:
    """The pod, as an eviction does."""
    product.lab.kubectl("delete", "pod", "-n", SYSTEM, product.speaker(NODE)["metadata"]["name"])
    rolled(product, "daemonset/speaker")


def restarted(product: Product) -> None:
    """All pods, one after the other, as an upgrade does."""
    product.lab.kubectl("-n", SYSTEM, "rollout", "restart", "daemonset/speaker")
    rolled(product, "daemonset/speaker")


def drained(product: Product) -> None:
    """Until it announces nothing, and back."""
    command(product, "drain", NODE, "--reason", "bench")
    address = product.address("visited")
    with suppress(AssertionError):  # the last next hop stays, so a single announcer goes on
        until("the node is drained", lambda: NODE not in product.hops(address), limit=45)
    command(product, "undrain", NODE)


def command(product: Product, *words: str) -> None:
    environment = {**os.environ, "KUBECONFIG": str(product.lab.kubeconfig)}
    said = subprocess.run(
        [sys.executable, "-m", "metalbgp.cli", *words],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        text=True,
    )
    if said.returncode:
        raise LabError(f"metalbgp {' '.join(words)}: {said.stderr or said.stdout}")


def rolled(product: Product, what: str) -> None:
    product.lab.kubectl("-n", SYSTEM, "rollout", "status", what, "--timeout=180s", timeout=190)


OURS: Final[dict[str, Fault]] = {
    "agent killed": killed("agent"),
    "ExaBGP killed": killed("ExaBGP"),
    "pod replaced": replaced,
    "all pods, one by one": restarted,
}
THEIRS: Final[dict[str, Fault]] = {
    "speaker killed": killed("it"),
    "pod replaced": replaced,
    "all pods, one by one": restarted,
}


# ---------------------------------------------------------------------- controllers


def takeovers(product: Product) -> list[Line]:
    product.pool()
    lines = []
    for word, number, aim in (("stopped", signal.SIGTERM, 1.0), ("killed", signal.SIGKILL, 2 * RENEW)):
        took = [takeover(product, f"{word}-{turn}", number) for turn in range(TAKEOVERS)]
        lines.append(Line(f"{word}: p50 of {TAKEOVERS}", statistics.median(took)))
        lines.append(Line(f"{word}: longest", max(took), aim=aim))
    product.clean()
    return lines


def takeover(product: Product, name: str, number: signal.Signals) -> float:
    """From the signal to the address of a Service that was made then."""
    rolled(product, "deployment/controller")
    until("both are ready", lambda: product.ready("controller"), lambda ok: len(ok) == 2, 60)
    leader = until("one leads", product.leader)
    place = of_lab(product.lab.settings.name)
    with Addresses(Api(place.kubeconfig, place.api), "default") as seen:
        at = time.time()
        kill(product.pid(product.pods("controller")[leader], CONTROLLER), number)
        product.service(name)
        if not seen.wait({name}, 60):
            raise LabError(f"Service {name} got no address within a minute after the leader was {name}")
    # A container that ends often is started later and later; a new pod begins anew.
    product.lab.kubectl("delete", "pod", "-n", SYSTEM, leader)
    return seen.addresses[name][0] - at
