"""A node with a real reflex and a router with FRR's bfdd, joined by two links; the test plays the parent.

In:  lab(); Router.start() with bfdd's lines; Node.start(), Node.want().
Out: Node.rows, what the reflex said last of each session, and Node.log of all that it said; Router.peers(),
     Router.counters().

Router and node have the link-local addresses fe80::1 and fe80::2 on both links. Everything is named after
the test's pid; what a crashed run left is removed at the next start.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.processes import seconds
from tests.wire.doing import run, wait_for
from tests.wire.left_over import clean

ROOT = Path(__file__).resolve().parents[2]
NAME = "mbfd"
PREFIX = f"{NAME}-{os.getpid()}"
NODE, ROUTER = f"{PREFIX}-n", f"{PREFIX}-r"
FRR = Path("/usr/lib/frr")
CAPABILITIES = "-all,+net_raw,+sys_nice"  # what the container leaves
LINKS = {"eth0": "p0", "eth1": "p1"}  # ours → the router's
HERE, THERE = "10.80.0.2", "10.80.0.1"
HERE6, THERE6 = "fd80::2", "fd80::1"
HERE_FAR, THERE_FAR = "10.81.0.2", "10.81.0.1"  # on lo of each: a hop further
HERE_LOCAL, THERE_LOCAL = "fe80::2", "fe80::1"
Row = dict[str, Any]


def entry(peer: str = THERE, **fields: Any) -> Row:
    """One session as the parent says it."""
    return {"key": peer, "peer": peer, "receive": 100, "transmit": 100, "multiplier": 3} | fields


class Router:
    """FRR's zebra and bfdd."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "router"
        self.folder.mkdir()
        shutil.chown(self.folder, "frr", "frr")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, lines: str, **more: str) -> None:
        """What does not run. `lines`: what stands in `bfd`; `more`: other daemons, as bgpd=configuration."""
        self._run("zebra", "", "zserv.api")
        self._run("bfdd", f"bfd\n{lines}\n", "bfdd.vty")
        for daemon, configuration in more.items():
            self._run(daemon, configuration, f"{daemon}.vty")

    def _run(self, daemon: str, configuration: str, made: str) -> None:
        if daemon in self._processes:
            return
        path = self.folder / f"{daemon}.conf"
        path.write_text(configuration)
        path.chmod(0o644)
        command = [
            "ip",
            "netns",
            "exec",
            ROUTER,
            str(FRR / daemon),
            "-f",
            str(path),
            "-u",
            "frr",
            "-g",
            "frr",
        ]
        command += ["-i", str(self.folder / f"{daemon}.pid"), "-z", str(self.folder / "zserv.api")]
        command += ["--vty_socket", str(self.folder), "--log", f"file:{self.folder / daemon}.log"]
        if daemon == "bfdd":
            command += ["--bfdctl", str(self.folder / "bfdd.sock")]
        self._processes[daemon] = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for((self.folder / made).exists, f"{daemon} to start")
        if daemon == "bfdd":  # where the machine grants it: its own delays are not what is tested here
            pid = (self.folder / "bfdd.pid").read_text().strip()
            command = ("chrt", "-a", "-f", "-p", "40", pid)
            subprocess.run(command, check=False, capture_output=True, timeout=20)

    def vtysh(self, *commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        return run("ip", "netns", "exec", ROUTER, "vtysh", "--vty_socket", str(self.folder), *words)

    def configure(self, *lines: str) -> None:
        self.vtysh("configure terminal", "bfd", *lines)

    def peers(self) -> dict[str, Row]:
        """By our address, and the interface where it has one: `fe80::2 p0`."""
        return {_named(one): one for one in json.loads(self.vtysh("show bfd peers json"))}

    def counters(self) -> dict[str, Row]:
        return {_named(one): one for one in json.loads(self.vtysh("show bfd peers counters json"))}

    def kill(self, *daemons: str) -> None:
        """SIGKILL; all of them if none is named."""
        for daemon in daemons or tuple(self._processes):
            process = self._processes.pop(daemon)
            pid = int((self.folder / f"{daemon}.pid").read_text())
            os.kill(pid, signal.SIGKILL)
            process.wait(10)
            for left in (
                f"{daemon}.vty",
                f"{daemon}.pid",
                "bfdd.sock" if daemon == "bfdd" else f"{daemon}.x",
            ):
                (self.folder / left).unlink(missing_ok=True)

    def signal(self, daemon: str, number: int) -> None:
        os.kill(int((self.folder / f"{daemon}.pid").read_text()), number)


def _named(one: Row) -> str:
    return f"{one['peer']} {one['interface']}" if one["peer"].startswith("fe80") else str(one["peer"])


class Node:
    """The reflex as in its pod, and the parent that talks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "node"
        self.folder.mkdir()
        self.rows: dict[str, Row] = {}
        self.log: list[tuple[float, str, Row]] = []  # when it was read, key, row
        self.problems: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._unread = b""
        self._path = self.folder / "reflex.log"

    def start(self, capabilities: str = CAPABILITIES, before: Iterable[str] = ()) -> None:
        """`before`: words of a command that starts it."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "METALBGP_RUN": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = ["nsenter", f"--net=/run/netns/{NODE}", "setpriv", "--bounding-set", capabilities]
        command += ["--inh-caps", "-all", "--no-new-privs", *before, sys.executable, "-m", "metalbgp.reflex"]
        begin = len(self.said())
        with self._path.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, cwd="/", stderr=log)
        wait_for(lambda: "reflex-ready" in self.said()[begin:], "the reflex to start")
        self.connect()

    def said(self) -> str:
        """What it wrote to its log."""
        return self._path.read_text() if self._path.exists() else ""

    def connect(self) -> None:
        self.disconnect()
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(self.folder / "reflex.sock"))
        self._unread = b""

    def disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def want(self, *entries: Row) -> dict[str, Row]:
        """The full list; returns what is answered."""
        assert self._link is not None
        self.rows, before = {}, len(self.log)
        self._link.sendall(json.dumps({"bfd": entries}).encode() + b"\n")
        if entries:
            self.until(lambda: len(self.log) > before, "an answer")
        return self.rows

    def listen(self, limit: float) -> None:
        """Take in what comes within the limit; returns after the first piece."""
        assert self._link is not None
        if not select.select([self._link], [], [], limit)[0]:
            return
        piece = self._link.recv(1 << 20)
        assert piece, "the reflex closed the connection"
        *lines, self._unread = (self._unread + piece).split(b"\n")
        for line in lines:
            message = json.loads(line)
            for key, row in message.get("bfd", {}).items():
                self.rows[key] = row
                self.log.append((time.monotonic(), key, row))
            if "problem" in message:
                self.problems.append(message["problem"])

    def until(self, condition: Callable[[], Any], what: str, limit: float = 15.0) -> Any:
        end = time.monotonic() + limit
        while not (value := condition()):
            assert time.monotonic() < end, f"not within {limit} s: {what}; {self.rows}"
            self.listen(0.02)
        return value

    def until_state(self, state: str, *keys: str, limit: float = 15.0) -> float:
        """Until these sessions are so; the moment at which the last of them was heard to be."""

        def so() -> bool:
            return all(self.rows.get(key, {}).get("state") == state for key in keys or (THERE,))

        self.until(so, f"{keys or THERE} {state}", limit)
        return max(at for at, key, row in self.log if key in (keys or (THERE,)) and row["state"] == state)

    def ask(self) -> Row:
        """The reflex's whole state."""
        command = [sys.executable, "-m", "metalbgp.reflex.ask", "state", "-"]
        environment = os.environ | {"METALBGP_RUN": str(self.folder), "PYTHONPATH": str(ROOT)}
        answer = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, check=True, timeout=20
        )
        found: Row = json.loads(answer.stdout)["state"]
        return found

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        assert self.process is not None
        return seconds(self.process.pid)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.disconnect()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(10)
        self.process = None


class Lab:
    def __init__(self, folder: Path) -> None:
        self.node, self.router = Node(folder), Router(folder)

    def cut(self, link: str = "eth0") -> None:
        """The router's end goes down, and so both lose their carrier."""
        run("ip", "-n", ROUTER, "link", "set", LINKS[link], "down")

    def mend(self, link: str = "eth0") -> None:
        run("ip", "-n", ROUTER, "link", "set", LINKS[link], "up")

    def lose(self, *rules: str) -> None:
        """nftables rules in the router's input: what it shall not hear; none: everything passes again."""
        lines = "".join(f"add rule inet lose input {rule} drop\n" for rule in rules)
        text = (
            "add table inet lose\ndelete table inet lose\nadd table inet lose\n"
            "add chain inet lose input { type filter hook input priority 0; }\n" + lines
        )
        subprocess.run(
            ("ip", "netns", "exec", ROUTER, "nft", "-f", "-"), input=text, text=True, check=True, timeout=20
        )


def addresses() -> None:
    """Of both ends, as at the start."""
    for number, (ours, theirs) in enumerate(LINKS.items()):
        for namespace, device, last in ((NODE, ours, 2), (ROUTER, theirs, 1)):
            run("ip", "-n", namespace, "link", "set", device, "addrgenmode", "none")
            run("ip", "-n", namespace, "address", "replace", f"10.8{number * 2}.0.{last}/24", "dev", device)
            run(
                *("ip", "-n", namespace, "address", "replace", f"fd8{number}::{last}/64", "dev", device),
                "nodad",
            )
            run("ip", "-n", namespace, "address", "replace", f"fe80::{last}/64", "dev", device, "nodad")
            run("ip", "-n", namespace, "link", "set", device, "up")


def _make() -> None:
    for namespace in (NODE, ROUTER):
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
    for ours, theirs in LINKS.items():
        run("ip", "-n", NODE, "link", "add", ours, "type", "veth", "peer", theirs, "netns", ROUTER)
    addresses()
    run("ip", "-n", NODE, "address", "add", f"{HERE_FAR}/32", "dev", "lo")
    run("ip", "-n", ROUTER, "address", "add", f"{THERE_FAR}/32", "dev", "lo")
    run("ip", "-n", NODE, "route", "add", THERE_FAR, "via", THERE, "src", HERE_FAR)
    run("ip", "-n", ROUTER, "route", "add", HERE_FAR, "via", HERE, "src", THERE_FAR)


@contextmanager
def laboratory() -> Iterator[Lab]:
    clean(NAME)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    folder.chmod(0o755)
    lab = Lab(folder)
    try:
        _make()
        yield lab
    finally:
        sys.stderr.write(lab.node.said()[-6000:])  # pytest shows it when the test failed
        lab.node.kill()
        lab.router.kill()
        clean(NAME)
        shutil.rmtree(folder, ignore_errors=True)
