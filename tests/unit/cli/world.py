"""A cluster in canned objects, as the API server would send them, and an Api that answers from it.

In:  what a test changes: objects, rights, what speakers say. Out: run(), the screen and the exit code.
The time is always NOW, so that ages are exact.
"""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from click.testing import CliRunner, Result

from metalbgp.cli.api import Api, Connection, refusal
from metalbgp.cli.errors import Unreachable
from metalbgp.cli.main import cli
from metalbgp.cli.options import Setup
from metalbgp.config import compiled, nodestate, virtualip
from metalbgp.model.configuration import BGPAdvertisement, Configuration, L2Advertisement, Peer, Pool
from metalbgp.model.report import NodeReport, RouteReport, SessionReport
from metalbgp.model.virtualips import Holder, VirtualIP
from tests.fakeapi import merged
from tests.unit.cli.world_l2 import NODES, NOW, reflex
from tests.values import block

SYSTEM = "metallb-system"
ADDRESSES = {"n1": "10.252.252.11", "n2": "10.252.252.12", "n3": "10.252.252.13"}
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"


def before(**parts: float) -> str:
    return (NOW - timedelta(**parts)).isoformat().replace("+00:00", "Z")


def seconds(**parts: float) -> float:
    return (NOW - timedelta(**parts)).timestamp()


CONFIGURATION = Configuration(
    installation=SYSTEM,
    sequence=3,
    pools=(
        Pool(name="lab-v6", ranges=(block("fd00::-fd00::ffff"),), auto_assign=False),
        Pool(name="production", ranges=(block("10.252.252.100-10.252.252.103"),)),
    ),
    peers=(
        Peer(name="tor-a", my_asn=64513, peer_asn=64512, address="10.252.252.1", graceful_restart=True),
        Peer(name="tor-b", my_asn=64513, peer_asn=64512, address="10.252.252.2"),
    ),
    bgp_advertisements=(BGPAdvertisement(name="external", pools=("production",), communities=((64513, 7),)),),
)
LAYER2 = L2Advertisement(name="flat", pools=("production",))


def service(key: str, *, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    namespace, _, name = key.partition("/")
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{key}",
            "creationTimestamp": before(minutes=20),
            "annotations": annotations or {},
        },
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "protocol": "TCP"}],
            **spec,
        },
    }


def endpoints(key: str, *nodes: str, ready: bool = True) -> dict[str, Any]:
    namespace, _, name = key.partition("/")
    return {
        "metadata": {
            "name": f"{name}-abc",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "endpoints": [
            {"addresses": [f"10.244.0.{index}"], "nodeName": node, "conditions": {"ready": ready}}
            for index, node in enumerate(nodes, 1)
        ],
    }


GIVEN = "first free address of pool production (annotation metallb.universe.tf/address-pool)"


def claim(address: str, key: str, **fields: Any) -> dict[str, Any]:
    holder = {"uid": f"uid-{key}", "bgp": ("external",), "serving": True, "ports": ("TCP/80",), "why": GIVEN}
    holder |= fields.pop("holder", {})
    vip = VirtualIP(
        address=address,
        pool="production",
        configuration=3,
        holders={key: Holder(**holder)},
        since=before(minutes=12),
        installation=SYSTEM,
        **fields,
    )
    return virtualip.encode(vip)


def pod(
    name: str, component: str, node: str, *, ready: bool = True, phase: str = "Running"
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": SYSTEM,
            "labels": {"app": "metallb", "component": component},
        },
        "spec": {"nodeName": node, "containers": [{"name": component, "image": "metalbgp/metalbgp:dev"}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def node(name: str, **labels: str) -> dict[str, Any]:
    address = {"type": "InternalIP", "address": ADDRESSES.get(name, "")}
    return {"metadata": {"name": name, "labels": labels}, "status": {"addresses": [address]}}


def session(peer: str, **fields: Any) -> SessionReport:
    up = {
        "state": "Established",
        "since": before(days=3, hours=2),
        "families": ("ipv4", "ipv6"),
        "routes_wanted": 1,
        "routes_confirmed": 1,
        "graceful_restart": peer == "tor-a",
    }
    address = {"tor-a": "10.252.252.1", "tor-b": "10.252.252.2"}[peer]
    about = {"peer": peer, "address": address, "port": 179, "my_asn": 64513, "peer_asn": 64512}
    return SessionReport(**{**about, **up, **fields})


def down(**fields: Any) -> SessionReport:
    wrong = {
        "state": "Connect",
        "since": before(minutes=4, seconds=12),
        "families": (),
        "routes_confirmed": 0,
        "graceful_restart": False,
        "last_error": "connection refused (nobody listens on port 179)",
        "tries": 17,
    }
    return session("tor-b", **{**wrong, **fields})


def report(name: str, *sessions: SessionReport, **fields: Any) -> dict[str, Any]:
    found = sessions or (session("tor-a"), session("tor-b"))
    fields = {"updated": before(seconds=2), **fields}
    value = NodeReport(
        node=name,
        pod=f"speaker-{name}",
        ready=True,
        realtime="FIFO",
        configuration=3,
        addresses=1,
        routes_wanted=sum(one.routes_wanted for one in found),
        routes_confirmed=sum(one.routes_confirmed for one in found),
        sessions=found,
        **fields,
    )
    return nodestate.encode(value, SYSTEM, SYSTEM)


def waiting(**fields: Any) -> RouteReport:
    said = {"prefix": "10.252.252.100/32", "peer": "tor-b", "state": "waiting"}
    return RouteReport(**{**said, "since": before(minutes=4, seconds=12), **fields})


def journal(name: str, **states: str) -> dict[str, Any]:
    """tor-a and tor-b by state; as the speaker's parent says it."""
    wanted = {"communities": [[64513, 7]]}
    rows, sessions = [], []
    for peer, address in (("tor_a", "10.252.252.1"), ("tor_b", "10.252.252.2")):
        state = states.get(peer, "confirmed")
        on = state == "confirmed"
        since = seconds(minutes=12) if on else seconds(minutes=4, seconds=12)
        told = wanted if state in ("confirmed", "sent") else None
        rows.append([address, "10.252.252.100/32", wanted, told, wanted if on else None, state, since])
        local = ADDRESSES[name] if state != "waiting" else ""
        sessions.append({"peer": address, "local": local, "state": "Established" if on else "Connect"})
    return {"neighbors": [], "sessions": sessions, "routes": rows}


def healthy() -> dict[str, list[dict[str, Any]]]:
    """Two controllers, three speakers, two routers, one Service; keyed by plural."""
    workload = {"spec": {"template": {"spec": {"containers": [{"name": "controller", "args": []}]}}}}
    return {
        "nodes": [node(name) for name in NODES],
        "namespaces": [{"metadata": {"name": name}} for name in ("default", "web", SYSTEM)],
        "services": [service("web/nginx", annotations={"metallb.universe.tf/address-pool": "production"})],
        "endpointslices": [endpoints("web/nginx", "n1", "n2", "n2")],
        "pods": [
            pod("controller-7d9c-x2k", "controller", "n1"),
            pod("controller-7d9c-abc", "controller", "n2"),
            *(pod(f"speaker-{name}", "speaker", name) for name in NODES),
        ],
        "leases": [
            {
                "metadata": {"name": "metalbgp-controller"},
                "spec": {
                    "holderIdentity": "controller-7d9c-x2k_12ab",
                    "leaseDurationSeconds": 15,
                    "acquireTime": before(days=3, hours=2),
                    "renewTime": before(seconds=1),
                },
            }
        ],
        "deployments": [
            {
                **workload,
                "metadata": {"name": "controller"},
                "spec": {**workload["spec"], "replicas": 2},
                "status": {"readyReplicas": 2},
            }
        ],
        "daemonsets": [
            {
                **workload,
                "metadata": {"name": "speaker"},
                "status": {"desiredNumberScheduled": 3, "numberReady": 3},
            }
        ],
        "virtualips": [claim("10.252.252.100", "web/nginx")],
        "speakerconfigurations": [compiled.encode(CONFIGURATION, SYSTEM)],
        "nodestates": [report(name) for name in NODES],
        "configurationstates": [],
        "configmaps": [],
        "customresourcedefinitions": [],
    }


class World:
    """The Api of a test. Change `objects`, `forbidden`, `absent`, `says` before run()."""

    server = "https://127.0.0.1:6443"
    namespace = "web"

    def __init__(self) -> None:
        self.objects = healthy()
        self.forbidden: set[str] = set()  # plurals, and "exec"
        self.absent: set[str] = set()  # kinds that the API server does not know
        self.says: dict[str, Any] = {
            name: journal(name) for name in NODES
        }  # or an exception, or None: silence
        self.reflexes: dict[str, Any] = {name: reflex(name) for name in NODES}  # and these
        self.wire: dict[str, Any] = {}  # what a probe from a node hears
        self.commands: list[tuple[str, ...]] = []
        self.unreachable = False
        self.user = "eve"
        self.written: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.closed = False

    def configure(self, configuration: Configuration) -> None:
        self.objects["speakerconfigurations"] = [compiled.encode(configuration, SYSTEM)]

    def report(self, name: str, *sessions: SessionReport, **fields: Any) -> None:
        states = self.objects["nodestates"]
        states[NODES.index(name)] = report(name, *sessions, **fields)

    async def connect(self, connection: Connection) -> Api:
        self.connection = connection
        return self

    async def request(
        self, method: str, path: str, query: Sequence[tuple[str, str]] = (), body: Any = None
    ) -> bytes:
        if self.unreachable:
            raise Unreachable(f"{self.server} does not answer: connection refused")
        parts = path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        if plural in self.forbidden:
            raise refusal(403, b'{"message": "forbidden"}', path)
        if plural in self.absent:
            raise refusal(404, b'{"message": "the server could not find the requested resource"}', path)
        found = self.find(plural, namespace, name, dict(query))
        if method == "POST":
            return self.create(path, plural, namespace, body)
        if method == "GET" and not name:
            return json.dumps({"items": found}).encode()
        if not found:
            raise refusal(404, b'{"message": "not found"}', path)
        if method != "GET":
            self.write(method, path, plural, found, body)
        return json.dumps(found[0]).encode()

    def find(self, plural: str, namespace: str, name: str, query: dict[str, str]) -> list[dict[str, Any]]:
        def fits(one: dict[str, Any]) -> bool:
            meta = one["metadata"]
            labels = {key: str(value) for key, value in meta.get("labels", {}).items()}
            selector = query.get("labelSelector", "")
            wanted = [part.split("=") for part in selector.split(",") if "=" in part]
            return (
                meta.get("namespace", namespace or None) == (namespace or meta.get("namespace"))
                and (not name or meta["name"] == name)
                and all(labels.get(key) == value for key, value in wanted)
            )

        return [one for one in self.objects.get(plural, []) if fits(one)]

    def create(self, path: str, plural: str, namespace: str, body: Any) -> bytes:
        self.written.append(("POST", path))
        if plural == "selfsubjectreviews":
            return json.dumps({"status": {"userInfo": {"username": self.user}}}).encode()
        meta = {"namespace": namespace, "creationTimestamp": before(seconds=0), **body["metadata"]}
        if self.find(plural, namespace, meta["name"], {}):
            raise refusal(409, b'{"message": "already exists"}', path)
        self.objects.setdefault(plural, []).append({**body, "metadata": meta})
        return b"{}"

    def write(self, method: str, path: str, plural: str, found: list[dict[str, Any]], body: Any) -> None:
        self.written.append((method, path))
        if method == "PATCH":
            found[0].update(merged(found[0], body))
        if method == "DELETE":
            self.objects[plural] = [one for one in self.objects[plural] if one not in found]

    async def execute(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> str:
        self.asked.append(pod)
        self.commands.append(tuple(command))
        if "exec" in self.forbidden:
            raise refusal(403, b"", f"pods/exec {namespace}/{pod}")
        module = next((word for word in command if word.startswith("metalbgp.")), "")
        answers = {"metalbgp.reflex.ask": self.reflexes, "metalbgp.l2.ask": self.wire}.get(module, self.says)
        said = answers[pod.removeprefix("speaker-")]
        if isinstance(said, Exception):
            raise said
        if said is None:
            await asyncio.Event().wait()
        return json.dumps(said)

    async def close(self) -> None:
        self.closed = True

    def run(self, *words: str, input: str | None = None) -> Result:
        setup = Setup(connect=self.connect, clock=lambda: NOW)
        result = CliRunner().invoke(cli, list(words), obj=setup, prog_name="metalbgp", input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result
