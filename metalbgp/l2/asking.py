"""Who answers for an address, asked by a person: questions out, every answer counted. Sans-I/O.

In:  the address, the interfaces to ask on, frames that were heard; `now` in seconds.
Out: the frames that are due; who answered where, after how long, and how often.
Elsewhere: sockets and the command line are ask.py. Whether an address may be used at all is probing.py: it
     stops at the first answer, this one waits for the second.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from metalbgp.l2 import wire
from metalbgp.l2.links import Interface
from metalbgp.l2.probing import able

QUESTIONS: Final = 3
SPACING: Final = 0.2
LISTEN: Final = 0.5  # seconds after the last question


class Answer:
    """One station that says the address is its own."""

    __slots__ = ("after", "interface", "mac", "times")

    def __init__(self, interface: str, mac: bytes, after: float) -> None:
        self.interface, self.mac, self.after, self.times = interface, mac, after, 1


class Asking:
    def __init__(self, address: bytes, interfaces: Iterable[Interface], now: float) -> None:
        self.address = address
        self.interfaces = {one.name: one for one in interfaces if able(one, address, None)}
        self.answers: dict[tuple[str, bytes], Answer] = {}
        self.sent = 0
        self._next = now
        self._asked = now

    @property
    def deadline(self) -> float:
        """When wake() is due."""
        return self._next

    def wake(self, now: float) -> list[tuple[str, bytes]]:
        """The questions that are due, by interface; [] at the end too, which `over` tells."""
        if now < self._next or self.sent == QUESTIONS:
            return []
        self.sent += 1
        self._asked = now
        self._next = now + (SPACING if self.sent < QUESTIONS else LISTEN)
        return [(name, wire.question(one.mac, self.address)) for name, one in self.interfaces.items()]

    def over(self, now: float) -> bool:
        return self.sent == QUESTIONS and now >= self._next

    def heard(self, interface: str, frame: bytes, now: float) -> None:
        """A reply, an announcement, or a question that comes from the address: whoever sends it has it."""
        packet = wire.decode(frame)
        if isinstance(packet, wire.Arp) and packet.sender == self.address:
            mac = packet.sender_mac
        elif isinstance(packet, wire.Advertisement) and packet.target == self.address:
            mac = packet.link_address or packet.source
        else:
            return
        if mac == self.interfaces[interface].mac:
            return
        known = self.answers.get((interface, mac))
        if known is None:
            self.answers[interface, mac] = Answer(interface, mac, now - self._asked)
        else:
            known.times += 1

    def rows(self) -> Iterator[dict[str, object]]:
        """For JSON, first come first."""
        for one in self.answers.values():
            yield {
                "interface": one.interface,
                "mac": one.mac.hex(":"),
                "ms": round(one.after * 1000, 3),
                "times": one.times,
            }
