"""python -m bench peers: 1,000 BGPPeers applied at once, with 50 speakers that watch what becomes of them.

In:  the binaries of an API server. A real API server and a real controller; a speaker is simulated by its
     watch of the configuration object, and one of them also decodes it and selects its node's sessions.
Out: how often the controller wrote the object, its size, the bytes that each speaker was sent, and when the
     last of them had all.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import aims, noise
from bench.aims import Line
from bench.api import Api, ApiError
from bench.place import Door
from bench.processes import ahead, seconds
from metalbgp.config import compiled
from metalbgp.model.services import Node
from metalbgp.speaker.neighbors import neighbors
from tests.apiserver import NAMESPACE, ApiServer, free_port
from tests.wire.bgp_lab import ROOT
from tests.wire.doing import wait_for

PEERS: Final = 1000
SPEAKERS: Final = 50
THREADS: Final = 16
PATIENCE: Final = 120.0
OBJECT: Final = f"/apis/metalbgp.io/v1alpha1/namespaces/{NAMESPACE}/speakerconfigurations"
Apply = Callable[[ApiServer, Api], None]
PATH: Final = f"/apis/metallb.io/v1beta2/namespaces/{NAMESPACE}/bgppeers"


class Watcher:
    """What one speaker is sent of the configuration object."""

    def __init__(self, api: Api, version: str) -> None:
        connection, self._events = api.watch(OBJECT, version)
        self._socket = connection.sock
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.versions = self.bytes = self.peers = 0
        self.last = b""
        self.at = 0.0
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError, HTTPException, ValueError):
            for line in self._events:
                self.at = time.time()
                self.versions += 1
                self.bytes += len(line)
                self.peers = line.count(b'"myAsn"')
                self.last = line

    def end(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)


def peer(number: int) -> dict[str, Any]:
    """One of twenty racks' routers, as users write them: a selector, timers, a multihop session."""
    return {
        "apiVersion": "metallb.io/v1beta2",
        "kind": "BGPPeer",
        "metadata": {"name": f"rack-{number // 2}-tor-{number % 2}", "namespace": NAMESPACE},
        "spec": {
            "myASN": 65001,
            "peerASN": 4_200_000_000 + number,
            "peerAddress": f"10.{number // 250}.{number % 250}.1",
            "holdTime": "30s",
            "keepaliveTime": "10s",
            "ebgpMultiHop": True,
            "nodeSelectors": [{"matchLabels": {"topology.kubernetes.io/rack": f"rack-{number // 2}"}}],
        },
    }


def at_once(server: ApiServer, api: Api) -> None:
    """As many hands at once as the API server takes."""
    del server
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda number: api.create(PATH, peer(number)), range(PEERS)))


def by_kubectl(server: ApiServer, api: Api) -> None:
    """One file, one kubectl, which takes its time between requests."""
    del api
    whole = {"apiVersion": "v1", "kind": "List", "items": [peer(number) for number in range(PEERS)]}
    server.kubectl("apply", "-f", "-", stdin=json.dumps(whole))


def measure(apply: Apply, say: Callable[[str], None], realtime: bool) -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = ApiServer(folder)
        controller: subprocess.Popen[bytes] | None = None
        try:
            server.start()
            server.kubectl("apply", "-f", str(ROOT / "k8s" / "crds.yaml"))
            server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
            server.apply_manifest()
            controller = _controller(server, folder)
            with ahead(realtime):
                return _measure(server, controller.pid, apply, say)
        finally:
            if controller is not None:
                controller.terminate()
                controller.wait(20)
            server.stop()


def _controller(server: ApiServer, folder: Path) -> subprocess.Popen[bytes]:
    config = folder / "controller.kubeconfig"
    config.write_text(server.kubeconfig_of("controller"))
    words = [f"--kubeconfig={config}", f"--namespace={NAMESPACE}", "--webhook-mode=disabled", "--port=0"]
    command = [sys.executable, "-m", "metalbgp.controller", *words, f"--health-probe-port={free_port()}"]
    with (folder / "controller.log").open("ab") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def _configured(api: Api) -> bool:
    """Whether a controller has written what it found; a fresh API server may not serve the kind yet."""
    try:
        return bool(api.get(OBJECT)["items"])
    except ApiError as error:
        if error.status != 429:
            raise
        return False


def _measure(server: ApiServer, controller: int, apply: Apply, say: Callable[[str], None]) -> list[Line]:
    api = Api(server.kubeconfig, Door("", "127.0.0.1", int(server.url.rpartition(":")[2])))
    wait_for(lambda: _configured(api), "the first configuration", PATIENCE)
    version = api.get(OBJECT)["metadata"]["resourceVersion"]
    speakers = [Watcher(api, version) for _ in range(SPEAKERS)]
    cpu, began = seconds(controller), time.time()
    apply(server, api)
    applied = time.time()
    say(f"{PEERS} BGPPeers applied in {applied - began:.1f} s")
    wait_for(lambda: all(one.peers == PEERS for one in speakers), "all peers at all speakers", PATIENCE)
    time.sleep(2)  # what a writer still has in mind
    for one in speakers:
        one.end()
    cpu = seconds(controller) - cpu
    last = speakers[0].last
    found = last[last.index(b'"object":') + len(b'"object":') : last.rindex(b"}")]
    started = time.thread_time()
    configuration = compiled.decode(found)
    node = Node("n1", labels={"topology.kubernetes.io/rack": "rack-7"}, addresses=("192.0.2.11",))
    sessions, refused = neighbors(configuration, node, {})
    took = time.thread_time() - started
    if (len(sessions), len(refused)) != (2, 0):
        raise AssertionError(f"a node of rack 7 has {sessions} and refuses {refused}")
    return [
        Line("applied within", applied - began),
        Line("writes of the configuration object", max(one.versions for one in speakers), "", 20),
        Line("its size", len(found) / 1024, "KiB", 1024),
        Line("sent to each speaker", max(one.bytes for one in speakers) / 1024, "KiB"),
        Line(
            "the last applied → all of them at the last of the speakers",
            max(o.at for o in speakers) - applied,
        ),
        Line("CPU of the controller", cpu),
        Line("CPU of a speaker for one version of it: decode, select", took * 1000, "ms"),
    ]


def main(console: Console, say: Callable[[str], None], *, realtime: bool = False) -> int:
    console.print(f"  before {noise.measure()}", highlight=False)
    good = True
    for how, apply in (("by 16 threads", at_once), ("by one kubectl apply", by_kubectl)):
        title = f"{PEERS:,} BGPPeers {how}, {SPEAKERS} speakers"
        good = aims.show(console, title, measure(apply, say, realtime)) and good
    console.print(f"  after  {noise.measure()}", highlight=False)
    return 0 if good else 1
