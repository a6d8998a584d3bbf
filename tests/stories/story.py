"""Plays a story: the YAML a user would write, in the order of the file, through every pure room of the line.

In:  a story file. Its first comment lines are the law; then documents:
     - Kubernetes and metallb.io objects (applied, or replaced by kind, namespace and name);
     - `use: docs/…yaml` reads objects from a file of the project;
     - `delete: Kind/namespace/name` or `delete: Kind/name`;
     - `speakers: [n1, n2]` (without it, a speaker lives on every Node);
     - SpeakerOrders; while a node leaves, its speaker sees what the others are, with every session up;
     - `after: 2s` lets time pass; without it, a second lies between two documents;
     - `expect:` closes a chapter: what is true now; and, where it asks for `told`, what each speaker told its
       parent since the last chapter, in order: routes by the peer's address, and sessions where they changed
       (levels: what is said again costs nothing).
Out: chapters, each with the expectation as written and as played.
Elsewhere: comparing and rewriting is test_stories.py; the controller is tests/small_controller.py.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.cluster import decode
from metalbgp.config import objects, orders
from metalbgp.config.compile import Compiled, compile
from metalbgp.config.documents import documents
from metalbgp.config.durations import SECOND, nanoseconds
from metalbgp.inventory.touched import Touched
from metalbgp.model import extended
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import Order, Orders, obeyed
from metalbgp.model.report import NodeReport, SessionReport
from metalbgp.model.routes import Attributes
from metalbgp.plan.explain import explain
from metalbgp.plan.lines import lines
from metalbgp.plan.scene import Scene
from metalbgp.select.merge import merge, standing_by
from metalbgp.select.select import NodeView
from metalbgp.speaker.announcer import Announcer, Changes
from tests.small_controller import SmallController

ROOT = Path(__file__).parent.parent.parent
Key = tuple[str, str, str]  # kind, namespace, name


class Chapter(Struct):
    part: int  # index among the parts of the file that `---` separates
    written: dict[str, Any]
    played: dict[str, Any]


def parts_of(text: str) -> list[str]:
    return text.split("\n---\n")


def bodies(text: str) -> list[Mapping[str, Any]]:
    """Read as `metalbgp validate` reads it, so that a story's 64512:30 is what a user's is."""
    return [one.body for one in documents(text)]


def play(path: Path) -> list[Chapter]:
    stage = Stage()
    chapters = []
    for index, part in enumerate(parts_of(path.read_text())):
        for document in bodies(part):
            match document:
                case {"expect": written}:
                    written, played = written or {}, stage.now()
                    told = "\n".join(stage.told) or "nothing"
                    stage.told.clear()
                    if "told" in written:
                        played["told"] = told
                    chapters.append(Chapter(part=index, written=written, played=played))
                case _:
                    stage.take(document)
    return chapters


class Stage(SmallController):
    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[Key, objects.AnyObject] = {}
        self.compiled = Compiled(configuration=Configuration(installation="metallb-system"))
        self.speakers: frozenset[str] | None = None
        self.clock = 0
        self.seconds = 0.0
        self.announcers: dict[str, Announcer] = {}  # by node
        self.orders: dict[str, Order] = {}
        self.told: list[str] = []  # since the last chapter

    # -------------------------------------------------------------- documents

    def take(self, document: Mapping[str, Any]) -> None:
        self.clock += 1
        self.seconds += 1
        match document:
            case {"use": name}:
                for each in bodies((ROOT / name).read_text()):
                    self.take(each)
            case {"delete": what}:
                kind, *rest = what.split("/")
                self.delete(kind, "/".join(rest))
            case {"after": text}:
                self.seconds += nanoseconds(text) / SECOND - 1
            case {"speakers": names}:
                self.speakers = frozenset(names)
            case {"kind": "SpeakerOrder", "metadata": {"name": name}}:
                self.orders[name] = orders.decode(json.dumps(document).encode())
            case {"kind": kind} if kind in objects.READERS:
                self.put_object(document)
            case {"kind": kind}:
                self.put(kind, document)
            case _:
                raise AssertionError(f"a story has no document like {document}")
        nodes = self.inventory.nodes.keys()
        self.work(self.inventory.live(nodes if self.speakers is None else self.speakers))
        self.speak()

    def put(self, kind: str, document: Mapping[str, Any]) -> None:
        data = json.dumps(self.defaulted(kind, document)).encode()
        inventory = self.inventory
        match kind:
            case "Service":
                self.work(inventory.put_service(decode.service(data)))
            case "EndpointSlice":
                piece = decode.endpoint_slice(data)
                assert piece is not None
                self.work(inventory.put_slice(piece))
            case "Node":
                self.work(inventory.put_node(decode.node(data)))
            case "Namespace":
                self.work(inventory.put_namespace(decode.namespace(data)))
            case "Deployment":
                pass  # its Pods are told as EndpointSlices
            case _:
                raise AssertionError(f"a story has no {kind}")

    def defaulted(self, kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """What the API server would have filled in."""
        meta = {"namespace": "default", "uid": f"uid-{self.clock}", "resourceVersion": str(self.clock)}
        if kind in ("Node", "Namespace"):
            del meta["namespace"]
        key = f"{document['metadata'].get('namespace', 'default')}/{document['metadata']['name']}"
        known = self.inventory.services.get(key) if kind == "Service" else None
        meta["creationTimestamp"] = known.created if known else f"2026-01-01T00:{self.clock:02}:00Z"
        if known:
            meta["uid"] = known.uid
        full: dict[str, Any] = {**document, "metadata": {**meta, **document["metadata"]}}
        if kind == "Service":
            families = document["spec"].get("ipFamilies") or (
                ["IPv4"]
                if document["spec"].get("ipFamilyPolicy", "SingleStack") == "SingleStack"
                else ["IPv4", "IPv6"]
            )
            addresses = {"IPv4": "10.96.0.10", "IPv6": "fd00:96::10"}
            spec = {"clusterIPs": [addresses[one] for one in families], "ipFamilies": families}
            full["spec"] = {**spec, **document["spec"]}
        return full

    def put_object(self, document: Mapping[str, Any]) -> None:
        meta = document["metadata"]
        key = (document["kind"], meta.get("namespace", ""), meta["name"])
        known = self.objects.get(key)
        generation = known.metadata.generation + 1 if known else 1
        added = {
            "uid": known.metadata.uid if known else f"uid-{self.clock}",
            "generation": generation,
            "creationTimestamp": f"2026-01-01T00:{self.clock:02}:00Z",
        }
        self.objects[key] = objects.from_mapping({**document, "metadata": {**added, **meta}})
        self.compile()

    def compile(self) -> None:
        before = self.compiled.configuration
        self.compiled = compile(objects.gather(list(self.objects.values())), before)
        after = self.compiled.configuration
        if after != before:
            after = replace(after, sequence=before.sequence + 1)
            self.compiled = replace(self.compiled, configuration=after)
            self.configured(after)

    def delete(self, kind: str, name: str) -> None:
        touched = Touched()
        match kind:
            case "SpeakerOrder":
                del self.orders[name]
            case "Service":
                touched = self.inventory.drop_service(name)
            case "EndpointSlice":
                touched = self.inventory.drop_slice(name)
            case "Node":
                touched = self.inventory.drop_node(name)
            case _:
                found = [
                    key
                    for key in self.objects
                    if (key[0], key[2]) == (kind, name.rsplit("/", maxsplit=1)[-1])
                ]
                assert found, f"{kind}/{name} is not there"
                del self.objects[found[0]]
                self.compile()
        self.work(touched)

    # -------------------------------------------------------------- what speakers make of it

    def speak(self) -> None:
        """Every speaker sees what differs from what it saw last."""
        inventory = self.inventory
        for name in sorted(inventory.live_speakers & inventory.nodes.keys()):
            one = self.announcers.get(name)
            if one is None:
                one = self.announcers[name] = Announcer(lambda: self.seconds)
                one.patience.started = True
            changes = [one.due()]
            if one.known_orders != (known := tuple(self.orders.values())):
                changes.append(one.set_orders(known, 0.0))
            if one.configuration != inventory.configuration:
                changes.append(one.set_configuration(inventory.configuration))
            if one.node != inventory.nodes[name]:
                changes.append(one.set_node(inventory.nodes[name]))
            for address in sorted(inventory.claims.keys() | one.vips.keys()):
                if one.vips.get(address) != inventory.claims.get(address):
                    changes.append(one.set_vip(address, inventory.claims.get(address)))
            if one.draining.active:
                changes.append(one.set_others(tuple(inventory.nodes.values()), self.reports()))
            self.told += [line for change in changes for line in _told(name, change)]

    def reports(self) -> tuple[NodeReport, ...]:
        """Every session is up."""
        return tuple(
            NodeReport(
                node=name,
                ready=True,
                sessions=tuple(
                    SessionReport(
                        peer=one.peer_name(each.key),
                        address=each.key,
                        port=each.port,
                        my_asn=each.local_as,
                        peer_asn=each.peer_as,
                        state="Established",
                    )
                    for each in one.neighbors
                ),
            )
            for name, one in self.announcers.items()
        )

    def obeyed(self, node: str) -> Orders:
        return obeyed(self.orders.values(), node)

    # -------------------------------------------------------------- what is true now

    def now(self) -> dict[str, Any]:
        """Services as their explanation, routes as the router would list them, and who answers in L2."""
        explained = {one.key: "\n".join(self.explained(one.key)) for one in self.ours()}
        said: dict[str, Any] = {"services": explained} if explained else {}
        said["routes"] = "\n".join(self.routes()) or "none"
        if answers := "\n".join(self.answers()):
            said["answers"] = answers
        if invalid := "\n".join(one.explain() for one in self.compiled.invalid):
            said["invalid"] = invalid
        return said

    def ours(self) -> Iterator[Any]:
        for key in sorted(self.inventory.services):
            if self.inventory.is_ours(self.inventory.services[key]):
                yield self.inventory.services[key]

    def explained(self, key: str) -> list[str]:
        one = self.inventory.services[key]
        claims = [self.inventory.claims[address] for address in self.inventory.held(key)]
        return lines(explain(one, claims, self.ask(one), self.inventory.endpoints(key), self.obeying))

    @property
    def obeying(self) -> Scene:
        """The scene as the nodes report it, orders included."""
        return replace(self.scene, orders={name: self.obeyed(name) for name in self.inventory.nodes})

    def routes(self) -> Iterator[str]:
        for name, plan in self.plans():
            for route, _ in plan.routes:
                yield " ".join([f"{name} → {route.peer}", route.prefix, *_attributes(route.attributes)])

    def answers(self) -> Iterator[str]:
        """While all nodes live: the first that is ready to. The others stand by."""
        plans = dict(self.plans())
        duties = {duty.address: duty for plan in plans.values() for duty in plan.duties}
        for address, (first, *others) in sorted(standing_by(plans).items()):
            interfaces = duties[address].interfaces
            on = f" on {', '.join(interfaces)}" if interfaces else ""
            yield f"{first} answers for {address}{on}{', then ' if others else ''}{', '.join(others)}"

    def plans(self) -> Iterator[tuple[str, Any]]:
        """What each node with a speaker does."""
        claims = [self.inventory.claims[address] for address in sorted(self.inventory.claims)]
        for name in sorted(self.inventory.live_speakers & self.inventory.nodes.keys()):
            node, made = self.inventory.nodes[name], self.inventory.configuration
            view = NodeView(made, node, self.obeyed(name))
            yield name, merge(view.select(vip) for vip in claims)


def _told(node: str, changes: Changes) -> Iterator[str]:
    if changes.neighbors is not None:
        yield f"{node} has sessions to {', '.join(one.address for one in changes.neighbors) or 'nobody'}"
    for peer, prefix, attributes in changes.wants:
        rest = ["withdrawn"] if attributes is None else _attributes(attributes)
        yield " ".join([f"{node} → {peer}", prefix, *rest])


def _attributes(attributes: Attributes) -> Iterator[str]:
    if attributes.communities:
        yield "communities " + " ".join(f"{high}:{low}" for high, low in attributes.communities)
    if attributes.extended_communities:
        yield "extended " + " ".join(map(extended.text, attributes.extended_communities))
    if attributes.large_communities:
        yield "large " + " ".join(f"{a}:{b}:{c}" for a, b, c in attributes.large_communities)
    if attributes.local_preference is not None:
        yield f"local preference {attributes.local_preference}"
    if attributes.med is not None:
        yield f"MED {attributes.med}"
    if attributes.as_path:
        yield "prepended " + " ".join(map(str, attributes.as_path))
