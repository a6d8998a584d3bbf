"""The sockets of L2: AF_PACKET per interface and protocol, multicast groups, link events.

In:  run() when fileno() is readable or `deadline` has come; duties go to `node.ownership` directly.
Out: frames on the wire; run() says whether something changed that the agent should hear of.
Elsewhere: every decision is node.py and what it holds; the sockets of heartbeats are beating.py; fit
     interfaces links.py; filters filters.py.
"""

import contextlib
import errno
import os
import re
import select
import socket
import struct
from typing import Final

from metalbgp import logs
from metalbgp.clocks import age, clock
from metalbgp.l2 import filters, wire
from metalbgp.l2.beating import Beating
from metalbgp.l2.links import GROUPS, Interface, Links, dump_requests
from metalbgp.l2.machine import Conflict, Effect, Join, Leave, Listen, Send
from metalbgp.l2.members import Pace
from metalbgp.l2.node import Node
from metalbgp.l2.packets import attach, packet_socket

BUDGET: Final = 64  # frames of one socket in one run(): no flood may keep the others waiting
SCAN_EVERY: Final = 30.0  # events tell everything; this is for what they might have missed
RETRY: Final = 1.0

_MEMBERSHIP: Final = struct.Struct("16si")
_DATAGRAM: Final = 1 << 17


class Edge:
    """One network namespace's segments, with the machine that decides."""

    def __init__(self, exclude: re.Pattern[str], pace: Pace) -> None:
        self.node = Node(os.urandom(8), pace, clock())
        self.machine, self.members, self.ownership = self.node.machine, self.node.members, self.node.ownership
        self.beating = Beating(self.members)
        self.send_errors = 0
        self.problems: dict[str, str] = {}  # by what could not be done; gone when it could
        self._exclude = exclude
        self._epoll = select.epoll()
        self._sockets: dict[tuple[str, int], socket.socket] = {}  # by interface and EtherType
        self._indexes: dict[str, int] = {}  # of the interfaces that have sockets
        self._readers: dict[int, tuple[str, socket.socket]] = {}
        self._groups = _Groups()
        self._links = Links()
        self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._events.bind((0, GROUPS))
        self._events.setblocking(False)
        self._epoll.register(self._events.fileno(), select.EPOLLIN)
        self._next_scan = 0.0
        self._answered = 0  # probes that had ended when run() said so last
        self._carried: set[str] = set()  # interfaces on which others were heard, in this life
        self._epoll.register(self.beating.fileno(), select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when run() has something to read."""
        return self._epoll.fileno()

    @property
    def deadline(self) -> float:
        """When run() is due, on clock(), even if nothing is readable."""
        return min(self._next_scan, self.node.deadline)

    def run(self) -> bool:
        """Read what came, do what is due; True if something changed that people see."""
        now, changes = clock(), self.members.changes
        owned = len(self.ownership.owned)
        if self.node.stopped(now):
            logs.warn("stalled", owned=owned)
            for reader in self._sockets.values():
                _drain(reader)
            self.beating.drain()
        ready = [descriptor for descriptor, _ in self._epoll.poll(0)]
        changed = self._events.fileno() in ready and self._read_events()
        if now >= self._next_scan:
            changed |= self._scan(now)
        self.beating.read()
        beat = self.node.turn(clock())
        for descriptor in ready:
            if descriptor in self._readers:
                changed |= self._read_frames(*self._readers[descriptor])
        conflicts = len(self.machine.conflicts)
        self._carry_out(self.node.effects(clock()))
        now = clock()
        if self.node.speaks(now, beat=beat):
            self.beating.send(self.machine.interfaces, now)
        answered, self._answered = (
            self.machine.probing.changes != self._answered,
            self.machine.probing.changes,
        )
        changed |= self.members.changes != changes or bool(self.ownership.news)
        return changed or answered or len(self.machine.conflicts) != conflicts

    def close(self) -> None:
        """Every socket; the kernel leaves the groups with them."""
        for each in (*self._sockets.values(), self._events):
            each.close()
        self.beating.close()
        self._groups.close()
        self._epoll.close()

    # Links

    def exclude(self, exclude: re.Pattern[str]) -> None:
        """Interfaces that are none of ours, from now on."""
        if exclude != self._exclude:
            self._exclude = exclude
            self._interfaces()

    def _read_events(self) -> bool:
        """Each event is judged alone: a link that went down and up again has lost its neighbours' trust."""
        changed = False
        for _ in range(BUDGET):
            try:
                datagram = self._events.recv(_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno == errno.ENOBUFS:  # events were lost
                    self._next_scan = 0.0
                break
            self._links.apply(datagram)
            changed |= self._interfaces()
        return changed

    def _interfaces(self) -> bool:
        fit = self._links.fit(self._exclude)
        self._carried |= {name for name, segment in self.members.segments.items() if segment.heard}
        self.members.set_interfaces(fit, self._carried.intersection(self._links.idle(self._exclude)), clock())
        if not self.machine.set_interfaces(fit, clock()):
            return False
        self.members.changes += 1
        self.beating.set_interfaces(fit)
        logs.log("interfaces", fit=sorted(fit), ndp=sorted(name for name, each in fit.items() if each.ndp))
        return True

    def _scan(self, now: float) -> bool:
        """Ask the kernel for everything; whatever could not be done is tried again."""
        self._next_scan = now + SCAN_EVERY
        links = Links()
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
                asking.settimeout(RETRY)
                for request in dump_requests():
                    asking.send(request)
                    while not links.apply(asking.recv(_DATAGRAM)):
                        pass
        except OSError as problem:
            self._failed("scan", problem)
            return False
        self.problems.pop("scan", None)
        self._links = links
        for what in self.problems:
            self.machine.again(what.partition(" ")[0])
        return self._interfaces()

    def _failed(self, what: str, problem: OSError) -> None:
        self._next_scan = min(self._next_scan, clock() + RETRY)
        text = problem.strerror or str(problem)
        if self.problems.get(what) != text:
            self.problems[what] = text
            logs.warn("l2-failed", what=what, error=text)

    # Frames

    def _read_frames(self, name: str, reader: socket.socket) -> bool:
        conflict = False
        for _ in range(BUDGET):
            try:
                frame, ancillary, _, _ = reader.recvmsg(2048, 128)
            except OSError:  # nothing more, or the interface went down: its event says so
                break
            effects = self.machine.frame(name, frame, age(ancillary), clock())
            conflict |= self._carry_out(effects)
        return conflict

    # Effects

    def _carry_out(self, effects: list[Effect]) -> bool:
        """In the order given; True if there was a conflict among them."""
        conflict = False
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, Listen):
                self._listen(effect)
            elif isinstance(effect, Conflict):
                if self.node.expects(effect, clock()):
                    continue
                conflict = True
                logs.warn(
                    "address-conflict",
                    address=text(effect.address),
                    interface=effect.interface,
                    mac=effect.mac.hex(":"),
                )
            else:
                self._membership(effect)
        return conflict

    def _send(self, effect: Send) -> None:
        ethertype = int.from_bytes(effect.frame[12:14], "big")
        sender = self._sockets.get((effect.interface.name, ethertype))
        try:
            if sender is None or sender.send(effect.frame) != len(effect.frame):
                self.send_errors += 1
        except OSError:  # link down, queue full: the asker asks again
            self.send_errors += 1

    def _listen(self, effect: Listen) -> None:
        name, index = effect.interface.name, effect.interface.ifindex
        for ethertype, addresses, size in ((wire.ARP_TYPE, effect.arp, 4), (wire.IPV6_TYPE, effect.ndp, 16)):
            key = name, ethertype
            asked = tuple(address for address in effect.asked if len(address) == size)
            if key in self._sockets and (not (addresses or asked) or self._indexes.get(name) != index):
                self._close(key)
            if addresses or asked:
                what = f"{name} {'arp' if ethertype == wire.ARP_TYPE else 'ndp'}"
                try:
                    self._open(key, addresses, asked)
                    self.problems.pop(what, None)
                except OSError as problem:
                    self._failed(what, problem)
        self._indexes[name] = index
        if not effect.arp and not effect.ndp and not effect.asked:
            del self._indexes[name]
            for what in [what for what in self.problems if what.startswith(f"{name} ")]:
                del self.problems[what]

    def _open(self, key: tuple[str, int], addresses: tuple[bytes, ...], asked: tuple[bytes, ...]) -> None:
        """Filter before bind: not one frame may pass that the filter would have refused."""
        name, ethertype = key
        known = self._sockets.get(key)
        if known is not None:
            attach(known, *_programs(ethertype, addresses, asked))
            return
        fresh = packet_socket(name, ethertype, *_programs(ethertype, addresses, asked))
        self._sockets[key] = fresh
        self._readers[fresh.fileno()] = name, fresh
        self._epoll.register(fresh.fileno(), select.EPOLLIN)

    def _close(self, key: tuple[str, int]) -> None:
        old = self._sockets.pop(key)
        self._epoll.unregister(old.fileno())
        del self._readers[old.fileno()]
        old.close()

    def _membership(self, effect: Join | Leave) -> None:
        try:
            if isinstance(effect, Join):
                self._groups.join(effect.interface, effect.group)
            else:
                self._groups.leave(effect.interface, effect.group)
        except OSError as problem:
            logs.warn(
                "multicast-group-failed",
                interface=effect.interface.name,
                group=text(effect.group),
                error=problem.strerror,
            )


class _Groups:
    """IPv6 multicast memberships. The option memory of one socket holds some hundreds: there may be more."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._where: dict[tuple[int, bytes], socket.socket] = {}

    def join(self, interface: Interface, group: bytes) -> None:
        membership = _MEMBERSHIP.pack(group, interface.ifindex)
        for member in self._sockets[-1:]:
            try:
                member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            except OSError as problem:
                if problem.errno not in (errno.ENOMEM, errno.ENOBUFS):
                    raise
            else:
                self._where[interface.ifindex, group] = member
                return
        fresh = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._sockets.append(fresh)
        fresh.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
        self._where[interface.ifindex, group] = fresh

    def leave(self, interface: Interface, group: bytes) -> None:
        member = self._where.pop((interface.ifindex, group), None)
        if member is not None:
            try:
                member.setsockopt(
                    socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, _MEMBERSHIP.pack(group, interface.ifindex)
                )
            except OSError as problem:
                if problem.errno not in (
                    errno.ENODEV,
                    errno.EADDRNOTAVAIL,
                ):  # the interface went, and the group
                    raise

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def _programs(ethertype: int, addresses: tuple[bytes, ...], asked: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """The filter by address, and the short one where the kernel's option memory is too small for it."""
    if ethertype == wire.ARP_TYPE:
        return filters.arp(addresses, asked), filters.arp_requests(asked)
    return filters.ndp(addresses, asked), filters.ndp_solicitations(asked)


def _drain(reader: socket.socket) -> None:
    """Throw away what is queued."""
    with contextlib.suppress(OSError):
        while True:
            reader.recv(1)


def text(address: bytes) -> str:
    """An address as people write it."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
