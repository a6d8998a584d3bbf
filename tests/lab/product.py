"""The product on a lab, as the tests on it hold it: objects that a user writes, and what came of them.

In:  a Lab with k8s/metalbgp.yaml applied.
Out: `Product`: bare Services with hand-written EndpointSlices, pools, peers, advertisements; the router's
     kernel routes, VirtualIPs, NodeStates, events; the processes of a pod; `until`, which waits for a
     condition and says what was seen instead.
Elsewhere: the lab itself is lab/cluster.py; who makes and cleans it is conftest.py.
One file because every law on the lab is told in these verbs, and one hand is what makes them read alike.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.visits import visiting
from lab.cluster import Lab
from lab.settings import CLIENT, REPOSITORY, ROUTER
from lab.shell import NETNS, LabError, inside

T = TypeVar("T")
Strings = list[str]  # inside of Product, `list` is its verb
Heard = list[tuple[float, str]]  # seconds since 1970, a line of `ip monitor`

SYSTEM: Final = "metallb-system"
MANIFEST: Final = REPOSITORY / "k8s" / "metalbgp.yaml"
WALKTHROUGH: Final = REPOSITORY / "docs" / "walkthrough"
SERVICES: Final = "/api/v1/namespaces/default/services"
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
METALLB: Final = f"/apis/metallb.io/v1beta1/namespaces/{SYSTEM}"
PEERS: Final = f"/apis/metallb.io/v1beta2/namespaces/{SYSTEM}/bgppeers"
POOLS: Final = f"{METALLB}/ipaddresspools"
OURS: Final = "/apis/metalbgp.io/v1alpha1"
VIPS: Final = f"{OURS}/virtualips"
SPEAKER_CONFIGURATIONS: Final = f"{OURS}/namespaces/{SYSTEM}/speakerconfigurations"
STATES: Final = f"{OURS}/namespaces/{SYSTEM}/nodestates"
PODS: Final = f"/api/v1/namespaces/{SYSTEM}/pods"
WEBHOOKS: Final = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SECRETS: Final = f"/api/v1/namespaces/{SYSTEM}/secrets"
# The order matters to nobody; this one is a user's who cleans up from the outside in.
CONFIGURATION: Final = (
    PEERS,
    f"{METALLB}/bgpadvertisements",
    f"{METALLB}/l2advertisements",
    POOLS,
    f"{METALLB}/communities",
    f"{METALLB}/bfdprofiles",
    f"/apis/metalbgp.io/v1alpha1/namespaces/{SYSTEM}/speakerorders",
)
RANGE: Final = "198.51.100.0/24"  # outside of every segment of the lab: only a route leads there
TICK: Final = 0.1  # seconds between two looks


def until(what: str, probe: Callable[[], T], good: Callable[[T], Any] = bool, limit: float = 20) -> T:
    """Look until `good`; the failure says what was wanted and what was seen last."""
    start = time.monotonic()
    seen: Any = "nothing"
    while True:
        try:
            found = seen = probe()
            if good(found):
                return found
        except (OSError, LabError) as error:  # the API server or the router is away
            seen = error
        if time.monotonic() - start > limit:
            raise AssertionError(f"{what}: not so after {limit:g} s; seen last: {seen!r}")
        threading.Event().wait(TICK)


class Product:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.api = lab.api

    # ------------------------------------------------------------------ objects

    def list(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.api.get(path)["items"]
        return items

    def find(self, path: str) -> dict[str, Any] | None:
        """One object, None if there is none."""
        try:
            found: dict[str, Any] = self.api.get(path)
            return found
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST; an API server that just came back says 429 or 403 until it knows its own rules."""
        refusal = "no answer"

        def made() -> dict[str, Any] | None:
            nonlocal refusal
            try:
                answer: dict[str, Any] = self.api.request("POST", path, body)
                return answer
            except urllib.error.HTTPError as error:
                refusal = error.read().decode()
                if error.code in (400, 409, 422):
                    raise AssertionError(f"POST {path}: {refusal}") from error
                return None

        return until(f"POST {path} ({refusal})", made, limit=30) or {}

    def remove(self, path: str) -> None:
        try:
            self.api.request("DELETE", path)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise

    def patch(self, kind: str, name: str, patch: dict[str, Any], namespace: str = "default") -> None:
        self.lab.kubectl("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(patch))

    def service(
        self,
        name: str,
        *,
        pool: str = "",
        policy: str = "Cluster",
        address: str = "",
        on: Sequence[str] | None = ("n1",),
        dual: bool = False,
    ) -> str:
        """A LoadBalancer without pods; `on`: nodes with a made-up endpoint (None: no slice at all)."""
        annotations = {"metallb.io/address-pool": pool} if pool else {}
        if address:
            annotations["metallb.io/loadBalancerIPs"] = address
        spec: dict[str, Any] = {
            "type": "LoadBalancer",
            "externalTrafficPolicy": policy,
            "ports": [{"port": 80}],
        }
        if dual:
            spec |= {"ipFamilyPolicy": "RequireDualStack"}
        made = self.create(
            SERVICES,
            {"metadata": {"name": name, "annotations": annotations}, "spec": spec},
        )
        if on is not None:
            self.endpoints(name, on)
        return str(made["metadata"]["uid"])

    def endpoints(self, name: str, on: Sequence[str]) -> None:
        """The Service's ready endpoints are on these nodes from now on."""
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{name}-hand", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": 80, "protocol": "TCP"}],
            "endpoints": [
                {
                    "addresses": [f"10.244.{node[1:]}.{250 - at}"],
                    "nodeName": node,
                    "conditions": {"ready": True},
                }
                for at, node in enumerate(on)  # a node may stand there more than once
            ],
        }
        try:
            self.api.request("PUT", f"{SLICES}/{name}-hand", body)
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            self.create(SLICES, body)

    def pool(self, name: str = "pool", *ranges: str) -> None:
        self.put(POOLS, "IPAddressPool", name, {"addresses": list(ranges or (RANGE,))})

    def peer(self, name: str = "tor", **spec: Any) -> None:
        wanted = {"myASN": 64513, "peerASN": 64512, "peerAddress": ROUTER.address, **spec}
        self.put(PEERS, "BGPPeer", name, wanted)

    def advertise(self, name: str = "all", **spec: Any) -> None:
        self.put(f"{METALLB}/bgpadvertisements", "BGPAdvertisement", name, spec)

    def put(self, path: str, kind: str, name: str, spec: dict[str, Any]) -> None:
        """`kubectl apply` of one configuration object."""
        version = path.split("/apis/")[1].rsplit("/namespaces", 1)[0]
        about: dict[str, Any] = {"name": name}
        body = {"apiVersion": version, "kind": kind, "metadata": about, "spec": spec}
        for tries_left in reversed(range(10)):
            if (found := self.find(f"{path}/{name}")) is None:
                self.create(path, body)
                return
            about["resourceVersion"] = found["metadata"]["resourceVersion"]
            try:
                self.api.request("PUT", f"{path}/{name}", body)
                return
            except urllib.error.HTTPError as error:
                # Its status was written meanwhile; kubectl tries again, too.
                if error.code != 409 or not tries_left:
                    raise

    def bgp(self, **peer: Any) -> None:
        """The usual three: a pool, the router as peer, an advertisement of everything."""
        self.pool()
        self.peer(**peer)
        self.advertise()

    # ------------------------------------------------------------------ what came of it

    def address(self, service: str, limit: float = 15) -> str:
        """The Service's address, once its status has one."""
        return until(f"Service {service} has an address", lambda: self.ingress(service), limit=limit)

    def announced(self, name: str) -> str:
        """The address of a new Service, once the router sends packets for it to every node."""
        self.service(name)
        address = self.address(name)
        self.routed(address)
        return address

    def ingress(self, service: str) -> str:
        found = self.api.get(f"{SERVICES}/{service}")["status"]["loadBalancer"].get("ingress") or [{}]
        return str(found[0].get("ip", ""))

    def vips(self) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["name"]: item["spec"] for item in self.list(VIPS)}

    def every_ingress(self, service: str) -> Strings:
        found = self.api.get(f"{SERVICES}/{service}")["status"]["loadBalancer"].get("ingress") or ()
        return [str(one.get("ip", "")) for one in found]

    def events(self, kind: str, name: str, reason: str = "") -> Strings:
        """Messages of Warning and Normal events on an object, in any namespace."""
        fields = f"involvedObject.kind={kind},involvedObject.name={name}"
        items = self.list(f"/api/v1/events?fieldSelector={fields}")
        return [item["message"] for item in items if not reason or item["reason"] == reason]

    def configuration_state(self) -> dict[str, Any]:
        found = self.find(f"{METALLB}/configurationstates/controller")
        status: dict[str, Any] = (found or {}).get("status", {})
        return status

    def routes(self) -> dict[str, set[str]]:
        """What the router's kernel holds from BGP: address → next hops."""
        text = self.lab.router_exec(["ip", "-j", "route", "show", "proto", "bgp"]).stdout
        return {
            route["dst"]: {hop["gateway"] for hop in route.get("nexthops", [route]) if "gateway" in hop}
            for route in json.loads(text or "[]")
        }

    def hops(self, address: str) -> set[str]:
        """Names of the nodes that the router sends packets for the address to."""
        nodes = {node.address: node.name for node in self.lab.nodes}
        return {nodes.get(hop, hop) for hop in self.routes().get(address, ())}

    def routed(self, address: str, on: Sequence[str] = ("n1", "n2", "n3"), limit: float = 20) -> None:
        """Until the router sends packets for the address to exactly these nodes."""
        where = ", ".join(on) or "no node"
        until(f"{address} leads to {where}", lambda: self.hops(address), lambda h: h == set(on), limit)

    def visited(self) -> str:
        """The address of a Service in front of the walkthrough's three Pods, that answers whoever asks.

        Its endpoints are found by Kubernetes, whose controllers and kube-proxies look again up to a minute
        after the API server was away."""
        self.lab.apply(WALKTHROUGH / "app.yaml")
        spec = {"type": "LoadBalancer", "selector": {"app": "my-cool-application"}, "ports": [{"port": 80}]}
        self.create(SERVICES, {"metadata": {"name": "visited"}, "spec": spec})
        self.lab.kubectl("rollout", "status", "deployment/nginx-app", "--timeout=90s")
        selected = f"{SLICES}?labelSelector=kubernetes.io/service-name=visited"
        until(
            "Kubernetes finds the Pods of the Service",
            lambda: [end for one in self.list(selected) for end in one["endpoints"] or ()],
            lambda ends: len(ends) == 3 and all(end["conditions"].get("ready") for end in ends),
            limit=120,
        )
        address = self.address("visited")
        self.routed(address, limit=30)
        self.served(address)
        return address

    def served(self, address: str) -> None:
        """Until every request of a second is answered: kube-proxy on each node knows every Pod.

        Nothing is sent before each knows the address: its node would send the packet back to the router,
        round and round, and for two minutes conntrack would do so with every connection from the same port,
        whatever kube-proxy learns meanwhile ("host unreachable"; docs/upgrade.md)."""
        for node in self.lab.nodes:
            until(
                f"kube-proxy of {node.name} knows {address}",
                partial(
                    self.lab.node_exec, node.name, ["nft", "list", "map", "ip", "kube-proxy", "service-ips"]
                ),
                lambda done: about(done.stdout, [address]),
                limit=120,
            )

        def all_answered() -> bool:
            with visiting(self.lab.settings.namespace(CLIENT.name), address) as visits:
                visits.wait(90)
            return not visits.report.failed

        until(f"{address} answers whoever asks", all_answered, limit=60)

    def sessions(self) -> dict[str, dict[str, Any]]:
        """The router's side of each established session, by the node's name."""
        nodes = {node.address: node.name for node in self.lab.nodes}
        found = json.loads(self.lab.vtysh("show bgp neighbors json") or "{}")
        return {
            nodes[peer]: facts
            for peer, facts in found.items()
            if peer in nodes and facts.get("bgpState") == "Established"
        }

    def established(self, limit: float = 30) -> dict[str, dict[str, Any]]:
        return until("three sessions are up", self.sessions, lambda s: len(s) == 3, limit)

    def connections(self) -> dict[str, int]:
        """Each node's end of its established TCP connection: another number is another session."""
        return {node: facts["portForeign"] for node, facts in self.sessions().items()}

    def nodestates(self) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["name"]: item.get("status", {}) for item in self.list(STATES)}

    def session(self, node: str, peer: str) -> dict[str, Any]:
        """The session as the node itself reports it."""
        rows = self.nodestates().get(node, {}).get("sessions") or []
        return next((row for row in rows if row["peer"] == peer), {})

    @contextmanager
    def never_lost(self, *addresses: str) -> Iterator[Heard]:
        """The router's kernel has a route to each address the whole time: it is listened to, not polled.

        What is heard, and when, is there for whoever asks when a route changed."""
        monitor = subprocess.Popen(
            inside(self.lab.settings.namespace(ROUTER.name), ["ip", "-o", "monitor", "route"]),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert monitor.stdout is not None
        heard: Heard = []
        reader = threading.Thread(
            target=lambda: heard.extend((time.time(), line) for line in monitor.stdout or ()), daemon=True
        )
        reader.start()
        until("the listener hears", lambda: self._hears(heard))
        try:
            yield heard
        finally:
            monitor.terminate()
            monitor.wait()
            reader.join()
        lost = [line.strip() for _, line in heard if line.startswith("Deleted") and about(line, addresses)]
        assert not lost, f"the router lost a route that should have stayed: {lost}"
        assert set(addresses) <= self.routes().keys()

    def _hears(self, heard: Heard) -> bool:
        """A route of our own shows that the listener hears; only a change is told, so it goes again."""
        mark = "192.0.2.254"
        for verb in ("add", "del"):
            self.lab.router_exec(["ip", "route", verb, "blackhole", mark])
        return any(mark in line for _, line in heard)

    # ------------------------------------------------------------------ pods and their processes

    def pods(self, component: str) -> dict[str, dict[str, Any]]:
        """Pods of a component that are not being deleted."""
        items = self.list(f"{PODS}?labelSelector=component={component}")
        return {
            item["metadata"]["name"]: item for item in items if "deletionTimestamp" not in item["metadata"]
        }

    def list_pods(self, component: str) -> Strings:
        """Also those that are being deleted."""
        items = self.list(f"{PODS}?labelSelector=component={component}")
        return [item["metadata"]["name"] for item in items]

    def speaker(self, node: str) -> dict[str, Any]:
        return next(pod for pod in self.pods("speaker").values() if pod["spec"].get("nodeName") == node)

    def ready(self, component: str) -> set[str]:
        return {
            name
            for name, pod in self.pods(component).items()
            for condition in pod.get("status", {}).get("conditions", ())
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def all_ready(self, limit: float = 60) -> None:
        for component, count in (("controller", 2), ("speaker", 3)):
            until(
                f"{count} {component} pods are Ready",
                partial(self.ready, component),
                partial(_as_many_as, count),
                limit,
            )

    def pid(self, pod: dict[str, Any], words: str) -> int:
        """The process of a pod whose command line ends in or holds `words`; 0 if there is none now."""
        found = [pid for pid, line in processes_of(pod).items() if re.search(words, line)]
        return min(found, default=0)

    def leader(self) -> str:
        """The controller pod that holds the Lease; "" for none."""
        lease = self.find(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/metalbgp-controller")
        return str(((lease or {}).get("spec", {}).get("holderIdentity") or "").rpartition("_")[0])

    @contextmanager
    def without_controller(self) -> Iterator[None]:
        """A stretch of time in which nobody decides."""
        scale = ("scale", "-n", SYSTEM, "deployment/controller")
        self.lab.kubectl(*scale, "--replicas=0")
        try:
            until("no controller runs", lambda: self.list_pods("controller"), lambda pods: not pods, 40)
            yield
        finally:
            self.lab.kubectl(*scale, "--replicas=2")

    def refused(self, *addresses: str) -> str:
        """What admission says to such a pool; "" when it would pass. Nothing is stored."""
        body = {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "asked"},
            "spec": {"addresses": list(addresses)},
        }
        try:
            self.api.request("POST", f"{POOLS}?dryRun=All", body)
        except urllib.error.HTTPError as error:
            return str(json.loads(error.read())["message"])
        return ""

    def judged(self, limit: float = 30) -> None:
        """Until the API server asks the webhook."""
        said = until("a wrong pool is refused", lambda: self.refused("nonsense"), limit=limit)
        assert "denied the request" in said

    @contextmanager
    def without_webhook(self) -> Iterator[None]:
        """A stretch of time in which nobody is asked, as while all controllers are down."""
        self.remove(f"{WEBHOOKS}/metallb-webhook-configuration")
        until("nobody is asked", lambda: self.refused("nonsense"), lambda said: not said)
        try:
            yield
        finally:
            self.lab.apply(MANIFEST)
            self.judged()

    def cli(self, *words: str, text: str = "") -> dict[str, Any]:
        """The command of the checkout, against this cluster, as JSON; `text` is its standard input."""
        found: dict[str, Any] = json.loads(self.told(*words, "-o", "json", text=text))
        return found

    def told(self, *words: str, text: str = "") -> str:
        """The same in words, whatever its exit code."""
        environment = {**os.environ, "KUBECONFIG": str(self.lab.kubeconfig), "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "metalbgp.cli", *words]
        done = subprocess.run(
            command, env=environment, input=text, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout, done.stderr
        return done.stdout

    def logs(self, pod: str, lines: int = -1, *, previous: bool = False) -> str:
        words = ["logs", "-n", SYSTEM, pod, f"--tail={lines}", *(["--previous"] if previous else [])]
        return self.lab.kubectl(*words, check=False)

    # ------------------------------------------------------------------ between tests

    def clean(self) -> None:
        """Remove what a test made, and wait until nothing of it is left anywhere."""
        until("the API server takes requests", self._removed_all, limit=60)
        until("no VirtualIP is left", self.vips, lambda vips: not vips, 30)
        until("no route is left in the router", self.routes, lambda routes: not routes, 30)
        until("no session is left on the router", self.sessions, lambda sessions: not sessions, 30)
        # They have the labels that the next test's Pods have, and would stand behind its Service.
        until("no Pod is left", lambda: self.list("/api/v1/namespaces/default/pods"), lambda p: not p, 90)
        # The next test has the same addresses and the same client: a connection of this one that a node still
        # remembers would take a new one from the same port to where the old one went.
        for node in self.lab.nodes:
            self.lab.node_exec(node.name, ["conntrack", "-D", "-d", RANGE], check=False)
        self.all_ready(90)

    def _removed_all(self) -> bool:
        for item in self.list(SERVICES):
            if item["metadata"]["name"] != "kubernetes":
                self.remove(f"{SERVICES}/{item['metadata']['name']}")
        for item in self.list("/apis/apps/v1/namespaces/default/deployments"):
            self.remove(f"/apis/apps/v1/namespaces/default/deployments/{item['metadata']['name']}")
        for item in self.list(SLICES):
            if item["metadata"]["name"].endswith("-hand"):
                self.remove(f"{SLICES}/{item['metadata']['name']}")
        for path in CONFIGURATION:
            for item in self.list(path):
                self.remove(f"{path}/{item['metadata']['name']}")
        for item in self.list(SECRETS):
            if item["type"] == "kubernetes.io/basic-auth":
                self.remove(f"{SECRETS}/{item['metadata']['name']}")
        return True

    def picture(self) -> str:
        """Everything that a reader of a failure asks for."""
        parts = [
            ("vips", lambda: json.dumps(self.vips(), indent=1)),
            ("nodestates", lambda: json.dumps(self.nodestates(), indent=1)),
            ("configuration state", lambda: json.dumps(self.configuration_state(), indent=1)),
            ("services", lambda: self.lab.kubectl("get", "services", "-o", "wide")),
            ("pods", lambda: self.lab.kubectl("get", "pods", "-A", "-o", "wide")),
            ("router", lambda: self.lab.vtysh("show bgp summary", "show ip bgp")),
            ("kernel of the router", lambda: str(self.routes())),
        ]
        for component in ("controller", "speaker"):
            with suppress(OSError):
                parts += [(pod, partial(self.logs, pod, 60)) for pod in self.pods(component)]
        return "\n".join(f"--- {title}\n{_safely(part)}" for title, part in parts)


def processes_of(pod: dict[str, Any]) -> dict[int, str]:
    """Command lines of the processes of a pod, by their pid in the host's namespace: the cgroup names it."""
    uid = pod["metadata"]["uid"]
    names = (f"pod{uid}", f"pod{uid.replace('-', '_')}")
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(name in (entry / "cgroup").read_text() for name in names):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if line and not line.startswith("/pause"):
                    found[int(entry.name)] = line
    return found


def alive(pid: int) -> bool:
    return bool(pid) and Path(f"/proc/{pid}").exists()


def kill(pid: int, number: int = 9) -> None:
    """One process, whose pid was just read from its pod's cgroup."""
    assert pid, "no such process"
    os.kill(pid, number)


def _as_many_as(count: int, names: set[str]) -> bool:
    return len(names) == count


def namespace_file(lab: Lab, host: str) -> Path:
    return NETNS / lab.settings.namespace(host)


def about(line: str, addresses: Sequence[str]) -> bool:
    """Whether that line names one of them."""
    return any(re.search(rf"(^|\s){re.escape(address)}(\s|/|$)", line) for address in addresses)


def _safely(part: Callable[[], str]) -> str:
    try:
        return part()
    except Exception as error:  # a picture of a broken thing must not hide what broke
        return f"(cannot be read: {error})"
