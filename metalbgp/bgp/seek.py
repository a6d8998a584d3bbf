"""What a neighbour lacks before ExaBGP can be told of it, looked for on this node.

In:  neighbours that are incomplete: unnumbered (spec.interface), external (spec.dynamicASN), in a VRF, or
     to be listened for.
Out: what was found, or why it is not to be had: the VRF device, the router's address by its advertisements,
     its AS number by its OPEN. And our own advertisements on the links of unnumbered sessions: a router that
     runs BGP unnumbered waits for them.
Elsewhere: packets are hello.py, the connection is door.py, the node's own files here.py; what is done with
     it is machine.py.

An AS number that was learned is kept until the router says another (bad peer AS); an address, until another
router advertises itself on the link and the first one does not any more.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from metalbgp.bgp.door import WAIT, approach, failed, silent
from metalbgp.bgp.hello import BadHello, advertisement, advertises, autonomous_system, solicitation, solicits
from metalbgp.bgp.here import exists, mac, own_end, unprivileged, vrf
from metalbgp.bgp.values import Found, Neighbor
from metalbgp.loop import Loop
from metalbgp.model.addresses import canonical
from metalbgp.model.reasons import (
    ASNotLearned,
    InterfaceMissing,
    PortNotAllowed,
    Reason,
    RouterNotHeard,
    SeveralRouters,
    UnknownToRouter,
)

LOOK: Final = 1.0  # seconds between two looks
ADVERTISE: Final = 10.0  # seconds between our advertisements; FRR's own pace on such a link
FIRST: Final = 3  # advertisements of the first seconds, one a look
FORGET: Final = 35.0  # seconds after which a router that is no longer heard makes way for another
ASK_FIRST: Final = 2.0  # seconds from one question for an AS number to the next, doubled up to ASK_LAST
ASK_LAST: Final = 60.0
EVERYBODY: Final = "ff02::1"
ROUTERS: Final = "ff02::2"
_FILTER: Final = 1  # ICMP6_FILTER
_HOPS = struct.Struct("=i")


class Link:
    """One interface with an unnumbered session: who advertises himself there, and our own advertisements."""

    def __init__(self, loop: Loop, interface: str, heard: Callable[[], None]) -> None:
        """Raises OSError where it cannot be opened: no such device, or no right to."""
        self._loop, self._heard = loop, heard
        self._index = socket.if_nametoindex(interface)
        self._mac = mac(interface)
        self.routers: dict[str, float] = {}  # address → when heard last
        self._sent = 0
        self._due = 0.0
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        try:
            self._open(interface)
        except OSError:
            self._socket.close()
            raise
        loop.watch(self._socket, self._read)

    def _open(self, interface: str) -> None:
        one, six = self._socket, socket.IPPROTO_IPV6
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, 25, interface.encode() + b"\0")  # SO_BINDTODEVICE
        passed = [0xFFFFFFFF] * 8
        for kind in (133, 134):
            passed[kind >> 5] &= ~(1 << (kind & 31)) & 0xFFFFFFFF
        one.setsockopt(socket.IPPROTO_ICMPV6, _FILTER, struct.pack("=8I", *passed))
        for option, value in (
            (socket.IPV6_MULTICAST_HOPS, 255),
            (socket.IPV6_UNICAST_HOPS, 255),
            (socket.IPV6_MULTICAST_LOOP, 0),
            (socket.IPV6_RECVHOPLIMIT, 1),
            (socket.IPV6_MULTICAST_IF, self._index),
        ):
            one.setsockopt(six, option, value)
        group = socket.inet_pton(socket.AF_INET6, ROUTERS) + struct.pack("=I", self._index)
        one.setsockopt(six, socket.IPV6_JOIN_GROUP, group)

    def tend(self, now: float) -> None:
        """Advertise when it is due; a link that is down takes nothing, and is tried again."""
        if now < self._due:
            return
        self._due = now + (LOOK if self._sent < FIRST else ADVERTISE)
        self._sent += 1
        if not self.routers:
            self._send(solicitation(), ROUTERS)
        self._send(advertisement(self._mac), EVERYBODY)

    def present(self, now: float) -> list[str]:
        """Who is there; the last one heard of stays, however silent."""
        last = max(self.routers.values(), default=0.0)
        return sorted(one for one, heard in self.routers.items() if now - heard <= FORGET or heard == last)

    def _send(self, packet: bytes, to: str) -> None:
        with suppress(OSError):
            self._socket.sendto(packet, (to, 0, 0, self._index))

    def _read(self) -> None:
        try:
            body, extra, _, sender = self._socket.recvmsg(2048, 64)
        except OSError:
            return
        hops = next((_HOPS.unpack(data)[0] for level, kind, data in extra if kind == socket.IPV6_HOPLIMIT), 0)
        address = canonical(sender[0].partition("%")[0])
        if solicits(body, hops):
            self._send(advertisement(self._mac), EVERYBODY)
        elif advertises(body, hops) and address.startswith("fe80:"):
            fresh = address not in self.routers
            self.routers[address] = self._loop.now()
            if fresh:
                self._send(advertisement(self._mac), EVERYBODY)  # it may be new here, and wait for us
                self._heard()

    def close(self) -> None:
        self._loop.forget(self._socket)
        self._socket.close()


class Seeker:
    def __init__(
        self, loop: Loop, wanted: Callable[[], Iterable[Neighbor]], found: Callable[[str, Found], None]
    ) -> None:
        self._loop, self._wanted, self._found = loop, wanted, found
        self._links: dict[str, Link] = {}
        self._asking: dict[str, socket.socket] = {}
        self._due: dict[str, tuple[float, float]] = {}  # key → do not ask before, pause after it
        self._numbers: dict[str, int] = {}  # key → AS
        self._locals: dict[str, str] = {}  # key → our end; a route that is away for a moment changes nothing
        self._why: dict[str, Reason] = {}

    def start(self) -> None:
        self._loop.after(LOOK, self._again)

    def _again(self) -> None:
        self._loop.after(LOOK, self._again)
        self.look()

    def unlearn(self, key: str) -> None:
        """The number was wrong: ask again, and not at once."""
        if self._numbers.pop(key, None) is not None:
            self._due[key] = self._loop.now() + LOOK, ASK_FIRST

    def look(self) -> None:
        now = self._loop.now()
        wanted = {n.key: n for n in self._wanted()}
        self._tend_links({n.interface for n in wanted.values() if n.unnumbered}, now)
        for known in (self._numbers, self._locals, self._why, self._due):
            for key in [key for key in known if key not in wanted]:
                del known[key]
        for key, n in wanted.items():
            self._found(key, self._one(n, now))

    def _one(self, n: Neighbor, now: float) -> Found:
        if n.vrf and (why := vrf(n.interface)) is not None:
            return Found(why=why)
        address = ""
        if n.unnumbered:
            heard = self._router(n.interface, now)
            if isinstance(heard, Reason):
                return Found(why=heard)
            address = heard
        local = ""
        if n.listen and not n.local_address:
            if n.listen < (first := unprivileged()):
                return Found(why=PortNotAllowed(port=n.listen, first=first))
            local = own_end(_at(n, address or n.address)) or self._locals.get(n.key, "")
            self._locals[n.key] = local
        if not n.external:
            return Found(address=address, local_address=local)
        if n.key in self._numbers:
            return Found(address=address, local_address=local, asn=self._numbers[n.key])
        self._ask(n, address, now)
        return Found(address=address, local_address=local, why=self._why.get(n.key, ASNotLearned()))

    # Routers on the links of unnumbered sessions

    def _tend_links(self, interfaces: set[str], now: float) -> None:
        for interface in [
            one for one, link in self._links.items() if one not in interfaces or _moved(one, link)
        ]:
            self._links.pop(interface).close()
        for interface in interfaces - self._links.keys():
            self._why.pop(f"%{interface}", None)
            try:
                self._links[interface] = Link(self._loop, interface, self.look)
            except OSError as error:
                absent = error.errno == errno.ENODEV or not exists(interface)
                self._why[f"%{interface}"] = (
                    InterfaceMissing(interface=interface)
                    if absent
                    else RouterNotHeard(interface=interface, refused=os.strerror(error.errno or 0))
                )
        for link in self._links.values():
            link.tend(now)

    def _router(self, interface: str, now: float) -> str | Reason:
        link = self._links.get(interface)
        if link is None:
            return self._why.get(f"%{interface}", RouterNotHeard(interface=interface))
        present = link.present(now)
        if len(present) > 1:
            return SeveralRouters(interface=interface, routers=tuple(present))
        return present[0] if present else RouterNotHeard(interface=interface)

    # AS numbers

    def _ask(self, n: Neighbor, address: str, now: float) -> None:
        due, pause = self._due.get(n.key, (now, ASK_FIRST))
        if n.key in self._asking or now < due:
            return
        self._due[n.key] = now + pause, min(pause * 2, ASK_LAST)
        whole = n if not address else _at(n, address)
        try:
            door = approach(whole)
        except OSError as error:
            self._unheard(n, failed(whole, error.errno or 0).explain())
            return
        self._asking[n.key] = door
        heard = bytearray()
        self._loop.watch(door, None, lambda: self._connected(whole, door, heard))
        self._loop.after(WAIT, lambda: self._end(whole, door, silent(whole).explain()))

    def _connected(self, n: Neighbor, door: socket.socket, heard: bytearray) -> None:
        number = door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._end(n, door, failed(n, number).explain())
        else:
            self._loop.watch(door, lambda: self._hear(n, door, heard))

    def _hear(self, n: Neighbor, door: socket.socket, heard: bytearray) -> None:
        data = b""
        with suppress(OSError):
            data = door.recv(4096)
        heard += data
        try:
            said = autonomous_system(bytes(heard))
        except BadHello as error:
            self._end(n, door, str(error))
            return
        if isinstance(said, int):
            self._numbers[n.key] = said
            self._end(n, door, "")
        elif said is not None:
            self._end(n, door, said.explain())
        elif not data:
            self._end(n, door, UnknownToRouter().explain())

    def _end(self, n: Neighbor, door: socket.socket, why: str) -> None:
        if self._asking.get(n.key) is not door:
            return
        del self._asking[n.key]
        self._loop.forget(door)
        door.close()
        self._unheard(n, why)

    def _unheard(self, n: Neighbor, why: str) -> None:
        if why:
            self._why[n.key] = ASNotLearned(why=why)
        else:
            self._why.pop(n.key, None)
        self.look()


def _at(n: Neighbor, address: str) -> Neighbor:
    return Neighbor(**{**{f: getattr(n, f) for f in n.__struct_fields__}, "address": address})


def _moved(interface: str, link: Link) -> bool:
    """A device that went and came again has another number, and our socket is deaf."""
    try:
        return socket.if_nametoindex(interface) != link._index
    except OSError:
        return True
