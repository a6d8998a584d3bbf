"""The speaker's parent, pid 1 of its container: owns ExaBGP, keeps the journal, starts and reaps everything.

In:  parent.sock (what the agent wants, what people ask), signals.
Out: sessions, routes and problems to the agent; the journal to whoever asks.
Elsewhere: the journal's rules are bgp/machine.py; the child and its pipe bgp/edge.py; the agent agent.py.

It knows no Kubernetes and keeps announcing what was last wanted, whoever else is dead. If it dies itself, the
container dies, and graceful restart covers that.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, assert_never

import msgspec

from metalbgp import logs, processes
from metalbgp.bgp.edge import Edge
from metalbgp.bgp.effects import (
    AskAgain,
    Check,
    Effect,
    Install,
    Problem,
    RestartChild,
    RoutesChanged,
    SessionChanged,
    Write,
)
from metalbgp.bgp.notifications import BFD_DOWN
from metalbgp.bgp.values import Neighbor
from metalbgp.loop import Loop
from metalbgp.model.reasons import Reason, RefusedByExaBGP
from metalbgp.speaker.children import Child
from metalbgp.speaker.clients import Client, Message, listen
from metalbgp.speaker.local_orders import LocalOrders
from metalbgp.speaker.paths import Paths

AGENT_LIMIT: Final = (
    1.5  # seconds that the agent may take at the end (it asks whether the DaemonSet goes: 1 s)
)
WITHDRAW_LIMIT: Final = 4.0  # seconds to wait for the wire at the end
AUDIT: Final = 15.0  # seconds between looks at the children's memory
MEBIBYTE: Final = 1024 * 1024
EXABGP_BUDGET: Final = 512 * MEBIBYTE
AGENT_BUDGET: Final = 384 * MEBIBYTE
REFLEX_BUDGET: Final = 128 * MEBIBYTE


def command(variable: str, module: str) -> list[str]:
    """What to run for a child: the variable (words; empty: nothing), else our own module."""
    words = os.environ.get(variable)
    return [sys.executable, "-m", module] if words is None else words.split()


class Parent:
    def __init__(self, run: Path) -> None:
        self._run = run
        self._loop = Loop()
        self._edge = Edge(self._loop, run, self._report)
        self._paths = Paths(self._loop, run / "reflex.sock", self._paths_changed)
        self._agent: Client | None = None
        self._orders = LocalOrders(run / "orders.json")
        self._children = (
            Child(
                "agent",
                command("METALBGP_AGENT", "metalbgp.speaker.agent"),
                self._loop,
                AGENT_BUDGET,
                capable=False,
            ),
            Child(
                "reflex",
                command("METALBGP_REFLEX", "metalbgp.reflex"),
                self._loop,
                REFLEX_BUDGET,
                capable=True,
            ),
        )
        self._ending = False
        self._signals: tuple[socket.socket, socket.socket] | None = None

    def main(self) -> int:
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._catch_signals()
        listener = listen(self._run / "parent.sock", self._loop, self._message)
        self._edge.start()
        for child in self._children:
            child.start()
        self._loop.after(AUDIT, self._audit)
        machine = self._edge.machine
        self._loop.run(lambda: machine.deadline, self._edge.wake)
        listener.close()
        logs.log("parent-ended")
        return 0

    # Signals

    def _catch_signals(self) -> None:
        processes.adopt_orphans()
        self._signals = socket.socketpair()
        for end in self._signals:
            end.setblocking(False)
        signal.set_wakeup_fd(self._signals[1].fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # the byte in the pipe is the message
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._loop.watch(self._signals[0], self._signal)

    def _signal(self) -> None:
        if self._signals is None:
            return
        numbers = self._signals[0].recv(4096)
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._end()
        for pid, code in processes.reap():
            if not self._edge.reaped(pid, code):
                _ = any(child.reaped(pid, code) for child in self._children)
        if self._ending and not self._children[0].pid:
            self._withdraw()

    # The end: agent (it says whether routes must go), routes, ExaBGP

    def _end(self) -> None:
        if self._ending:
            return
        logs.log("parent-ending")
        self._ending = True
        for child in self._children:
            child.stop()
        self._loop.after(AGENT_LIMIT if self._children[0].pid else 0.0, self._withdraw)

    def _withdraw(self) -> None:
        if self._withdrawing:
            return
        self._withdrawing = True
        self._limit = self._loop.now() + WITHDRAW_LIMIT
        self._edge.do(self._edge.machine.shutdown(self._loop.now()))
        self._wait_for_wire()

    _withdrawing = False
    _limit = 0.0

    def _wait_for_wire(self) -> None:
        done = self._edge.machine.finished
        if done or self._loop.now() > self._limit:
            logs.log("routes-settled", confirmed=done)
            self._edge.stop(self._loop.stop)
        else:
            self._loop.after(0.01, self._wait_for_wire)

    def _audit(self) -> None:
        """A child over its budget is restarted: a limit on the container would kill all of them at once."""
        for child in self._children:
            held = processes.resident(child.pid) if child.pid else 0
            if held > child.budget:
                logs.error("child-over-budget", child=child.name, bytes=held, budget=child.budget)
                child.restart()
        held = processes.resident(self._edge.pid) if self._edge.pid else 0
        if held > EXABGP_BUDGET:
            self._edge.restart(f"it holds {held} bytes, its budget is {EXABGP_BUDGET}")
        self._tell({"exabgp": {"pid": self._edge.pid, "since": self._wall(self._edge.started)}})
        self._loop.after(AUDIT, self._audit)

    # Clients

    def _message(self, client: Client, message: Message) -> None:
        now = self._loop.now()
        machine = self._edge.machine
        if message.hello == "agent":
            if self._agent is not None and self._agent is not client:
                self._agent.close()
            self._agent = client
            logs.log("agent-connected")
            client.say({"journal": self.journal()})
            client.say({"orders": self._orders.all()})
        if message.order is not None:
            client.say({"order": self._orders.take(message.order)})
            client.finish()
            self._tell({"orders": self._orders.all()})
        if message.ask:
            answers: dict[str, Callable[[], Any]] = {"journal": self.journal, "alive": lambda: True}
            answer = answers.get(message.ask)
            client.say({message.ask: answer()} if answer else {"error": f"cannot answer {message.ask!r}"})
            client.finish()
        if client is not self._agent:
            return
        if message.drain:
            logs.log("drain")
            machine.drain()
        if message.neighbors is not None:
            machine.farewells = message.farewells
            self._edge.neighbors(self._neighbors(message.neighbors))
        if message.want is not None:
            self._edge.do(machine.want(message.want, now))
        if message.synced:
            self._edge.do(machine.synced(now))

    def _neighbors(self, raws: list[msgspec.Raw]) -> list[Neighbor]:
        """Those that can be read; of one that cannot, the last good version stays in force."""
        last = {neighbor.key: neighbor for neighbor in self._edge.machine.configured}
        good: list[Neighbor] = []
        for raw in raws:
            try:
                good.append(msgspec.json.decode(raw, type=Neighbor))
            except msgspec.DecodeError as error:
                address = ""
                with suppress(msgspec.DecodeError, KeyError, TypeError):
                    address = str(msgspec.json.decode(raw)["address"])
                self._report(Problem("neighbor-refused", f"peer {address!r}: {error}", address))
                if address in last:
                    good.append(last[address])
        return good

    def _paths_changed(self, keys: list[str]) -> None:
        """A path that BFD found dead takes its session along; without a session nothing is to be done."""
        for peer in keys:
            state = self._paths.states.get(peer, {})
            logs.log("bfd", peer=peer, state=state.get("state", "unknown"), why=state.get("why", ""))
            if state.get("failed"):
                machine = self._edge.machine
                self._edge.do(machine.cease(peer, BFD_DOWN, state.get("why", ""), self._loop.now()))
            if told := self._session(peer):
                self._tell({"session": told})

    def _report(self, effect: Effect) -> None:
        """To the log, and to the agent if there is one (a new one starts from the journal)."""
        match effect:
            case SessionChanged(peer):
                told = self._session(peer) or {"peer": peer, "state": "Removed"}
                logs.log("session", peer=peer, state=told["state"], error=told.get("last_error", ""))
                self._tell({"session": told})
                self._paths.want(each.neighbor for each in self._edge.machine.sessions.values())
            case RoutesChanged(keys):
                self._tell({"routes": [self._route(*key) for key in keys]})
            case Problem(kind, text, peer):
                logs.warn("problem", kind=kind, text=text, peer=peer)
                self._tell({"problem": {"kind": kind, "text": text, "peer": peer}})
            case Write() | Install() | Check() | RestartChild() | AskAgain():
                raise AssertionError(f"the edge does {effect}")
            case _:
                assert_never(effect)

    def _tell(self, message: dict[str, Any]) -> None:
        if self._agent is not None:
            self._agent.say(message)

    # The journal as JSON; times become wall clock only here

    def _wall(self, moment: float) -> float:
        return round(moment + time.time() - self._loop.now(), 3)

    def _route(self, peer: str, prefix: str) -> list[Any]:
        machine = self._edge.machine
        entry = machine.routes.get(peer, {}).get(prefix)
        if entry is None:
            return [peer, prefix, "withdrawn", round(time.time(), 3)]
        return [peer, prefix, machine.state(entry), self._wall(entry.since)]

    def _session(self, peer: str) -> dict[str, Any]:
        """Empty: it is in no list. One that lacks something has no more than its reason.

        Of one that is refused the last good version may run: the reason is why it is not the present one.
        """
        session = self._edge.machine.sessions.get(peer)
        lacking = self._edge.machine.lacking.get(peer)
        if session is None:
            return self._about(lacking.neighbor, lacking.since, "Idle", lacking.why) if lacking else {}
        refused = lacking.why if lacking and isinstance(lacking.why, RefusedByExaBGP) else None
        return {
            **self._about(session.neighbor, session.since, session.state, refused or session.why),
            "local": session.local or session.neighbor.local_address,
            "families": sorted(session.families) if session.up else [],
            "graceful_restart": session.up and session.graceful,
            "tries": session.tries,
            "hold_time": session.hold_time if session.up else 0,
            "capabilities": session.capabilities if session.up else (),
            "bfd": None if session.neighbor.bfd is None else self._paths.states.get(peer, {}),
            "flaps": session.flaps,
            "ended": 0 if session.ended is None else self._wall(session.ended),
            "ended_why": "" if session.ended_why is None else session.ended_why.explain(),
        }

    def _about(self, n: Neighbor, since: float, state: str, why: Reason | None) -> dict[str, Any]:
        return {
            "peer": n.key,
            "name": n.name,
            "address": n.address,
            "state": state,
            "since": self._wall(since),
            "local": n.local_address,
            "port": n.port,
            "my_asn": n.local_as,
            "peer_asn": n.peer_as,
            "families": [],
            "graceful_restart": False,
            "reason": why.name if why is not None else "",
            "last_error": why.explain() if why is not None else "",
            "remedy": why.remedy() if why is not None else "",
            "tries": 0,
        }

    def journal(self) -> dict[str, Any]:
        machine = self._edge.machine
        return {
            "neighbors": [n.redacted() for n in machine.configured],
            "sessions": [self._session(peer) for peer in {**machine.sessions, **machine.lacking}],
            "routes": [
                [*e.key, e.wanted, e.told, e.confirmed, machine.state(e), self._wall(e.since)]
                for e in machine.entries()
            ],
            "exabgp": {"pid": self._edge.pid, "since": self._wall(self._edge.started)},
            "children": {c.name: {"pid": c.pid, "restarts": c.restarts} for c in self._children},
        }
