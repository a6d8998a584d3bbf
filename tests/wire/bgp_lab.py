"""Real FRR routers and a real speaker parent in network namespaces; the test plays the agent.

Everything is named after the test's pid; what a crashed run left is removed at the next start.
One file because router, speaker and agent are one laboratory, made and cleaned together.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.wire.doing import run, wait_for
from tests.wire.left_over import clean

ROOT = Path(__file__).resolve().parents[2]
NAME = "mbgp"
PREFIX = f"{NAME}-{os.getpid()}"
SPEAKER = f"{PREFIX}-s"
BGPD = Path("/usr/lib/frr/bgpd")
Attributes = dict[str, Any] | None
Key = tuple[str, str]


class Linked:
    """A namespace joined to the speaker: 10.90.N.1 here, 10.90.N.2 there; fd90:N::/64."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.namespace = f"{PREFIX}-r{number}"
        self.folder = folder / f"r{number}"
        self.v4, self.ours4 = f"10.90.{number}.1", f"10.90.{number}.2"
        self.v6, self.ours6 = f"fd90:{number}::1", f"fd90:{number}::2"
        self.asn = 65100 + number
        self._process: subprocess.Popen[bytes] | None = None
        self._link()
        self.folder.mkdir()

    def _link(self) -> None:
        veth = f"v{self.number}"
        run("ip", "netns", "add", self.namespace)
        run("ip", "-n", SPEAKER, "link", "add", veth, "type", "veth", "peer", "v0", "netns", self.namespace)
        for namespace, device, four, six in (
            (SPEAKER, veth, self.ours4, self.ours6),
            (self.namespace, "v0", self.v4, self.v6),
        ):
            run("ip", "-n", namespace, "address", "add", f"{four}/24", "dev", device)
            run("ip", "-n", namespace, "address", "add", f"{six}/64", "dev", device, "nodad")
            run("ip", "-n", namespace, "link", "set", "lo", "up")
            run("ip", "-n", namespace, "link", "set", device, "up")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def neighbor(self, family: int = 4, **changes: Any) -> dict[str, Any]:
        """The Neighbor that the speaker needs for this router."""
        address, families = (self.v4, ["ipv4"]) if family == 4 else (self.v6, ["ipv6"])
        return {
            "address": address,
            "name": f"r{self.number}-{family}",
            "local_as": 65001,
            "peer_as": self.asn,
            "router_id": "10.90.0.2",
            "hold_time": 9,
            "families": families,
            **changes,
        }


class Router(Linked):
    """One bgpd of FRR."""

    def __init__(self, number: int, folder: Path) -> None:
        super().__init__(number, folder)
        self._peers: tuple[str, ...] = self.ours4, self.ours6
        self._others: list[subprocess.Popen[bytes]] = []  # zebra, bfdd
        shutil.chown(self.folder, "frr", "frr")

    def start(
        self,
        *,
        remote_as: int = 65001,
        neighbor_lines: Iterable[str] = (),
        lines: str = "",
        before: str = "",
        peers: Iterable[str] | None = None,
        port: int = 179,
        zebra: bool = False,
        bfd: str = "",
    ) -> None:
        """`peers`: whom it knows, with remote_as and neighbor_lines; else our two addresses on its link.

        `before`: what stands outside of `router bgp`; `lines`: what stands in it. `zebra`: with it, for what
        bgpd cannot do alone: router advertisements. `bfd`: what stands in `bfd`; bfdd and zebra run then.
        """
        if peers is not None:
            self._peers = tuple(peers)
        extra = "\n".join(f" neighbor {peer} {line}" for peer in self._peers for line in neighbor_lines)
        known = "\n".join(f" neighbor {peer} remote-as {remote_as}" for peer in self._peers)
        six = "\n".join(f"  neighbor {peer} activate" for peer in self._peers if ":" in peer)
        config = f"""{before}
router bgp {self.asn}
 bgp router-id {self.v4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 timers bgp 3 9
{known}
{extra}
{lines}
 address-family ipv6 unicast
{six}
"""
        path = self.folder / "bgpd.conf"
        path.write_text(config)
        path.chmod(0o644)
        if zebra or bfd:
            self._start("zebra", "", "zserv.api")
        if bfd:
            self._start("bfdd", f"bfd\n{bfd}\n", "bfdd.vty", "--bfdctl", str(self.folder / "bfdd.sock"))
        command = ["ip", "netns", "exec", self.namespace, str(BGPD), "-f", str(path)]
        command += ["-z", str(self.folder / "zserv.api")] if zebra or bfd else ["-Z"]
        command += ["-i", str(self.folder / "bgpd.pid"), "--vty_socket", str(self.folder)]
        command += ["-u", "frr", "-g", "frr", "-p", str(port), "--log", f"file:{self.folder / 'bgpd.log'}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for((self.folder / "bgpd.vty").exists, "bgpd's socket")

    def _start(self, daemon: str, configuration: str, made: str, *words: str) -> None:
        path = self.folder / f"{daemon}.conf"
        path.write_text(configuration)
        path.chmod(0o644)
        command = ["ip", "netns", "exec", self.namespace, str(BGPD.with_name(daemon))]
        command += ["-f", str(path), "-i", str(self.folder / f"{daemon}.pid")]
        command += ["-z", str(self.folder / "zserv.api"), "--vty_socket", str(self.folder), *words]
        command += ["-u", "frr", "-g", "frr", "--log", f"file:{self.folder / daemon}.log"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._others.append(process)
        wait_for((self.folder / made).exists, f"{daemon}'s socket")

    def kill(self) -> None:
        super().kill()
        for process in self._others:
            process.kill()
            process.wait(10)
        self._others.clear()
        for left in ("bgpd.vty", "zebra.vty", "bfdd.vty", "bfdd.sock", "zserv.api"):
            (self.folder / left).unlink(missing_ok=True)

    def pause(self) -> None:
        """bgpd is busy with something else, and its kernel is not."""
        os.kill(int((self.folder / "bgpd.pid").read_text()), signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(int((self.folder / "bgpd.pid").read_text()), signal.SIGCONT)

    def vtysh(self, *commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        return run("ip", "netns", "exec", self.namespace, "vtysh", "--vty_socket", str(self.folder), *words)

    def table(self, family: int = 4) -> dict[str, int]:
        """prefix -> MED of everything that the router holds, stale included."""
        shown = json.loads(self.vtysh(f"show bgp ipv{family} unicast json"))
        return {prefix: paths[0].get("metric", 0) for prefix, paths in shown.get("routes", {}).items()}

    def path(self, prefix: str) -> dict[str, Any]:
        family = 6 if ":" in prefix else 4
        shown = json.loads(self.vtysh(f"show bgp ipv{family} unicast {prefix} json"))
        found: dict[str, Any] = shown["paths"][0]
        return found

    def stale(self) -> int:
        return self.vtysh("show ip bgp").count("\nS")

    def up(self, family: int) -> bool:
        return bool(self.session(family)["bgpState"] == "Established")

    def session(self, family: int = 4, peer: str = "") -> dict[str, Any]:
        peer = peer or (self.ours6 if family == 6 else self.ours4)
        found: dict[str, Any] = json.loads(self.vtysh(f"show bgp neighbors {peer} json"))[peer]
        return found


class Agent:
    """A client of parent.sock that says it is the agent, and remembers what it hears."""

    def __init__(self, path: Path) -> None:
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(path))
        self._unread = b""
        self.routes: dict[Key, str] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.session_log: list[tuple[str, str]] = []
        self.problems: list[dict[str, Any]] = []
        self.journal: dict[str, Any] = {}
        self.orders: list[dict[str, Any]] | None = None
        self.say({"hello": "agent"})
        self.until(lambda: bool(self.journal), "the journal")

    def say(self, message: Mapping[str, Any]) -> None:
        self._link.sendall(json.dumps(message).encode() + b"\n")

    def neighbors(self, *neighbors: Mapping[str, Any]) -> None:
        self.say({"neighbors": neighbors})

    def want(self, wants: Mapping[Key, Attributes]) -> None:
        self.say({"want": [[*key, attributes] for key, attributes in wants.items()]})

    def listen(self, limit: float) -> None:
        """Take in what comes within the limit; returns after the first piece."""
        if not select.select([self._link], [], [], limit)[0]:
            return
        data = self._link.recv(1 << 20)
        assert data, "the parent closed the connection"
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, message: dict[str, Any]) -> None:
        if "journal" in message:
            self.journal = message["journal"]
            self.sessions = {s["peer"]: s for s in self.journal["sessions"]}
            self.routes = {(r[0], r[1]): r[5] for r in self.journal["routes"]}
        self.orders = message.get("orders", self.orders)
        if "session" in message:
            self.sessions[message["session"]["peer"]] = message["session"]
            self.session_log.append((message["session"]["peer"], message["session"]["state"]))
        for peer, prefix, state, _ in message.get("routes", ()):
            self.routes[peer, prefix] = state
        if "problem" in message:
            self.problems.append(message["problem"])

    def until(self, condition: Callable[[], Any], what: str, limit: float = 15.0) -> Any:
        end = time.monotonic() + limit
        while True:
            if value := condition():
                return value
            if time.monotonic() > end:
                known = {k: v for k, v in self.routes.items() if v not in {"confirmed", "withdrawn"}}
                raise AssertionError(f"not within {limit} s: {what}; {known} {self.sessions} {self.problems}")
            self.listen(0.02)

    def established(self, *peers: str, limit: float = 15.0) -> None:
        def up() -> bool:
            return all(self.sessions.get(p, {}).get("state") == "Established" for p in peers)

        self.until(up, f"sessions with {peers}", limit)

    def settled(self, wants: Mapping[Key, Attributes], limit: float = 20.0) -> None:
        """Every route is confirmed, or withdrawn."""

        def done() -> bool:
            return all(
                self.routes.get(key, "withdrawn") == ("withdrawn" if attributes is None else "confirmed")
                for key, attributes in wants.items()
            )

        self.until(done, "all routes settled", limit)

    def close(self) -> None:
        self._link.close()


class Speaker:
    """`python -m metalbgp.speaker` in its namespace, with ExaBGP and without agent and reflex."""

    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self._log = (folder / "speaker.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **env: str) -> None:
        merged = os.environ | {"METALBGP_RUN": str(self.run), "METALBGP_AGENT": "", "METALBGP_REFLEX": ""}
        command = ["ip", "netns", "exec", SPEAKER, sys.executable, "-m", "metalbgp.speaker"]
        self._process = subprocess.Popen(command, env=merged | env, cwd=ROOT, stderr=self._log)
        wait_for(self._answers, "parent.sock")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as link:
            try:
                link.connect(str(self.run / "parent.sock"))
            except OSError:
                return False
        return True

    def agent(self) -> Agent:
        return Agent(self.run / "parent.sock")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def exabgp(self) -> int:
        found = [p for p in children(self.pid) if b"launch.py" in cmdline(p) and b"server" in cmdline(p)]
        return found[0] if found else 0

    def helper(self) -> int:
        found = [p for p in children(self.exabgp()) if b"helper.py" in cmdline(p)]
        return found[0] if found else 0

    def ask(self, question: str = "journal") -> Any:
        command = [sys.executable, "-m", "metalbgp.speaker.ask", question]
        env = os.environ | {"METALBGP_RUN": str(self.run)}
        answer = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, check=True, timeout=20)
        return json.loads(answer.stdout)

    def terminate(self) -> float:
        """Stop it in order; the seconds that it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        self._process.wait(20)
        return time.monotonic() - began

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def log(self) -> str:
        return Path(self._log.name).read_text()


def children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def resident(pid: int) -> float:
    """MiB"""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Lab:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.routers: dict[int, Router] = {}
        self.others: list[Linked] = []  # what is no FRR: gobgp_lab.py
        self.speaker = Speaker(folder)

    def router(self, number: int) -> Router:
        self.routers[number] = Router(number, self.folder)
        return self.routers[number]

    def equal(self, wants: Mapping[Key, Attributes], limit: float = 10.0) -> None:
        """Every router's table is what is wanted, prefix by prefix, with its MED."""
        for router in self.routers.values():
            for family, peer in ((4, router.v4), (6, router.v6)):
                want = {k[1]: a.get("med", 0) for k, a in wants.items() if k[0] == peer and a is not None}
                _wait_equal(partial(router.table, family), want, f"r{router.number} IPv{family}", limit)


def two_routers(lab: Lab, **changes: Any) -> tuple[Agent, dict[str, Any], dict[str, Any]]:
    """Routers 1 and 2 with a session each; the agent, and both Neighbors."""
    one, two = lab.router(1), lab.router(2)
    one.start()
    two.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    neighbors = one.neighbor(**changes), two.neighbor(**changes)
    agent.neighbors(*neighbors)
    agent.established(one.v4, two.v4)
    return agent, *neighbors


def routes(peer: str, count: int = 5) -> dict[Key, Attributes]:
    return {(peer, f"192.0.2.{n}/32"): {"med": n} for n in range(1, count + 1)}


def _wait_equal(table: Callable[[], dict[str, Any]], want: dict[str, Any], who: str, limit: float) -> None:
    end = time.monotonic() + limit
    while (seen := table()) != want:
        if time.monotonic() > end:
            different = {p: (seen.get(p), want.get(p)) for p in {*seen, *want} if seen.get(p) != want.get(p)}
            raise AssertionError(f"{who}: (router, wanted) {different}")
        select.select([], [], [], 0.05)


@contextmanager
def laboratory() -> Iterator[Lab]:
    clean(NAME)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    folder.chmod(0o755)
    run("ip", "netns", "add", SPEAKER)
    run("ip", "-n", SPEAKER, "link", "set", "lo", "up")
    lab = Lab(folder)
    try:
        yield lab
    finally:
        lab.speaker.kill()
        sys.stderr.write(lab.speaker.log()[-6000:])  # pytest shows it when the test failed
        for router in (*lab.routers.values(), *lab.others):
            router.kill()
        clean(NAME)
        shutil.rmtree(folder, ignore_errors=True)
