"""What FRR never does, by a router of our own: any NOTIFICATION, nonsense, silence in the middle, no reading.

Beside it is a real FRR whose sessions must never notice. Every test ends with both tables as wanted.
"""

import struct

from tests.wire.bgp_lab import Agent, Attributes, Key, Lab
from tests.wire.bgp_scripted import (
    AS4,
    KEEPALIVE,
    NOTIFICATION,
    REFRESH,
    UPDATE,
    Scripted,
    capability,
    message,
    opening,
)
from tests.wire.bgp_stand import prefix

PATH = bytes.fromhex("40010100 4002060201 0000fde9 400304 0a5a0301")  # ORIGIN, AS_PATH, NEXT_HOP
NLRI = bytes.fromhex("20c6336401")


class Pair:
    """An FRR and a scripted router, each with a session of either family."""

    def __init__(self, lab: Lab, **options: object) -> None:
        self.lab, self.options = lab, options
        self.beside, self.odd = lab.router(1), Scripted(lab, 2)
        self.beside.start()
        lab.speaker.start()
        self.agent: Agent = lab.speaker.agent()
        self.peers = [a for r in (self.beside, self.odd) for a in (r.v4, r.v6)]
        self.wants: dict[Key, Attributes] = {
            (peer, prefix(peer, n)): {"med": n} for peer in self.peers for n in (1, 2, 3)
        }
        self.tell()
        self.agent.want(self.wants)
        self._turn = 3

    def tell(self, **odd: object) -> None:
        plain = [self.beside.neighbor(f, **self.options) for f in (4, 6)]
        self.agent.neighbors(*plain, *(self.odd.neighbor(f, **self.options, **odd) for f in (4, 6)))

    def change(self) -> None:
        self._turn += 1
        changed: dict[Key, Attributes] = {}
        for peer in self.peers:
            changed |= {
                (peer, prefix(peer, self._turn - 1)): None,
                (peer, prefix(peer, self._turn)): {"med": 7},
            }
        self.agent.want(changed)
        self.wants |= changed

    def as_wanted(self, limit: float = 30) -> None:
        self.agent.established(*self.peers, limit=limit)
        self.agent.settled(self.wants, limit)
        self.lab.equal(self.wants, limit)
        theirs = {key[1] for key, value in self.wants.items() if value and key[0] in self.peers[2:]}
        self.odd.holds(theirs, limit)
        assert not self.odd.broken and self.odd.up == 2
        for family in (4, 6):
            assert self.beside.session(family)["connectionsDropped"] == 0

    def why(self) -> set[str]:
        """How the scripted router's sessions ended last."""
        return {self.agent.sessions[peer]["ended_why"] for peer in self.peers[2:]}


def test_after_a_notification_of_any_class_a_session_says_which_and_comes_back_with_every_route(
    lab: Lab,
) -> None:
    it = Pair(lab)
    it.odd.start()
    it.as_wanted()
    for code, subcode, words in (
        (1, 2, "Message Header Error / Bad Message Length"),
        (2, 6, "OPEN Message Error / Unacceptable Hold Time"),
        (3, 1, "UPDATE Message Error / Malformed Attribute List"),
        (3, 11, "UPDATE Message Error / Malformed AS_PATH"),
        (4, 0, "Hold Timer Expired"),
        (5, 3, "Finite State Machine Error / Receive Unexpected Message in Established State"),
        (6, 1, "Cease / Maximum Number of Prefixes Reached"),
        (6, 4, "Cease / Administrative Reset"),
        (6, 8, "Cease / Out of Resources"),
        (7, 1, "ROUTE-REFRESH Message Error / subcode 1"),
        (8, 0, "Send Hold Timer Expired"),
        (99, 9, "code 99 / subcode 9"),
    ):
        sessions = it.odd.sessions
        it.odd.say(message(NOTIFICATION, bytes((code, subcode)) + b"\xff\xfe"))
        it.change()
        it.agent.until(lambda w=words: all(why.startswith(w) for why in it.why()), words)
        assert all(why.endswith(" (from the router)") for why in it.why())
        it.as_wanted()
        assert it.odd.sessions == sessions + 2
    assert {row["flaps"] for peer, row in it.agent.sessions.items() if peer in it.peers[2:]} == {12}


def update(
    withdrawn: bytes = b"", attributes: bytes = PATH, nlri: bytes = NLRI, lengths: tuple[int, int] = (0, 0)
) -> bytes:
    """`lengths`: what they are said to be, if they are to lie."""
    first, second = lengths
    return message(
        UPDATE,
        struct.pack("!H", first or len(withdrawn))
        + withdrawn
        + struct.pack("!H", second or len(attributes))
        + attributes
        + nlri,
    )


HARMLESS = {
    "an UPDATE": update(),
    "attributes longer than the message": update(lengths=(0, 4000)),
    "withdrawals longer than the message": update(lengths=(4000, 0)),
    "a prefix of 40 bits": update(nlri=b"\x28\xc6\x33\x64\x01\x01"),
    "impossible flags": update(attributes=b"\xff" + PATH[1:]),
    "no attributes": update(attributes=b""),
    "an attribute twice": update(attributes=PATH + PATH),
    "nonsense for attributes": update(attributes=bytes(range(256)) * 15),
    "an unknown family to refresh": message(REFRESH, b"\0\x63\0\x63"),
    "a whole refresh": message(REFRESH, b"\0\1\0\1"),
}
HEADER = "Message Header Error"
FATAL = {  # → what we say of it, to the router as well
    "a broken marker": (message(KEEPALIVE, marker=bytes(16)), f"{HEADER} / Connection Not Synchronized"),
    "a length below the header's": (message(KEEPALIVE, length=18), f"{HEADER} / Bad Message Length"),
    "a length above the limit": (message(UPDATE, bytes(4981)), f"{HEADER} / Bad Message Length"),
    "the longest length": (message(UPDATE, bytes(100), length=65535), f"{HEADER} / Bad Message Length"),
    "an UPDATE without its lengths": (message(UPDATE), f"{HEADER} / Bad Message Length"),
    "a KEEPALIVE with something in it": (message(KEEPALIVE, b"x"), f"{HEADER} / Bad Message Length"),
    "a type that there is not": (message(9), f"{HEADER} / Bad Message Type"),
    "half a NOTIFICATION": (message(NOTIFICATION, b"\6"), f"{HEADER} / Bad Message Length"),
    "half a ROUTE-REFRESH": (message(REFRESH, b"\0\1"), f"{HEADER} / Bad Message Length"),
    "noise": (bytes(range(200)), f"{HEADER} / Connection Not Synchronized"),
}


def test_a_malformed_update_ends_no_session_and_a_malformed_header_only_its_own_with_the_reason(
    lab: Lab,
) -> None:
    it = Pair(lab)
    it.odd.start()
    it.as_wanted()
    child = lab.speaker.exabgp()
    for data in HARMLESS.values():
        it.odd.say(data)
        it.change()
        it.as_wanted()
    assert it.odd.sessions == 2 and not it.odd.notifications
    for what, (data, words) in FATAL.items():
        told = len(it.odd.notifications)
        it.odd.say(data)
        it.agent.until(lambda w=words: all(w in why for why in it.why()), f"{what}: {words}")
        it.change()
        it.as_wanted()
        assert len(it.odd.notifications) == told + 2, f"{what}: the router was not told"
    assert lab.speaker.exabgp() == child


def test_whatever_a_router_says_first_the_child_lives_and_the_session_comes_with_the_first_good_open(
    lab: Lab,
) -> None:
    it = Pair(lab, connect_retry=1)
    good = it.odd.open
    asn, name = it.odd.asn, it.odd.v4
    bad = {
        "version 3": opening(asn, name, 9, version=3),
        "hold time 1": opening(asn, name, 1),
        "no router ID": opening(asn, "0.0.0.0", 9),
        "another AS": opening(64999, name, 9),
        "AS 0": opening(0, name, 9),
        "options longer than the message": good[:9] + b"\xff" + good[10:],
        "options cut off": good[:-3],
        "a capability cut off": good[:9] + b"\x04\x02\x02\x41\x04",
        "an unknown parameter": good[:9] + b"\x03\x63\x01\x00",
        "nothing": b"",
        "nonsense": bytes(range(100)),
        "capabilities of nonsense": opening(asn, name, 9, capability(AS4, b"\1"), capability(64, b"\1")),
    }
    it.odd.first = list(bad.values())
    it.odd.start()
    it.agent.established(*it.peers[:2])
    child = lab.speaker.exabgp()
    it.agent.until(lambda: not it.odd.first, "every one of them was said", 60)
    it.change()
    it.as_wanted(60)
    assert lab.speaker.exabgp() == child


def test_a_router_that_reads_nothing_holds_up_no_other_and_is_given_up_in_time(lab: Lab) -> None:
    """It sends keepalives all the while, so no hold time ends: it gets twice the time (RFC 9687)."""
    it = Pair(lab, hold_time=3)
    it.odd.start(receive=4096)
    it.as_wanted()
    child = lab.speaker.exabgp()
    it.odd.reads.clear()
    it.odd.beats()
    many: dict[Key, Attributes] = {
        (it.odd.v4, f"198.18.{n // 250}.{n % 250}/32"): {"med": n} for n in range(5000)
    }
    it.agent.want(many)
    it.change()  # everybody's
    it.agent.until(lambda: at_beside(it), "the other router has what is new")
    it.lab.equal(it.wants)
    # The list of peers changes as well, while nothing gets through there.
    third = lab.router(3)
    third.start()
    more = [it.beside.neighbor(4, hold_time=3), it.beside.neighbor(6, hold_time=3), third.neighbor(4)]
    it.agent.neighbors(*more, *(it.odd.neighbor(f, hold_time=3) for f in (4, 6)))
    it.agent.established(third.v4)
    it.agent.until(lambda: "Send Hold Timer Expired" in str(it.why()), "the end of its patience", 40)
    it.odd.reads.set()
    it.wants |= many
    it.as_wanted(60)
    assert lab.speaker.exabgp() == child


def at_beside(it: Pair) -> bool:
    """All that is wanted of the FRR is confirmed."""
    rows = {key: value for key, value in it.wants.items() if key[0] in it.peers[:2]}
    return all(
        it.agent.routes.get(key, "withdrawn") == ("confirmed" if value else "withdrawn")
        for key, value in rows.items()
    )
