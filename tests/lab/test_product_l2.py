"""An address in L2 moves within half a second, whoever else is away, and the cluster's objects follow.

In:  a Service over L2 alone; a prober on the nodes' segment that asks every 20 ms (tests/wire/l2_prober.py).
Out: the laws in the tests' names, with their figures. Elsewhere: every other fault on links of its own is
     tests/wire/test_l2_faults.py; bounds on a virtual clock tests/laws/test_l2_faults.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

from lab.shell import inside, run
from tests.lab.product import METALLB, SYSTEM, Product, kill, until

PROBER: Final = Path(__file__).resolve().parents[1] / "wire" / "l2_prober.py"
PARENT: Final = r"-m metalbgp\.speaker$"
REFLEX: Final = r"-m metalbgp\.reflex$"
BUSY: Final = 5  # times the figure that is promised: what a noisy machine may cost
ADDRESS: Final = "10.252.252.200"
ADDRESS6: Final = "fd00:10:252::200"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/l2-{ADDRESS}"


def mac_of(product: Product, host: str) -> str:
    shown = run(*inside(product.lab.settings.namespace(host), ["ip", "-j", "link", "show", "eth0"])).stdout
    return str(json.loads(shown)[0]["address"])


class Probe:
    """Who answered, and when."""

    def __init__(self, product: Product, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._nodes = {mac_of(product, node): node for node in ("n1", "n2", "n3")}
        self.answers: list[tuple[float, str, str]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, kind, address, mac = json.loads(line)
            if kind == "a":
                self.answers.append((at, address, self._nodes.get(mac, mac)))

    def of(self, address: str, since: float = 0.0) -> list[tuple[float, str]]:
        return [(at, node) for at, found, node in list(self.answers) if found == address and at >= since]

    def owner(self, address: str = ADDRESS) -> str:
        """Who answers alone since a tenth of a second."""
        nodes = {node for _, node in self.of(address, time.time() - 0.1)}
        return nodes.pop() if len(nodes) == 1 else ""

    def moved(self, since: float, to: str, address: str = ADDRESS, limit: float = 15) -> float:
        """Wait until that node answers alone; the longest time without an answer from then on."""
        until(f"{to} answers for {address}", lambda: self.owner(address), lambda now: now == to, limit)
        times = [since, *(at for at, _ in self.of(address, since))]
        return max(after - before for before, after in pairwise(times))

    def together(self, since: float, address: str = ADDRESS) -> float:
        """Seconds from the first answer of a new owner to the last one of the old, 0 if they never mixed."""
        found = self.of(address, since)
        first = {node: min(at for at, one in found if one == node) for _, node in found}
        last = {node: max(at for at, one in found if one == node) for _, node in found}
        return max(
            (last[one] - first[other] for one in first for other in first if first[one] < first[other]),
            default=0.0,
        )


@contextmanager
def probing(product: Product, *addresses: str) -> Iterator[Probe]:
    """From a host on the nodes' segment that is no node."""
    station = ("eth0", mac_of(product, "cp"), "10.252.252.10", "fd00:10:252::10")
    command = inside(product.lab.settings.namespace("cp"), [sys.executable, str(PROBER), *station])
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        process.stdin.write(" ".join(addresses or (ADDRESS, ADDRESS6)) + "\n")
        process.stdin.flush()
        yield Probe(product, process)
    finally:
        process.terminate()
        process.wait(10)


def serve(product: Product, **annotations: str) -> tuple[str, ...]:
    """A dual-stack Service over L2; its candidates in order."""
    product.pool("segment", f"{ADDRESS}/32", f"{ADDRESS6}/128")
    product.lab.apply(
        json.dumps(
            {
                "apiVersion": "metallb.io/v1beta1",
                "kind": "L2Advertisement",
                "metadata": {"name": "all", "namespace": SYSTEM, "annotations": annotations},
            }
        )
    )
    product.service("web", dual=True)
    until("both addresses are given", lambda: product.every_ingress("web"), lambda found: len(found) == 2)
    one, other = until("candidates", lambda: candidates(product), lambda found: [*map(len, found)] == [3, 3])
    assert one == other  # one Service lives on one node
    return one


def candidates(product: Product) -> list[tuple[str, ...]]:
    vips = {spec["address"]: spec for spec in product.vips().values()}
    return [tuple(vips[address].get("candidates", ())) for address in (ADDRESS, ADDRESS6)]


def figure(words: str) -> None:
    sys.stdout.write(f"\n{words}\n")


def holder(product: Product) -> str:
    return str((product.find(LEASE) or {}).get("spec", {}).get("holderIdentity", ""))


def said_owner(product: Product) -> set[str]:
    """The node that the ServiceL2Statuses name."""
    items = product.list(f"{METALLB}/servicel2statuses")
    return {
        one["status"].get("node", "") for one in items if one.get("status", {}).get("serviceName") == "web"
    }


def test_a_killed_speaker_is_replaced_at_once_and_takes_its_addresses_back(product: Product) -> None:
    first, second, _ = serve(product)
    with probing(product) as probe:
        for address in (ADDRESS, ADDRESS6):
            until(
                f"{first} answers for {address}", lambda a=address: probe.owner(a), lambda now: now == first
            )
        until("its status says so", lambda: said_owner(product), lambda now: now == {first})
        since = time.time()
        kill(product.pid(product.speaker(first), PARENT))  # pid 1: the container dies with it
        gaps = [probe.moved(since, second, address) for address in (ADDRESS, ADDRESS6)]
        ipv4, ipv6 = (f"{gap * 1000:.0f} ms" for gap in gaps)
        figure(f"speaker killed: {ipv4} (IPv4), {ipv6} (IPv6) without an answer")
        assert max(gaps) <= BUSY * 0.5
        back = time.time()
        gap = probe.moved(back, first, limit=90)
        mixed = probe.together(back)
        figure(f"it is back: {gap * 1000:.0f} ms without an answer, {mixed * 1000:.0f} ms with two")
        assert gap <= BUSY * 0.1 and mixed <= BUSY * 0.1
        until("the status follows", lambda: said_owner(product), lambda now: now == {first}, 30)
    product.all_ready()


def test_a_speaker_that_is_stopped_hands_over_before_it_ends(product: Product) -> None:
    first, second, _ = serve(product)
    with probing(product) as probe:
        until(f"{first} answers", probe.owner, lambda now: now == first)
        since = time.time()
        pod = product.speaker(first)["metadata"]["name"]
        product.lab.kubectl("delete", "pod", "-n", SYSTEM, pod, "--wait=false")
        gap = probe.moved(since, second)
        mixed = probe.together(since)
        figure(f"pod deleted: {gap * 1000:.0f} ms without an answer, {mixed * 1000:.0f} ms with two")
        assert gap <= BUSY * 0.1
        probe.moved(time.time(), first, limit=90)
    product.all_ready()


def test_controller_and_api_server_are_not_needed_for_a_takeover(product: Product) -> None:
    first, second, third = serve(product)
    with probing(product) as probe:
        until(f"{first} answers", probe.owner, lambda now: now == first)
        reflexes = {node: product.pid(product.speaker(node), REFLEX) for node in (first, second)}
        with product.lab.without("apiserver"):
            since = time.time()
            kill(reflexes[first], 19)  # SIGSTOP: nobody restarts what has not died
            gap = probe.moved(since, second)
            figure(f"stopped, without an API server: {gap * 1000:.0f} ms without an answer")
            assert gap <= BUSY * 0.5
            since = time.time()
            kill(reflexes[second], 19)
            gap = probe.moved(since, third)
            figure(f"the next one as well, the last asks first: {gap * 1000:.0f} ms")
            assert gap <= BUSY * 0.5
            since = time.time()
            kill(reflexes[first], 18)  # SIGCONT
            kill(reflexes[second], 18)
            gap = probe.moved(since, first)
            assert gap <= BUSY * 0.1 and probe.together(since) <= BUSY * 0.1
    product.all_ready()


def test_a_fenced_address_is_answered_by_the_holder_of_its_lease_alone(product: Product) -> None:
    product.lab.apply((Path(__file__).resolve().parents[2] / "k8s" / "fencing.yaml").read_text())
    try:
        first, second, _ = serve(product, **{"metalbgp.io/fencing": "lease"})
        with probing(product, ADDRESS) as probe:
            until(f"{first} answers", probe.owner, lambda now: now == first)
            until("it holds the Lease", lambda: holder(product), lambda now: now == first)
            since = time.time()
            kill(product.pid(product.speaker(first), REFLEX), 19)
            gap = probe.moved(since, second, limit=40)
            figure(f"fenced: {gap:.1f} s without an answer")
            assert holder(product) == second
            since = time.time()
            kill(product.pid(product.speaker(first), REFLEX), 18)
            probe.moved(since, first, limit=40)
            assert probe.together(since) <= BUSY * 0.1
    finally:
        product.lab.kubectl("delete", "-f", "k8s/fencing.yaml", "--ignore-not-found", check=False)
    product.all_ready()
