"""The whole product on one machine without kubelets: API server, controller, one speaker, some routers.

In:  root, FRR, the binaries of an API server (tests/apiserver.py says where they are looked for).
Out: Chain: objects through the API, routers through vtysh, processes by name. Every process is the product's
     own; the speaker's parent, ExaBGP and reflex live in a network namespace with the routers' links.
Elsewhere: what is measured on it is changes.py; a cluster with kubelets is the lab.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.api import Api
from bench.load import Load
from bench.place import Door, Place
from bench.processes import seconds
from tests.apiserver import NAMESPACE, ApiServer, free_port
from tests.wire.bgp_lab import ROOT, Lab, Router, children, cmdline, laboratory
from tests.wire.doing import wait_for

NODE: Final = "n1"
ADDRESS: Final = "10.90.0.2"  # of the node; its links to the routers have others
OURS: Final = 65001
PEERS: Final = f"/apis/metallb.io/v1beta2/namespaces/{NAMESPACE}/bgppeers"
MERGE: Final = "application/merge-patch+json"
PATIENCE: Final = 60.0


class Chain:
    def __init__(self, server: ApiServer, lab: Lab, routers: list[Router]) -> None:
        self.lab, self.routers, self.server = lab, routers, server
        self.api = Api(server.kubeconfig, Door("", "127.0.0.1", int(server.url.rpartition(":")[2])))
        self.places = [self._place(server, router) for router in routers]
        self.load = Load(self.api, self.places[0], NAMESPACE)
        self.own: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, tuple[list[str], Path]] = {}
        self.doors: Mapping[str, str] = {}  # by process: where it finds the API server, if not directly

    @staticmethod
    def _place(server: ApiServer, router: Router) -> Place:
        door = Door("", "127.0.0.1", 0)
        nodes = {router.ours4: NODE}
        return Place(server.kubeconfig, door, router.namespace, router.v4, router.asn, OURS, nodes, ())

    def peer(self, router: Router, **spec: Any) -> dict[str, Any]:
        """The BGPPeer of that router, as a user writes it."""
        return {
            "apiVersion": "metallb.io/v1beta2",
            "kind": "BGPPeer",
            "metadata": {"name": f"r{router.number}", "namespace": NAMESPACE},
            "spec": {"myASN": OURS, "peerASN": router.asn, "peerAddress": router.v4, **spec},
        }

    def start(self, name: str, server: ApiServer, folder: Path, *words: str) -> None:
        """A process of the product, with its own account: `controller`, `controller-b` or `speaker`."""
        config = folder / f"{name}.kubeconfig"
        account = name.partition("-")[0]
        text = server.kubeconfig_of(account)
        config.write_text(text.replace(server.url, self.doors.get(name, server.url)))
        module = "metalbgp.controller" if account == "controller" else "metalbgp.speaker.agent"
        command = [sys.executable, "-m", module, f"--kubeconfig={config}", f"--namespace={NAMESPACE}"]
        command += ["--port=0", f"--health-probe-port={free_port()}", f"--pod-name={name}", *words]
        self._run(name, command, folder / f"{name}.log")

    def _run(self, name: str, command: list[str], path: Path) -> None:
        self._started[name] = command, path
        with path.open("ab") as log:
            self.own[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def again(self, name: str) -> None:
        """kill -9 of one of them, and another life."""
        self.own[name].kill()
        self.own[name].wait(10)
        self._run(name, *self._started[name])

    def stop(self) -> None:
        for process in self.own.values():
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def cpu(self) -> dict[str, float]:
        """Seconds since they began, of the processes that a speaker's pod has."""
        parent = self.lab.speaker.pid
        found = {"parent": seconds(parent), "agent": seconds(self.own["speaker"].pid)}
        for pid in children(parent):
            reflex = b"metalbgp.reflex" in cmdline(pid)
            found["reflex" if reflex else "ExaBGP"] = seconds(pid)
            for helper in children(pid):
                found["helper"] = seconds(helper)
        return found

    def writes(self) -> dict[str, int]:
        """Requests that changed something, by resource, since the API server began."""
        connection = self.api.connect()
        connection.request("GET", "/metrics", headers=self.api.headers)
        text = connection.getresponse().read().decode()
        connection.close()
        found: dict[str, int] = {}
        for line in text.splitlines():
            name, _, rest = line.partition("{")
            if name == "apiserver_request_total":
                labels = dict(part.split("=", 1) for part in rest.partition("}")[0].split(",") if "=" in part)
                values = {key: value.strip('"') for key, value in labels.items()}
                if values["verb"] in ("POST", "PUT", "PATCH", "APPLY", "DELETE"):
                    count = int(float(line.rpartition(" ")[2]))
                    found[values["resource"]] = found.get(values["resource"], 0) + count
        return found


def accepted(router: Router) -> int:
    """How many routes the router has from us."""
    family = router.session()["addressFamilyInfo"]["ipv4Unicast"]
    return int(family.get("acceptedPrefixCounter", 0))


def established(router: Router) -> bool:
    return bool(router.session()["bgpState"] == "Established")


@contextmanager
def chain(
    routers: int = 2,
    controllers: int = 1,
    doors: Callable[[ApiServer], Mapping[str, str]] = lambda server: {},
    start: Callable[[Router], None] = Router.start,
) -> Iterator[Chain]:
    """Everything runs, the sessions with the first two routers are up, and nothing is announced."""
    with laboratory() as lab, tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = ApiServer(folder)
        it: Chain | None = None
        try:
            server.start()
            server.install()
            it = Chain(server, lab, [lab.router(number + 1) for number in range(routers)])
            it.doors = doors(server)
            make_node(it.api)
            for router in it.routers:
                start(router)
            for each in ("controller", "controller-b")[:controllers]:
                it.start(each, server, folder, "--webhook-mode=disabled")
            lab.speaker.start(METALBGP_REFLEX=f"{sys.executable} -m metalbgp.reflex")
            run_dir = f"--run-dir={lab.speaker.run}"
            it.start("speaker", server, folder, f"--node-name={NODE}", run_dir)
            for router in it.routers[:2]:
                it.api.apply(f"{PEERS}/r{router.number}", it.peer(router))
            it.load.prepare()
            for router in it.routers[:2]:
                wait_for(partial(established, router), f"a session with router {router.number}", PATIENCE)
            yield it
        except BaseException:
            for log in folder.glob("*.log"):
                sys.stderr.write(f"{log.name}: {log.read_text(errors='replace')[-3000:]}\n")
            raise
        finally:
            if it is not None:
                it.stop()
            server.stop()


def make_node(api: Api) -> None:
    """The one of the speaker."""
    status = {"addresses": [{"type": "InternalIP", "address": ADDRESS}]}
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}
    api.create("/api/v1/nodes", body)
    api.call("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status}, MERGE)
