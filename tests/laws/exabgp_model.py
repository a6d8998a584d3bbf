"""ExaBGP 5.0.15 as measured, small enough for hypothesis: with its batching by attribute set, its first flush
that drops withdraws, its silent repeats, its dropped reloads, and helpers that take lines with them.

In:  command lines, session events that the test causes. Out: lines of text, and what each router holds.
"""

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

COMMAND = re.compile(r"neighbor (\S+) (announce|withdraw) attributes next-hop (\S+)(.*) nlri (.*)")
Change = tuple[str, str, str, str]  # (action, prefix, next hop, attributes)


class Peer:
    """One session with its outgoing table (exabgp/rib/outgoing.py)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.up = False
        self.cache: dict[str, Change] = {}
        self.newest: dict[str, Change] = {}
        self.batches: dict[str, dict[str, Change]] = {}
        self.refresh: dict[str, Change] = {}
        self.eors: deque[str] = deque()
        self.sending: Iterator[Change] | None = None
        self.first = True
        self.router: dict[str, str] = {}  # what this peer's router holds: prefix -> attributes

    def update(self, change: Change, mended: bool) -> None:
        older = self.newest.get(change[1])
        if older is not None and (mended or change[0] == "withdraw"):
            self.batches.get(older[3], {}).pop(change[1], None)
        self.batches.setdefault(change[3], {})[change[1]] = change
        self.newest[change[1]] = change
        if change[0] == "announce":
            self.cache[change[1]] = change
        else:
            self.cache.pop(change[1], None)

    def forget_pending(self) -> None:
        self.newest, self.batches, self.refresh, self.sending = {}, {}, {}, None
        self.eors.clear()

    @property
    def pending(self) -> bool:
        return bool(self.newest or self.refresh)

    def updates(self) -> Iterator[Change]:
        batches, refresh = self.batches, self.refresh
        self.newest, self.batches, self.refresh = {}, {}, {}
        queued = {p: c for batch in batches.values() for p, c in batch.items()}
        yield from (c for p, c in refresh.items() if p not in queued)
        for batch in batches.values():
            yield from batch.values()


class ExaBGP:
    def __init__(self, *, mended: bool) -> None:
        self.mended = mended
        self.peers: dict[str, Peer] = {}
        self.inbox: deque[str] = deque()
        self.out: deque[bytes] = deque()
        self.helper = True
        self.file = self.running = ""
        self.reload_asked = False

    # What the test does to it

    def write(self, lines: tuple[str, ...]) -> None:
        if self.helper:
            self.inbox.extend(lines)

    def restart(self) -> None:
        for peer in self.peers.values():
            peer.router.clear()
        routers = {address: peer.router for address, peer in self.peers.items()}
        self.peers, self.running, self.reload_asked = {}, "", False
        self.inbox.clear()
        self.out.clear()
        self._load(self.file, routers)
        self.helper = True

    def lose_helper(self, keep: int) -> None:
        """It dies with all but `keep` of the commands in the pipe, and with every line out."""
        self.helper = False
        self.inbox = deque(list(self.inbox)[:keep])
        self.out.clear()

    def up(self, address: str) -> None:
        peer = self.peers.get(address)
        if peer is None or peer.up:
            return
        peer.up, peer.first, peer.sending = True, True, None
        self._event(address, "open", direction="receive", open={"asn": 65101, "capabilities": {}})
        self._event(address, "negotiated", negotiated={"families": ["ipv4 unicast"], "hold_time": 9})
        self._event(address, "state", state="up")
        for change in list(peer.cache.values()):
            peer.update(change, self.mended)

    def down(self, address: str) -> None:
        peer = self.peers.get(address)
        if peer is None or not peer.up:
            return
        peer.up = False
        peer.router.clear()
        peer.forget_pending()
        self._event(address, "state", state="down", reason="notification received (6,4)")

    def step(self) -> bool:
        """Take one command; True if there was one."""
        if self.reload_asked:
            self._reload()
        if not self.inbox:
            return False
        self._command(self.inbox.popleft())
        return True

    def send(self, address: str, count: int) -> bool:
        """One turn of a session's loop; True if anything was to do."""
        peer = self.peers.get(address)
        if peer is None or not peer.up:
            return False
        if peer.sending is None and peer.pending:
            peer.sending = peer.updates()
        if peer.sending is not None:
            for _ in range(count):
                change = next(peer.sending, None)
                if change is None:
                    peer.sending, peer.first = None, False
                    break
                self._update(peer, change)
            return True
        if peer.eors:
            self._event(
                address,
                "update",
                direction="send",
                message={"eor": {"afi": peer.eors.popleft(), "safi": "unicast"}},
            )
            return True
        return False

    # Inside

    def _update(self, peer: Peer, change: Change) -> None:
        action, prefix, hop, attributes = change
        update: dict[str, Any]
        if action == "announce":
            med = re.search(r"med (\d+)", attributes)
            attribute = {"med": int(med[1])} if med else {}
            update = {"attribute": attribute, "announce": {"ipv4 unicast": {hop: [{"nlri": prefix}]}}}
            peer.router[prefix] = attributes
        elif peer.first:
            return  # the first flush of a session sends no withdraws
        else:
            update = {"withdraw": {"ipv4 unicast": [{"nlri": prefix}]}}
            peer.router.pop(prefix, None)
        self._event(peer.address, "update", direction="send", message={"update": update})

    def _command(self, line: str) -> None:
        if line == "reload":
            self.reload_asked = True
            self._say("reload in progress", "done")
        elif line == "show neighbor configuration":
            self._say(*(x.strip() for x in self.running.splitlines() if "description" in x), "done")
        elif line == "show neighbor json":
            self._say(json.dumps([self._shown(p) for p in self.peers.values()]), "done")
        else:
            address = line.split()[1]
            peer = self.peers.get(address)
            self._say("done" if peer is not None and self._route(peer, line) else "error")

    def _route(self, peer: Peer, line: str) -> bool:
        if "flush adj-rib out" in line:
            if peer.up:
                peer.refresh = dict(peer.cache)
            return True
        if "announce eor" in line:
            if peer.up:
                peer.eors.append(line.split()[4])
            return True
        found = COMMAND.fullmatch(line)
        assert found, line
        _, action, hop, attributes, prefixes = found.groups()
        for prefix in prefixes.split():
            change = (action, prefix, "10.0.0.2" if hop == "self" else hop, attributes.strip())
            if action == "announce" and peer.cache.get(prefix) == change:
                continue
            peer.update(change, self.mended)
        return True

    def _reload(self) -> None:
        self.reload_asked = False
        if not any(p.pending for p in self.peers.values() if p.up or not self.mended):
            self._load(self.file, {})

    def _load(self, text: str, routers: dict[str, dict[str, str]]) -> None:
        self.running = text
        named = re.findall(r"^neighbor (\S+) \{", text, re.MULTILINE)
        for address in [a for a in self.peers if a not in named]:
            self.down(address)
            del self.peers[address]
        for address in named:
            if address not in self.peers:
                self.peers[address] = Peer(address)
                self.peers[address].router = routers.get(address, {})

    def _shown(self, peer: Peer) -> dict[str, Any]:
        side = {"address": "10.0.0.2", "as": 65001, "capabilities": {}}
        families = ["ipv4 unicast"] if peer.up else []
        fsm = "ESTABLISHED" if peer.up else "IDLE"
        return {"fsm": fsm, "local": side, "peer": {**side, "address": peer.address}, "families": families}

    def _event(self, address: str, kind: str, **content: Any) -> None:
        ends = {"local": "10.0.0.2", "peer": address}
        self._say(json.dumps({"exabgp": "5.0.0", "type": kind, "neighbor": {"address": ends, **content}}))

    def _say(self, *lines: str) -> None:
        if self.helper:
            self.out.extend(line.encode() for line in lines)
