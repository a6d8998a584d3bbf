"""The sockets of L2: AF_PACKET per interface and protocol, multicast groups, link events.

In:  run() when fileno() is readable or `deadline` has come; duties go to `machine` directly.
Out: frames on the wire; run() says whether something changed that the agent should hear of.
Elsewhere: every decision in machine.py; fit interfaces in links.py; filters in filters.py.
"""

import array
import errno
import re
import select
import socket
import struct
import time
from typing import Final

from metalbgp import logs
from metalbgp.l2 import filters, wire
from metalbgp.l2.links import GROUPS, Interface, Links, dump_requests
from metalbgp.l2.machine import Conflict, Effect, Join, Leave, Listen, Machine, Send

BUDGET: Final = 64  # frames of one socket in one run(): no flood may keep the others waiting
SCAN_EVERY: Final = 30.0  # events tell everything; this is for what they might have missed
RETRY: Final = 1.0

_SO_ATTACH_FILTER: Final = 26
_SO_TIMESTAMPNS: Final = 35  # the kernel's time of receipt: tells what queued while we were stopped
_TIMESPEC: Final = struct.Struct("ll")
_PROGRAM: Final = struct.Struct("HP")
_MEMBERSHIP: Final = struct.Struct("16si")
_DATAGRAM: Final = 1 << 17


class Edge:
    """One network namespace's segments, with the machine that decides."""

    def __init__(self, exclude: re.Pattern[str]) -> None:
        self.machine = Machine()
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

    def fileno(self) -> int:
        """Readable when run() has something to read."""
        return self._epoll.fileno()

    @property
    def deadline(self) -> float:
        """When run() is due on the monotonic clock, even if nothing is readable."""
        due = self.machine.deadline
        return self._next_scan if due is None else min(due, self._next_scan)

    def run(self) -> bool:
        """Read what came, do what is due; True if interfaces or conflicts changed."""
        ready = [descriptor for descriptor, _ in self._epoll.poll(0)]
        changed = self._events.fileno() in ready and self._read_events()
        now = time.monotonic()
        if now >= self._next_scan:
            changed |= self._scan(now)
        for descriptor in ready:
            if descriptor in self._readers:
                changed |= self._read_frames(*self._readers[descriptor])
        conflicts = len(self.machine.conflicts)
        self._carry_out(self.machine.wake(time.monotonic()))
        answered, self._answered = (
            self.machine.probing.changes != self._answered,
            self.machine.probing.changes,
        )
        return changed or answered or len(self.machine.conflicts) != conflicts

    def close(self) -> None:
        """Every socket; the kernel leaves the groups with them."""
        for each in (*self._sockets.values(), self._events):
            each.close()
        self._groups.close()
        self._epoll.close()

    # Links

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
        if not self.machine.set_interfaces(fit, time.monotonic()):
            return False
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
        self._next_scan = min(self._next_scan, time.monotonic() + RETRY)
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
            effects = self.machine.frame(name, frame, _age(ancillary), time.monotonic())
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
            _attach(known, ethertype, addresses, asked)
            return
        fresh = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        try:
            fresh.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            _attach(fresh, ethertype, addresses, asked)
            fresh.bind((name, ethertype))
        except OSError:
            fresh.close()
            raise
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


def _attach(
    to: socket.socket, ethertype: int, addresses: tuple[bytes, ...], asked: tuple[bytes, ...]
) -> None:
    """The filter by address, or the short one where the kernel's option memory is too small for it."""
    full, short = (
        (filters.arp, filters.arp_requests)
        if ethertype == wire.ARP_TYPE
        else (filters.ndp, filters.ndp_solicitations)
    )
    try:
        _attach_program(to, full(addresses, asked))
    except OSError as problem:
        if problem.errno not in (errno.ENOMEM, errno.ENOBUFS):
            raise
        _attach_program(to, short(asked))


def _attach_program(to: socket.socket, program: bytes) -> None:
    held = array.array("B", program)
    fprog = _PROGRAM.pack(filters.instructions(program), held.buffer_info()[0])
    to.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def _age(ancillary: list[tuple[int, int, bytes]]) -> float:
    """Seconds since the kernel received it. Without a stamp: none. A clock that was set back: fresh."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return time.time() - float(seconds) - float(nanoseconds) * 1e-9
    return 0.0


def text(address: bytes) -> str:
    """An address as people write it."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
