"""Several nodes with a real reflex each, on a switch whose links can be made to fail, and a client that asks.

In:  cluster(nodes, segments); calm() makes everything whole, then cut(), lose(), part(), kill(), pause().
Out: Watch says who answered when, by the kernel's clock; Node.agent what the reflex reported.
Elsewhere: what happens every 20 ms is l2_prober.py. The agent here is a fake one; it speaks the reflex's
     lines (metalbgp/reflex/messages.py).

Each node has a boot clock of its own, days apart: nothing that nodes tell each other may depend on it. What
a crashed run left is removed at the next start. One file because nodes, switch, agent and client are one
laboratory, made and cleaned together.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.wire import doing
from tests.wire.doing import run
from tests.wire.left_over import clean

ROOT = Path(__file__).resolve().parents[2]
NAME = "mbl2c"
PREFIX = f"{NAME}-{os.getpid()}"
SWITCH, CLIENT = f"{PREFIX}-switch", f"{PREFIX}-client"
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
CAPABILITIES = "-all,+net_raw,+sys_nice"  # what the container leaves
ETHERTYPE, UDP = "ether type 0x88b5", "udp dport 7946"
EVERYTHING, HEARTBEATS = ("",), (ETHERTYPE, UDP)
QUESTION_EVERY = 0.02


class Duty(NamedTuple):
    """What every agent tells its reflex of one address."""

    address: str
    candidates: Sequence[str]
    interfaces: Sequence[str] | None = None
    options: Mapping[str, bool] = {}

    def entry(self) -> list[Any]:
        return [self.address, self.interfaces, list(self.candidates), dict(self.options)]


class Agent:
    """One node's fake agent: says what it is told to, keeps all that the reflex says."""

    def __init__(self, path: Path) -> None:
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._heard = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with suppress(OSError), self._socket.makefile("rb") as lines:
            for line in lines:
                with self._heard:
                    self.lines.append((time.time(), json.loads(line)))
                    self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def say(self, *messages: Mapping[str, Any]) -> None:
        self._socket.sendall(b"".join(json.dumps(each).encode() + b"\n" for each in messages))

    def identity(self, node: str, *keys: bytes) -> None:
        self.say({"identity": {"node": node, "keys": [base64.b64encode(key).decode() for key in keys]}})

    def add(self, duties: Iterable[Duty]) -> None:
        entries = [duty.entry() for duty in duties]
        self.say(*({"add": entries[start : start + 500]} for start in range(0, len(entries), 500)))

    def ask(self, limit: float = 10.0) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state, and what there is to say of each address. What was said before has been read."""
        with self._heard:
            begin = len(self.lines)
            self.say({"ask": "state"})

            def answered() -> bool:
                return self._ended or any("asked" in line for _, line in self.lines[begin:])

            assert self._heard.wait_for(answered, limit), "the reflex does not answer its agent"
            addresses: dict[str, Any] = {}
            for _, line in self.lines[begin:]:
                addresses |= line.get("addresses", {})
                if "asked" in line:
                    return line["state"], addresses
        raise ConnectionError("the reflex went away")

    def changes(self, kind: str, since: float = 0.0) -> list[tuple[float, list[Any]]]:
        """What it said of gained or lost addresses, with the time at which it did."""
        with self._heard:
            return [(at, one) for at, line in self.lines if at >= since for one in line.get(kind, [])]

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


class Node:
    """A namespace with one interface a segment, and the process under test in it."""

    def __init__(self, number: int, segments: int, folder: Path) -> None:
        self.number, self.name, self.segments = number, f"n{number}", segments
        self.namespace = f"{PREFIX}-{self.name}"
        self.folder = folder / self.name
        self.folder.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.agent: Agent | None = None
        self.keys: tuple[bytes, ...] = (KEY,)
        self.identity = self.name
        self.duties: tuple[Duty, ...] = ()
        self._log = self.folder / "reflex.log"
        self._paused = False

    def mac(self, segment: int = 0) -> str:
        return f"02:00:00:00:{segment:02x}:{self.number:02x}"

    def port(self, segment: int = 0) -> str:
        return f"{self.name}p{segment}"

    def inside(self, *command: str) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.namespace}", *command)

    def ip(self, *command: str) -> str:
        return run("ip", "-n", self.namespace, *command)

    def wire(self, segment: int, interface: str | None = None) -> None:
        """The cable of one segment: a new veth pair, with addresses, its other end a port of the switch."""
        name, port = interface or f"eth{segment}", self.port(segment)
        kind = ("type", "veth", "peer", port, "netns", SWITCH)
        self.ip("link", "add", name, "address", self.mac(segment), *kind)
        run("ip", "-n", SWITCH, "link", "set", port, "master", f"br{segment}", "up")
        self.ip("link", "set", name, "up")
        self.address(name, segment)

    def address(self, interface: str, segment: int) -> None:
        self.ip("address", "add", f"192.0.2.{self.number}/24", "dev", interface) if segment == 0 else self.ip(
            "address", "add", f"198.51.100.{self.number}/24", "dev", interface
        )
        self.ip("address", "add", f"2001:db8:{segment}::{self.number}/64", "dev", interface, "nodad")

    # The process

    def start(self) -> None:
        """The reflex, ready, and its agent, which has told it everything."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "METALBGP_RUN": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = self.inside(
            *("unshare", "--time", "--boottime", str(self.number * 1_000_000)),
            *("setpriv", "--bounding-set", CAPABILITIES, "--inh-caps", "-all", "--no-new-privs"),
            *(sys.executable, "-m", "metalbgp.reflex"),
        )
        begin = len(self.log())
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, cwd="/", stderr=log)
        self._paused = False

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            return "reflex-ready" in self.log()[begin:]

        wait_for(ready, f"{self.name} to start")
        self.connect()

    def connect(self) -> None:
        """A new agent, which tells everything anew."""
        self.disconnect()
        self.agent = Agent(self.folder / "reflex.sock")
        self.tell()

    def tell(self) -> None:
        """Identity and all duties as they are now."""
        agent = self.there
        agent.identity(self.identity, *self.keys)
        agent.add(self.duties)
        agent.say({"full": True})

    def retell(self, duties: Iterable[Duty]) -> None:
        """Other duties: the difference, as an agent says it."""
        before, self.duties = {duty.address: duty for duty in self.duties}, tuple(duties)
        now = {duty.address: duty for duty in self.duties}
        if gone := [address for address in before if address not in now]:
            self.there.say({"remove": gone})
        self.there.add(duty for duty in self.duties if before.get(duty.address) != duty)

    def disconnect(self) -> None:
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    @property
    def there(self) -> Agent:
        assert self.agent is not None, f"{self.name} has no agent"
        return self.agent

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self, number: int = signal.SIGKILL) -> float:
        """The moment of the signal; SIGSTOP is undone by resume()."""
        self._paused = number == signal.SIGSTOP
        at = time.time()
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            assert self.process is not None
            self.process.wait(10)
            self.disconnect()
        return at

    def pause(self) -> float:
        return self.kill(signal.SIGSTOP)

    def resume(self) -> float:
        return self.kill(signal.SIGCONT)

    def stop(self) -> float:
        """As Kubernetes does; the moment of the signal."""
        at = self.kill(signal.SIGTERM)
        assert self.process is not None
        self.process.wait(10)
        self.disconnect()
        return at

    def state(self) -> dict[str, Any]:
        return self.there.ask()[0]

    def addresses(self) -> dict[str, Any]:
        return self.there.ask()[1]

    def member(self, node: str) -> dict[str, Any]:
        """What this node says of the other one."""
        return next((one for one in self.state()["members"] if one["node"] == node), {})

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def events(self, name: str) -> int:
        """How often that line stands in the log."""
        return self.log().count(f'"{name}"')

    def whole(self) -> None:
        """Runs, with an agent, unpaused."""
        if self._paused and self.running:
            self.resume()
        if not self.running:
            self.start()
        elif self.agent is None:
            self.connect()

    def end(self) -> None:
        self.disconnect()
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


class Sighting(NamedTuple):
    at: float
    kind: str
    address: str
    mac: str


class Watch:
    """What the client saw on one segment."""

    def __init__(self, segment: int) -> None:
        self.segment = segment
        self.sightings: list[Sighting] = []
        prober = ROOT / "tests/wire/l2_prober.py"
        mac, ipv4 = f"02:00:00:00:{segment:02x}:fe", f"{('192.0.2', '198.51.100')[segment]}.254"
        where = (f"c{segment}", mac, ipv4, f"2001:db8:{segment}::fe")
        self._process = subprocess.Popen(
            ("nsenter", f"--net=/run/netns/{CLIENT}", sys.executable, str(prober), *where),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.sightings.append(Sighting(*json.loads(line)))

    def ask(self, *addresses: str) -> None:
        """What is asked for from now on; what was seen before is forgotten."""
        assert self._process.stdin is not None
        self.sightings = []
        self._process.stdin.write(" ".join(addresses).encode() + b"\n")
        self._process.stdin.flush()

    def seen(
        self, kind: str, address: str, begin: float = 0.0, end: float = float("inf")
    ) -> list[tuple[float, str]]:
        """Time and MAC of each such sighting, in order."""
        found = [one for one in list(self.sightings) if one.kind == kind and one.address == address]
        return sorted((one.at, one.mac) for one in found if begin <= one.at < end)

    def answers(self, address: str, begin: float = 0.0, end: float = float("inf")) -> list[tuple[float, str]]:
        return self.seen("a", address, begin, end)

    def first(self, address: str, mac: str, since: float, limit: float = 10.0) -> float:
        """When that one first answered after that moment; waits for it."""
        found: list[float] = []

        def answered() -> bool:
            found.extend(at for at, one in self.answers(address, since) if one == mac)
            return bool(found)

        wait_for(answered, f"{mac} to answer for {address}", limit)
        return min(found)

    def settled(self) -> float:
        """Now, and all that was answered until now has been read."""
        now = time.time()

        def later() -> bool:
            return any(one.kind == "q" and one.at > now + QUESTION_EVERY for one in self.sightings[-200:])

        wait_for(later, "questions")
        return now

    def silence(self, address: str, begin: float, end: float) -> float:
        """The longest time between two answers: 0.02 where every question was answered."""
        moments = [begin, *(at for at, _ in self.answers(address, begin, end)), end]
        return max(after - before for before, after in pairwise(moments))

    def unanswered(self, address: str, begin: float, end: float) -> int:
        """How many questions nobody answered before the next one."""
        asked = [at for at, _ in self.seen("q", address, begin, end)]
        answered = [at for at, _ in self.answers(address, begin)]
        stops = [*asked[1:], asked[-1] + QUESTION_EVERY] if asked else []
        return sum(
            bisect_left(answered, start) == bisect_left(answered, stop)
            for start, stop in zip(asked, stops, strict=True)
        )

    def owners(self, address: str, begin: float, end: float = float("inf")) -> list[str]:
        """Who answered, each as often as it took turns with another: one name is no change of owner."""
        turns: list[str] = []
        for _, mac in self.answers(address, begin, end):
            if not turns or turns[-1] != mac:
                turns.append(mac)
        return turns

    def overlap(self, address: str, begin: float, end: float) -> float:
        """The longest time in which two answered: from the newcomer's first answer to the other's last one.

        One that leaves and is back later is no such time: the answers of two must lie between each other.
        A question with two answers counts for at least as long as it takes until the next one.
        """
        answers = self.answers(address, begin, end)
        spans: list[tuple[float, float]] = []
        last: dict[str, float] = {}
        for (one, mac), (two, other) in pairwise(answers):
            last[mac] = one
            if mac == other:
                continue
            if two - one < QUESTION_EVERY / 2:  # the same question
                spans.append((one, one + QUESTION_EVERY))
            if two - last.get(other, 0.0) < 2.5 * QUESTION_EVERY:
                spans.append((last[other], two))
        longest, start, stop = 0.0, 0.0, 0.0
        for first, final in sorted(spans):
            if first > stop:
                start = first
            stop = max(stop, final)
            longest = max(longest, stop - start)
        return longest

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._thread.join(5)


class Cluster:
    """Nodes, switch, client."""

    def __init__(self, nodes: int, segments: int, folder: Path) -> None:
        self.segments = range(segments)
        self.folder = folder
        for namespace in (SWITCH, CLIENT):
            _namespace(namespace)
        for segment in self.segments:
            for bridge in (f"br{segment}", f"alt{segment}"):  # the second one is the other half
                run("ip", "-n", SWITCH, "link", "add", bridge, "type", "bridge")
                run("ip", "-n", SWITCH, "link", "set", bridge, "up")
            self._wire_client(segment)
        self.nodes = {node.name: node for node in (Node(n, segments, folder) for n in range(1, nodes + 1))}
        for node in self.nodes.values():
            _namespace(node.namespace)
            for segment in self.segments:
                node.wire(segment)
        self.watches = [Watch(segment) for segment in self.segments]

    def _wire_client(self, segment: int) -> None:
        name, mac = f"c{segment}", f"02:00:00:00:{segment:02x}:fe"
        kind = ("type", "veth", "peer", name, "netns", CLIENT)
        run("ip", "-n", SWITCH, "link", "add", f"client{segment}", *kind)
        run("ip", "-n", SWITCH, "link", "set", f"client{segment}", "master", f"br{segment}", "up")
        run("ip", "-n", CLIENT, "link", "set", name, "address", mac, "up")

    @property
    def watch(self) -> Watch:
        return self.watches[0]

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def owner(self, address: str) -> list[str]:
        """The nodes that answered for it in the last moments, on any segment."""
        now = time.time()
        macs = {mac for watch in self.watches for _, mac in watch.answers(address, now - 0.15)}
        return sorted(self.name_of(mac) for mac in macs)

    def name_of(self, mac: str) -> str:
        return f"n{int(mac[-2:], 16)}"

    def calm(self, *duties: Duty, owner: str = "n1") -> None:
        """Everything whole, candidates told this, and every question answered, by that one alone."""
        self.heal()
        for node in self.nodes.values():
            changed = (node.keys, node.identity) != ((KEY,), node.name)
            node.keys, node.identity = (KEY,), node.name
            mine = tuple(duty for duty in duties if node.name in duty.candidates)
            if not node.running:
                node.duties = mine
            node.whole()
            if changed:
                node.tell()
            node.retell(mine)
        for watch in self.watches:
            watch.ask(*(duty.address for duty in duties))
        wait_for(self._all_live, "all candidates to know each other live", 15, self.report)
        self.wait_owned(owner, [duty.address for duty in duties])

    def _all_live(self) -> bool:
        everywhere = [f"eth{segment}" for segment in self.segments]
        for node in self.nodes.values():
            others = {each for duty in node.duties for each in duty.candidates} & self.nodes.keys()
            rows = {row["node"]: row for row in node.state()["members"]}
            for other in others - {node.name}:
                row = rows.get(other, {"state": "unheard"})
                if row["state"] != "live" or row["interfaces"] != everywhere:
                    return False
        return True

    def wait_owned(self, owner: str, addresses: Iterable[str], segments: Sequence[int] = ()) -> None:
        """Until for a while nobody else answered for any of them on these segments (all), and always."""
        wanted = list(addresses)

        def alone(watch: Watch, address: str, begin: float, end: float) -> bool:
            asked = watch.seen("q", address)
            return (
                bool(asked)
                and asked[0][0] < begin + QUESTION_EVERY
                and set(watch.owners(address, begin, end)) == {self[owner].mac(watch.segment)}
                and watch.unanswered(address, begin, end) == 0
            )

        def owned() -> bool:
            end = time.time() - QUESTION_EVERY
            watches = [self.watches[segment] for segment in segments or self.segments]
            return all(alone(watch, each, end - 0.2, end) for watch in watches for each in wanted)

        wait_for(owned, f"{owner} alone to answer for {wanted}", 15, self.report)

    # Faults

    def cut(self, node: str, at: str = "node", segment: int = 0) -> float:
        """At the node's end, at the switch's end (both lose their carrier), or inside of the switch."""
        return self._link(node, at, segment, "down")

    def mend(self, node: str, at: str = "node", segment: int = 0) -> float:
        return self._link(node, at, segment, "up")

    def _link(self, node: str, at: str, segment: int, way: str) -> float:
        port = self[node].port(segment)
        now = time.time()
        if at == "node":
            self[node].ip("link", "set", f"eth{segment}", way)
        elif at == "switch":
            run("ip", "-n", SWITCH, "link", "set", port, way)
        else:
            master = ("nomaster",) if way == "down" else ("master", f"br{segment}")
            run("ip", "-n", SWITCH, "link", "set", port, *master)
        return now

    def part(self, *away: str, segment: int = 0) -> float:
        """The switch falls into halves; the client stays with those that are not named."""
        return self._move(away, f"alt{segment}", segment)

    def join(self, *back: str, segment: int = 0) -> float:
        return self._move(back, f"br{segment}", segment)

    def _move(self, names: Sequence[str], bridge: str, segment: int) -> float:
        ports = [self[name].port(segment) for name in names]
        batch = "".join(f"link set {port} master {bridge}\n" for port in ports)
        now = time.time()
        run("ip", "-n", SWITCH, "-batch", "-", given=batch)
        return now

    def lose(
        self,
        node: str,
        way: str = "both",
        what: Sequence[str] = EVERYTHING,
        percent: int = 100,
        segment: int = 0,
    ) -> None:
        """Frames that the node sends ("from") or should get ("to") vanish in the switch."""
        self.lose_all({node: way}, what, percent, segment)

    def lose_all(
        self, ways: Mapping[str, str], what: Sequence[str] = EVERYTHING, percent: int = 100, segment: int = 0
    ) -> None:
        """The same of several nodes at one moment."""
        chance = "" if percent == 100 else f"numgen random mod 100 < {percent} "
        rules = "add table netdev faults\n"
        for node, way in ways.items():
            port = self[node].port(segment)
            for name, hook in (("from", "ingress"), ("to", "egress")):
                if way in (name, "both"):
                    chain = f"{port}-{name}"
                    rules += f"add chain netdev faults {chain} {{ "
                    rules += f'type filter hook {hook} device "{port}" priority 0 ; }}\n'
                    for each in what:
                        rules += f"add rule netdev faults {chain} {each} {chance}drop\n"
        self._nft(rules)

    def found(self) -> float:
        """Nothing is lost any more."""
        now = time.time()
        self._nft("add table netdev faults\ndelete table netdev faults\n")
        return now

    def _nft(self, rules: str) -> None:
        run("nsenter", f"--net=/run/netns/{SWITCH}", "nft", "-f", "-", given=rules)

    def heal(self) -> None:
        """Every link up, one switch, nothing lost."""
        self.found()
        for node in self.nodes.values():
            for segment in self.segments:
                port = node.port(segment)
                run("ip", "-n", SWITCH, "link", "set", port, "master", f"br{segment}", "up")
                node.ip("link", "set", f"eth{segment}", "up")

    def report(self) -> str:
        """What everybody says now, for the message of a test that failed."""
        lines = []
        for node in self.nodes.values():
            if node.agent is None or not node.running:
                lines.append(f"{node.name}: {'runs, without agent' if node.running else 'gone'}")
                continue
            try:
                state, addresses = node.agent.ask(2.0)
            except (AssertionError, ConnectionError) as problem:
                lines.append(f"{node.name}: {problem}")
                continue
            few = dict(list(addresses.items())[:3])
            lines.append(f"{node.name}: {json.dumps(state)}\n  {json.dumps(few)}")
        for watch in self.watches:
            tail = watch.sightings[-12:]
            lines.append(
                f"segment {watch.segment}: " + ", ".join(f"{one.at:.3f} {one.kind} {one.mac}" for one in tail)
            )
        logs = [
            f"{node.name}: {line}" for node in self.nodes.values() for line in node.log().splitlines()[-12:]
        ]
        return "\n".join((*lines, *logs))

    def close(self) -> None:
        for watch in self.watches:
            watch.close()
        for node in self.nodes.values():
            node.end()


def _namespace(name: str) -> None:
    """Without duplicate address detection: it takes seconds that no test is about."""
    run("ip", "netns", "add", name)
    quiet = [f"net.ipv6.conf.{scope}.accept_dad=0" for scope in ("all", "default")]
    run("nsenter", f"--net=/run/netns/{name}", "sysctl", "-q", *quiet)
    run("ip", "-n", name, "link", "set", "lo", "up")


def wait_for(
    condition: Callable[[], object],
    what: str,
    limit: float = 10.0,
    report: Callable[[], str] = str,
) -> None:
    """More often: half a second is what is judged here."""
    doing.wait_for(condition, what, limit, report, pause=0.01)


@contextmanager
def cluster(nodes: int = 3, segments: int = 1) -> Iterator[Cluster]:
    clean(NAME)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as folder:
        it: Cluster | None = None
        try:
            it = Cluster(nodes, segments, Path(folder))
            yield it
        finally:
            if it is not None:
                it.close()
            clean(NAME)


@contextmanager
def load(loops: int = 4) -> Iterator[None]:
    """So many processes that do nothing but spin."""
    spinning = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(loops)]
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.wait()
