"""The sockets of heartbeats: two per fit interface, for our EtherType and for UDP.

In:  fit interfaces, keys, members.py. Out: heartbeats to it; frames on the wire; counts of what was refused.
Elsewhere: bytes in heartbeat.py; when to send is members.py; called by edge.py.

No UDP socket of the kernel's: that would need an address, and a hole in the host's firewall.
"""

import select
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from metalbgp import logs
from metalbgp.clocks import age, clock
from metalbgp.l2 import filters, heartbeat, saying
from metalbgp.l2.heartbeat import Bad
from metalbgp.l2.links import Interface
from metalbgp.l2.members import Members
from metalbgp.l2.packets import attach, packet_socket

BUDGET: Final = 512  # heartbeats of one socket in one read(); nobody is judged before all were read
STALE: Final = 1.0  # seconds in a queue, or a wall clock that was set forward meanwhile
OVERLAP: Final = 60.0  # seconds that an old key is still understood, and signed with: the others may have it
STRANGE: Final = 10.0  # seconds that a heartbeat with another key is reported


class Keys:
    """The key in force, and for a while the one before it."""

    def __init__(self) -> None:
        self._current: tuple[bytes, ...] = ()
        self._before: tuple[bytes, ...] = ()
        self._until = 0.0

    def set(self, keys: Sequence[bytes], now: float) -> None:
        if tuple(keys) != self._current:
            self._before = self._current[:1] if keys else ()
            self._current, self._until = tuple(keys), now + OVERLAP

    def at(self, now: float) -> tuple[bytes, ...]:
        if now >= self._until:
            self._before = ()
        return tuple(dict.fromkeys((*self._current, *self._before)))[:2]


class Beating:
    def __init__(self, members: Members) -> None:
        self.members = members
        self.keys = Keys()
        self.drops: Counter[str] = Counter()
        self.send_errors = 0
        self.sent = 0
        self.problems: dict[str, str] = {}
        self.strange: dict[str, tuple[str, float]] = {}  # interface → a MAC that signs otherwise, and when
        self._epoll = select.epoll()
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._fit: dict[str, Interface] = {}
        self._senders: frozenset[bytes] = frozenset()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def set_interfaces(self, fit: Mapping[str, Interface]) -> None:
        """All fit ones. What changed gets new sockets."""
        for name, old in self._fit.items():
            new = fit.get(name)
            if new is None or new.ifindex != old.ifindex:
                self._close(name)
        self._fit = dict(fit)
        self._open()

    def _open(self) -> None:
        """Sockets where somebody may be heard; filters that know whom."""
        senders = (
            frozenset((*self.members.names, self.members.sender)) if self.members.speaks else frozenset()
        )
        stale = senders != self._senders
        self._senders = senders
        for name in self._fit:
            if not senders:
                self._close(name)
                continue
            for ethertype, program in (
                (heartbeat.ETHERTYPE, filters.beats),
                (heartbeat.IPV4_TYPE, filters.beats_by_udp),
            ):
                key = name, ethertype
                try:
                    if key not in self._sockets:
                        made = packet_socket(name, ethertype, program(senders))
                        self._sockets[key] = made
                        self._epoll.register(made.fileno(), select.EPOLLIN)
                    elif stale:
                        attach(self._sockets[key], program(senders))
                    self.problems.pop(name, None)
                except OSError as problem:
                    text = f"heartbeats: {problem.strerror}"
                    if self.problems.get(name) != text:
                        logs.warn("heartbeats-failed", interface=name, error=problem.strerror)
                    self.problems[name] = text

    def _close(self, name: str) -> None:
        for ethertype in (heartbeat.ETHERTYPE, heartbeat.IPV4_TYPE):
            old = self._sockets.pop((name, ethertype), None)
            if old is not None:
                self._epoll.unregister(old.fileno())
                old.close()
        self.problems.pop(name, None)

    def refresh(self) -> None:
        """Whoever counts may have changed; what failed is tried again."""
        if self._counted() != self._senders or self.problems:
            self._open()

    def _counted(self) -> frozenset[bytes]:
        """Whose heartbeats count: the candidates', and those of others with our own name."""
        us = self.members
        return frozenset((*us.names, us.sender)) if us.speaks else frozenset()

    def read(self) -> None:
        """Everything that came."""
        self.refresh()
        if not self._epoll.poll(0):
            return
        keys = self.keys.at(clock())
        for (name, _), reader in list(self._sockets.items()):
            for _ in range(BUDGET):
                try:
                    frame, ancillary, _, _ = reader.recvmsg(2048, 128)
                except OSError:
                    break
                old = age(ancillary)
                bad = self._heard(name, frame, old, keys)
                if bad is not None:
                    self.drops[bad.value] += 1

    def _heard(self, name: str, frame: bytes, old: float, keys: Sequence[bytes]) -> Bad | None:
        if old > STALE:
            return Bad.STALE
        beat = heartbeat.decode(frame, keys)
        if isinstance(beat, Bad):
            if beat is Bad.SIGNATURE:
                self.strange[name] = frame[6:12].hex(":"), clock()
                self.members.strange(name, heartbeat.sender_of(frame), clock())
            return beat
        return self.members.receive(name, beat, frame[6:12], clock() - old)

    def drain(self) -> None:
        """Throw away what is queued."""
        for reader in self._sockets.values():
            try:
                while True:
                    reader.recv(1)
            except OSError:
                continue

    def send(self, interfaces: Mapping[str, Interface], now: float) -> None:
        """One heartbeat to each segment."""
        keys = self.keys.at(now)
        for name, interface in interfaces.items():
            for beat in saying.beats(self.members, name, now):
                udp = bool(beat.flags & heartbeat.BY_UDP)
                via = self._sockets.get((name, heartbeat.IPV4_TYPE if udp else heartbeat.ETHERTYPE))
                try:
                    if via is not None:
                        via.send(heartbeat.encode(beat, interface.mac, keys))
                        self.sent += 1
                except OSError:  # the link is down, or its queue full: the next one is due soon
                    self.send_errors += 1

    def stranger(self, now: float) -> dict[str, str]:
        """Interface → MAC of whoever signs with another key, lately."""
        return {name: mac for name, (mac, at) in self.strange.items() if now - at < STRANGE}

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._epoll.close()
