"""`metalbgp watch` against a real API server, as a process: what speakers write is a line, at once.

In:  NodeStates as speakers write them; a user who has ClusterRole metalbgp-viewer and nothing else.
Elsewhere: which lines there are is tests/unit/cli/test_node_changes.py; real speakers: tests/lab.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from metalbgp.config import compiled, nodestate, virtualip
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer, Pool
from metalbgp.model.report import NodeReport, OrderReport, RouteReport, SessionReport
from metalbgp.model.virtualips import Holder, VirtualIP
from tests.apiserver import NAMESPACE as SYSTEM
from tests.apiserver import ApiServer
from tests.laws_api.rules import installed
from tests.values import block
from tests.watching import watching

SPEAKER = "--as=system:serviceaccount:metallb-system:speaker"
COLLECTOR = "--as=system:serviceaccount:kube-system:generic-garbage-collector"  # nobody else may delete them
CONTROLLER = "--as=system:serviceaccount:metallb-system:controller"
LIMIT = 30.0
UP = SessionReport(
    peer="tor-a",
    address="10.252.252.1",
    port=179,
    my_asn=64513,
    peer_asn=64512,
    state="Established",
    since="2026-11-25T12:00:00Z",
    families=("ipv4",),
    routes_wanted=1,
    routes_confirmed=1,
)
DOWN = replace(
    UP,
    state="Connect",
    since="2026-11-25T12:09:00Z",
    families=(),
    routes_confirmed=0,
    last_error="Hold Timer Expired",
)
OTHER = replace(UP, peer="tor-b", address="10.252.252.2")
STUCK = RouteReport(prefix="198.51.100.7/32", peer="tor-a", state="refused", services=("web/nginx",))


def patiently(write: Callable[[], object]) -> None:
    """An API server that has just come back refuses for a while, until it knows its own rules."""
    end = time.monotonic() + LIMIT
    while True:
        try:
            write()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise


class Speakers:
    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._nodes: set[str] = set()

    def says(self, node: str, *sessions: SessionReport, **fields: object) -> None:
        self._nodes.add(node)
        report = NodeReport(node=node, pod=f"speaker-{node}", ready=True, sessions=sessions)
        body = nodestate.encode(replace(report, **fields), SYSTEM, SYSTEM)
        patiently(lambda: self._server.kubectl("apply", SPEAKER, "-f", "-", stdin=json.dumps(body)))

    def goes(self, node: str) -> None:
        self._nodes.discard(node)
        words = ("delete", "nodestate", node, "-n", SYSTEM, "--ignore-not-found", COLLECTOR)
        patiently(lambda: self._server.kubectl(*words))

    def alone(self) -> None:
        """What other tests on this API server left is nobody's here."""
        words = ("delete", "nodestates", "--all", "-n", SYSTEM, COLLECTOR)
        patiently(lambda: self._server.kubectl(*words))

    def clean(self) -> None:
        for node in sorted(self._nodes):
            self.goes(node)


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


@pytest.fixture
def speakers(server: ApiServer) -> Iterator[Speakers]:
    one = Speakers(server)
    one.alone()
    one.says("n1", UP, OTHER)
    one.says("n2", UP)
    try:
        yield one
    finally:
        one.clean()


@pytest.fixture
def viewer(server: ApiServer, tmp_path: Path) -> Iterator[Path]:
    """A kubeconfig of somebody who may look."""
    words = ("clusterrolebinding", "nobody-looks")
    server.kubectl("create", *words, "--clusterrole=metalbgp-viewer", "--user=nobody")
    path = tmp_path / "kubeconfig"
    path.write_text(server.kubeconfig_of("nobody"))
    try:
        yield path
    finally:
        patiently(lambda: server.kubectl("delete", *words))


def test_each_change_is_a_line_and_ctrl_c_is_no_problem(viewer: Path, speakers: Speakers) -> None:
    with watching(viewer, "-o", "json") as watch, watching(viewer, "--node", "n1", "--peer", "tor-b") as few:
        standing = watch.told(what="standing")
        assert (standing["nodes"], standing["sessions"], standing["established"]) == (2, 3, 3)
        few.until("it has begun", bool)

        speakers.says("n1", DOWN, OTHER, unconfirmed=(replace(STUCK, state="waiting"),))
        down = watch.told(what="session-down")
        assert (down["node"], down["peer"], down["time"]) == ("n1", "tor-a", "2026-11-25T12:09:00Z")
        assert down["message"] == "session down: Hold Timer Expired; 1 route waiting"

        speakers.says(
            "n1", replace(UP, since="2026-11-25T12:10:00Z", routes_confirmed=0), unconfirmed=(STUCK,)
        )
        watch.told(what="session-established", node="n1", peer="tor-a")
        refused = watch.told(what="route-refused", prefix="198.51.100.7/32")
        assert refused["services"] == ["web/nginx"]
        watch.told(what="session-removed", node="n1", peer="tor-b")

        speakers.says("n2", replace(UP, routes_wanted=3, routes_confirmed=3))
        assert watch.told(what="route-announced", node="n2")["count"] == 2
        speakers.says("n2", UP)
        assert watch.told(what="route-withdrawn", node="n2")["count"] == 2
        speakers.says("n3", UP)
        watch.told(what="node-new", node="n3")
        speakers.goes("n3")
        watch.told(what="node-gone", node="n3")

        few.until("its peer went", lambda lines: lines[-1].endswith("session is configured no more"))
        assert [line.split()[1:3] for line in few.lines] == [["-", "-"], ["n1", "tor-b"]]
        assert watch.interrupt() == (0, "")
        assert few.interrupt() == (0, "")
        assert len(watch.said) == 9, watch.lines


class Controller:
    """Writes a configuration with one peer, and claims, as the controller does; Node n1 is there."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._left: list[str] = []

    def _write(self, body: dict[str, Any]) -> None:
        patiently(lambda: self._server.kubectl("apply", CONTROLLER, "-f", "-", stdin=json.dumps(body)))

    def begin(self) -> None:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
        self._server.kubectl("create", "-f", "-", stdin=json.dumps(node))
        listed = json.loads(self._server.kubectl("get", "speakerconfigurations", "-n", SYSTEM, "-o", "json"))
        last = max((one["spec"].get("sequence", 0) for one in listed["items"]), default=0)  # of other files
        configuration = Configuration(
            installation=SYSTEM,
            sequence=last + 1,
            pools=(Pool(name="lab", ranges=(block("198.51.100.0-198.51.100.255"),)),),
            peers=(Peer(name="tor-a", my_asn=64513, peer_asn=64512, address="10.252.252.1"),),
            bgp_advertisements=(BGPAdvertisement(name="all"),),
        )
        self._write(compiled.encode(configuration, SYSTEM))

    def claims(self, address: str) -> None:
        holder = Holder(uid="u", bgp=("all",), serving=True, ports=("TCP/80",))
        vip = VirtualIP(
            address=address, pool="lab", phase="bound", holders={"web/nginx": holder}, installation=SYSTEM
        )
        self._left.append(address)
        self._write(virtualip.encode(vip))

    def end(self) -> None:
        patiently(lambda: self._server.kubectl("delete", "vips", *self._left, CONTROLLER))
        patiently(lambda: self._server.kubectl("delete", "node", "n1"))
        for name in self._server.kubectl("get", "speakerconfigurations", "-n", SYSTEM, "-o", "name").split():
            empty = json.dumps({"spec": {"pools": None, "peers": None, "bgpAdvertisements": None}})
            words = ("patch", name, "-n", SYSTEM, "--type=merge", "-p", empty, CONTROLLER)
            patiently(lambda words=words: self._server.kubectl(*words))


@pytest.fixture
def controller(server: ApiServer) -> Iterator[Controller]:
    one = Controller(server)
    one.begin()
    try:
        yield one
    finally:
        one.end()


def test_a_route_that_a_report_only_counts_has_the_name_that_its_claim_gives_it(
    controller: Controller, viewer: Path, speakers: Speakers
) -> None:
    with watching(viewer, "--node", "n1", "-o", "json") as watch:
        watch.told(what="standing")
        # A claim is written before its report, and comes by another connection: one that is late is a number.
        for number in range(2, 7):
            address = f"198.51.100.{number}"
            controller.claims(address)
            speakers.says("n1", replace(UP, routes_wanted=number, routes_confirmed=number), OTHER)
            watch.until("one line each", lambda lines, number=number: len(lines) == number)
            if watch.said[-1]["prefix"]:
                break
        assert watch.said[-1]["message"] == f"route {address}/32 (web/nginx) announced"
        assert watch.said[-1]["what"] == "route-announced"

        # The same address, held: the report says so and no claim changes; the route has its name still.
        hold = OrderReport(name="h", action="Hold", target=address, author="eve", reason="fibre work")
        carried = replace(UP, routes_wanted=number - 1, routes_confirmed=number - 1)
        speakers.says("n1", carried, OTHER, orders=(hold,))
        assert (
            watch.told(what="order-given")["message"] == f"obeys an order: hold {address} by eve: fibre work"
        )
        gone = watch.told(what="route-withdrawn")
        assert (gone["prefix"], gone["why"]) == (f"{address}/32", "held by eve: fibre work")
        speakers.says("n1", replace(UP, routes_wanted=number, routes_confirmed=number), OTHER)
        watch.told(what="order-taken-back")
        watch.until("it is back", lambda lines: f"route {address}/32 (web/nginx) announced" in lines[-1])
        assert watch.interrupt() == (0, "")


def test_an_api_server_that_restarts_is_said_and_what_changed_meanwhile_follows(
    server: ApiServer, viewer: Path, speakers: Speakers
) -> None:
    with watching(viewer, "-o", "json") as watch:
        watch.told(what="standing")
        server.kill()
        lost = watch.told(what="view-lost")
        assert lost["why"]
        # Stopped, so that the changes fall into the gap and not behind it.
        watch.pause()
        try:
            server.restart()
            speakers.says("n1", DOWN, OTHER)
            speakers.goes("n2")
        finally:
            watch.resume()
        watch.told(what="node-gone", node="n2")
        watch.told(what="session-down", node="n1", peer="tor-a")
        said = [one["what"] for one in watch.said]
        assert said[:3] == ["standing", "view-lost", "view-back"]
        assert sorted(said[3:]) == ["node-gone", "session-down"]

        speakers.says("n1", UP, OTHER)
        watch.told(what="session-established", node="n1")
        assert watch.interrupt() == (0, "")


def test_ctrl_c_ends_it_also_while_the_api_server_is_away(
    server: ApiServer, viewer: Path, speakers: Speakers
) -> None:
    with watching(viewer) as watch:
        watch.until("it has begun", bool)
        server.kill()
        try:
            watch.until("it says so", lambda lines: "view lost" in lines[-1])
            assert watch.interrupt() == (0, "")
        finally:
            server.restart()


def test_without_the_right_it_says_which_role_it_lacks(server: ApiServer, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(server.kubeconfig_of("nobody"))
    with watching(path) as watch:
        said = "metalbgp: not allowed to read nodestates; ask for ClusterRole metalbgp-viewer\n"
        assert watch.end() == (1, said)
