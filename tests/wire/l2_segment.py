"""A node and a neighbour in network namespaces, joined by veths; the reflex runs in the node as in its pod.

Frames are written by hand here, not by metalbgp.l2.wire: a mistake there must not judge itself.
"""

import base64
import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bench.processes import seconds
from tests.wire.doing import run

ROOT = Path(__file__).resolve().parents[2]
PREFIX = f"mbl2-{os.getpid()}"
NODE, NEIGHBOUR = f"{PREFIX}-node", f"{PREFIX}-peer"
NODE_MAC = {"eth0": "02:00:00:00:00:10", "eth1": "02:00:00:00:00:11", "veth9": "02:00:00:00:00:19"}
PEER_MAC = {"p0": "02:00:00:00:00:20", "p1": "02:00:00:00:00:21", "p9": "02:00:00:00:00:29"}
IDENTITY = {"node": "node", "keys": [base64.b64encode(b"k" * 32).decode()]}
BROADCAST = "ff:ff:ff:ff:ff:ff"
_CLONE_NEWNET = 0x40000000


def inside(namespace: str, *command: str) -> tuple[str, ...]:
    return ("nsenter", f"--net=/run/netns/{namespace}", *command)


def link(*command: str, of: str = NODE) -> None:
    run("ip", "-n", of, "link", *command)


@contextmanager
def segment() -> Iterator[None]:
    """eth0-p0, eth1-p1 and veth9-p9 (a name that is excluded); addresses for the neighbour's kernel on p0."""
    _clean()
    try:
        for namespace in (NODE, NEIGHBOUR):
            run("ip", "netns", "add", namespace)
        for near, far in zip(NODE_MAC, PEER_MAC, strict=True):
            link("add", near, "address", NODE_MAC[near], "type", "veth", "peer", far, "netns", NEIGHBOUR)
            link("set", far, "address", PEER_MAC[far], of=NEIGHBOUR)
            link("set", far, "up", of=NEIGHBOUR)
            link("set", near, "up")
        run("ip", "-n", NEIGHBOUR, "address", "add", "192.0.2.2/24", "dev", "p0")
        run("ip", "-n", NEIGHBOUR, "address", "add", "2001:db8::2/64", "dev", "p0", "nodad")
        yield
    finally:
        _clean()


def _clean() -> None:
    for namespace in (NODE, NEIGHBOUR):
        subprocess.run(("ip", "netns", "delete", namespace), check=False, capture_output=True)


def socket_in(namespace: str, *kind: int) -> socket.socket:
    """A socket that lives in the namespace; only a helper thread ever enters it."""
    made: list[socket.socket] = []

    def enter() -> None:
        with Path(f"/run/netns/{namespace}").open("rb") as handle:
            library = ctypes.CDLL(None, use_errno=True)
            if library.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        made.append(socket.socket(*kind))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


class Reflex:
    """The process under test, with what a container would leave it: uid 0, NET_RAW and SYS_NICE."""

    def __init__(self, directory: Path, capabilities: str = "-all,+net_raw,+sys_nice") -> None:
        self.path = directory / "reflex.sock"
        self._readers: dict[socket.socket, BinaryIO] = {}
        self._told: dict[socket.socket, set[str]] = {}  # addresses that an agent's connection named
        self._log = directory / "reflex.log"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "METALBGP_RUN": str(directory)}
        command = inside(
            NODE,
            *("setpriv", "--bounding-set", capabilities, "--inh-caps", "-all", "--no-new-privs"),
            *(sys.executable, "-m", "metalbgp.reflex"),
        )
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, cwd="/", stderr=log)
        self.wait_for(self._listening)
        self.agent = self.connect()

    def _listening(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(self.log())
        return "reflex-ready" in self.log()

    def wait_for(self, condition: Callable[[], bool], limit: float = 10.0) -> None:
        until = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < until, self.log()
            select.select([], [], [], 0.01)

    def log(self) -> str:
        return self._log.read_text()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.path))
        connection.settimeout(5)
        return connection

    def say(self, message: dict[str, Any], to: socket.socket | None = None) -> dict[str, Any]:
        """Send it, then ask; the answer proves that both were read."""
        if to is None:
            with self.connect() as passing:
                state = self.say(message, passing)
            self._readers.pop(passing).close()
            return state
        if to not in self._readers:  # one for its life: it may hold half of the next line
            self._readers[to] = to.makefile("rb")
        to.sendall(json.dumps(message).encode() + b'\n{"ask":"state"}\n')
        addresses: dict[str, Any] = {}
        while True:
            answer = json.loads(self._readers[to].readline())
            addresses |= answer.get("addresses", {})
            if "asked" in answer:
                return {**answer["state"], "counters": addresses}

    def duties(self, *entries: list[Any]) -> dict[str, Any]:
        """The full set of addresses for which this node is the only candidate; told by an agent."""
        wanted = {entry[0]: [entry[0], entry[1] if len(entry) > 1 else None, ["node"]] for entry in entries}
        if self.agent not in self._told:
            self.say({"identity": IDENTITY}, self.agent)
        gone = self._told.get(self.agent, set()) - wanted.keys()
        self._told[self.agent] = set(wanted)
        self.say({"remove": sorted(gone), "add": list(wanted.values())}, self.agent)
        self.say({"full": True}, self.agent)
        self.wait_for(lambda: self.state()["self"]["state"] in ("active", "no-duties"))
        return self.state()

    def state(self) -> dict[str, Any]:
        return self.say({"ask": "state"})

    def status(self, field: str) -> str:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return line.partition(":")[2].strip()
        raise KeyError(field)

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return seconds(self.process.pid)

    def stop(self) -> None:
        self.agent.close()
        self.process.terminate()
        self.process.wait(10)


class Station:
    """The neighbour's end of one wire: sends any frame, sees all that arrive."""

    def __init__(self, interface: str) -> None:
        self.mac = PEER_MAC[interface]
        self._socket = socket_in(NEIGHBOUR, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 23)  # SO_RCVBUFFORCE: thousands of frames at once
        self._socket.bind((interface, 3))  # ETH_P_ALL

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def frames(self, limit: float) -> Iterator[bytes]:
        """Whatever arrives within that many seconds."""
        until = time.monotonic() + limit
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                yield self._socket.recv(2048)
            except TimeoutError:
                return

    def until(self, wanted: Callable[[bytes], bool], limit: float = 10.0) -> list[bytes]:
        """All frames up to the wanted one."""
        seen = []
        for frame in self.frames(limit):
            seen.append(frame)
            if wanted(frame):
                return seen
        raise AssertionError(
            f"nothing such within {limit} s, but {len(seen)} others: {[frame.hex() for frame in seen[-5:]]}"
        )

    def ask(self, question: bytes, wanted: Callable[[bytes], bool], limit: float = 10.0) -> None:
        """Again and again, as a host does: a link that has just come up may lose a frame."""
        until = time.monotonic() + limit
        while time.monotonic() < until:
            self.send(question)
            if any(wanted(frame) for frame in self.frames(0.5)):
                return
        raise AssertionError(f"no answer within {limit} s")

    def drain(self) -> None:
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(2048)
        except BlockingIOError:
            return

    def close(self) -> None:
        self._socket.close()


def mac_bytes(written: str) -> bytes:
    return bytes.fromhex(written.replace(":", ""))


def ip_bytes(written: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in written else socket.AF_INET, written)


def arp(
    target: str,
    *,
    sender: str = "192.0.2.2",
    mac: str = PEER_MAC["p0"],
    to: str = BROADCAST,
    operation: int = 1,
    tag: int | None = None,
) -> bytes:
    """One ARP frame; tag: an 802.1Q VLAN id."""
    vlan = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac_bytes(mac) + ip_bytes(sender)
    return mac_bytes(to) + mac_bytes(mac) + vlan + b"\x08\x06" + body + bytes(6) + ip_bytes(target)


def is_arp_reply(address: str) -> Callable[[bytes], bool]:
    """One answer to somebody, not the gratuitous form to all."""
    return lambda frame: (
        frame[12:14] == b"\x08\x06"
        and frame[20:22] == b"\0\2"
        and frame[28:32] == ip_bytes(address)
        and frame[:6] != b"\xff" * 6
    )


def is_gratuitous(address: str) -> Callable[[bytes], bool]:
    return lambda frame: (
        frame[12:14] == b"\x08\x06"
        and frame[28:32] == ip_bytes(address)
        and frame[38:42] == ip_bytes(address)
    )


def checksum(source: bytes, target: bytes, message: bytes) -> int:
    """RFC 1071, word by word."""
    data = source + target + struct.pack("!II", len(message), 58) + message
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def solicitation(
    target: str, *, sender: str = "2001:db8::2", unicast_to: str = "", option: bool = True
) -> bytes:
    """One neighbour solicitation from p0, to the solicited-node group or to one MAC."""
    mac = mac_bytes(PEER_MAC["p0"])
    address = ip_bytes(target)
    group = bytes.fromhex("ff0200000000000000000001ff") + address[13:]
    to, to_mac = (address, mac_bytes(unicast_to)) if unicast_to else (group, b"\x33\x33" + group[12:])
    rest = bytes(4) + address + (b"\x01\x01" + mac if option else b"")
    code = checksum(ip_bytes(sender), to, b"\x87\0\0\0" + rest)
    message = b"\x87\0" + struct.pack("!H", code) + rest
    head = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + ip_bytes(sender) + to
    return to_mac + mac + b"\x86\xdd" + head + message


def is_advertisement(target: str) -> Callable[[bytes], bool]:
    return lambda frame: (
        frame[12:14] == b"\x86\xdd" and frame[54:55] == b"\x88" and frame[62:78] == ip_bytes(target)
    )
