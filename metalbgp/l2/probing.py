"""Does anybody on the segment use this address? Asked before its first use. Sans-I/O.

In:  the addresses to ask for, each with a token that tells one question from the next about the same address;
     who was heard; `now` (seconds, monotonic). Out: frames; which interfaces must be listened on; answers.
Elsewhere: bytes in wire.py; machine.py has the interfaces, and hands over what it hears.

RFC 5227 §2.1.1 and RFC 4862 §5.4, but for the pace: three questions within half a second and as long to
listen, for a host that is up answers within milliseconds. Their seconds are for hosts that boot all at once.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from metalbgp.l2 import wire
from metalbgp.l2.links import Interface

QUESTIONS: Final = 3
SPACING: Final = 0.2  # seconds between two of them
LISTEN: Final = 0.5  # seconds after the last
HURRIED_SPACING: Final = 0.03  # where an owner fell silent, and clients wait
HURRIED_LISTEN: Final = 0.06

Filter = frozenset[str] | None  # names of allowed interfaces; None: every fit one


class Question(NamedTuple):
    """What the agent wants to know, or ownership.py (hurried)."""

    allowed: Filter
    token: str
    hurried: bool = False
    others: frozenset[bytes] = frozenset()  # MACs whose answer is none: those of whom it is not about

    def pause(self, sent: int) -> float:
        """Seconds to wait after so many questions."""
        if self.hurried:
            return HURRIED_SPACING if sent < QUESTIONS else HURRIED_LISTEN
        return SPACING if sent < QUESTIONS else LISTEN


class Probe:
    """One question on its way, or with its answer. It stays until the agent takes it back."""

    __slots__ = ("answer", "asked_on", "done", "next", "question", "sent")

    def __init__(self, question: Question, now: float) -> None:
        self.question = question
        self.sent, self.next, self.done = 0, now, False
        self.asked_on: set[str] = set()
        self.answer: tuple[str, bytes] | None = None  # interface and MAC

    @property
    def failed(self) -> str:
        """Why an answer proves nothing; "" when it does."""
        return "no fit interface" if self.done and not self.asked_on else ""


def able(interface: Interface, address: bytes, allowed: Filter) -> bool:
    fit = interface.arp if len(address) == 4 else interface.ndp
    return fit and (allowed is None or interface.name in allowed)


class Probing:
    def __init__(self) -> None:
        self.probes: dict[bytes, Probe] = {}
        self.changes = 0  # counts answers and ends, for whoever tells the agent

    @property
    def deadline(self) -> float | None:
        return min((probe.next for probe in self.probes.values() if not probe.done), default=None)

    def set(self, wanted: Mapping[bytes, Question], now: float) -> bool:
        """The full set. One that is known goes on; True: something began or ended."""
        gone = [address for address in self.probes if address not in wanted]
        fresh = {
            address: question
            for address, question in wanted.items()
            if address not in self.probes or self.probes[address].question != question
        }
        for address in gone:
            del self.probes[address]
        for address, question in fresh.items():
            self.probes[address] = Probe(question, now)
        return bool(gone or fresh)

    def again(self, now: float) -> bool:
        """Interfaces changed: what could not be asked is tried once more. True: something is."""
        failed = [address for address, probe in self.probes.items() if probe.failed]
        for address in failed:
            self.probes[address] = Probe(self.probes[address].question, now)
        self.changes += bool(failed)
        return bool(failed)

    def listening(self, interface: Interface) -> tuple[bytes, ...]:
        """Addresses whose answers are waited for on it."""
        return tuple(
            sorted(
                address
                for address, probe in self.probes.items()
                if not probe.done and able(interface, address, probe.question.allowed)
            )
        )

    def wake(self, interfaces: Mapping[str, Interface], now: float) -> list[tuple[Interface, bytes]]:
        """The questions that are due; a probe whose time is over is done."""
        frames: list[tuple[Interface, bytes]] = []
        for address, probe in self.probes.items():
            if probe.done or probe.next > now:
                continue
            if probe.sent == QUESTIONS:
                self._end(probe)
                continue
            for interface in interfaces.values():
                if able(interface, address, probe.question.allowed):
                    probe.asked_on.add(interface.name)
                    frames.append((interface, wire.question(interface.mac, address)))
            probe.sent += 1
            probe.next = now + probe.question.pause(probe.sent)
        return frames

    def heard(self, interface: str, address: bytes, mac: bytes) -> bool:
        """Somebody says that the address is his. True: it was asked for there."""
        probe = self.probes.get(address)
        if probe is None or probe.done or interface not in probe.asked_on or mac in probe.question.others:
            return False
        probe.answer = interface, mac
        self._end(probe)
        return True

    def _end(self, probe: Probe) -> None:
        probe.done = True
        self.changes += 1
