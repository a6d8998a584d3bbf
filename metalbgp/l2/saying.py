"""The heartbeats that go out: what members.py knows, as one segment is told it. Pure.

In:  members.py, an interface, the time. Out: heartbeats for beating.py to sign and send.
Elsewhere: when they are due, and what is urgent, members.py; their bytes heartbeat.py.
"""

from collections.abc import Iterator
from typing import Final

from metalbgp.l2 import heartbeat
from metalbgp.l2.heartbeat import ACTIVE, BY_UDP, LEAVING, WANT_UDP, Heard, Heartbeat
from metalbgp.l2.members import UDP_EVERY, Members, Self

SAID: Final = {Self.ANNOUNCED: ACTIVE, Self.ACTIVE: ACTIVE, Self.LEAVING: ACTIVE | LEAVING}


def beats(members: Members, interface: str, now: float) -> Iterator[Heartbeat]:
    """What goes out there now: by our EtherType, and by UDP when it is its turn."""
    segment = members.segments.get(interface)
    if segment is None:
        return
    flags = SAID.get(members.state, 0) if segment.ready else 0
    if segment.want_udp_until > now:
        flags |= WANT_UDP
    heard = []
    for member in members.everybody():
        sight = member.sights.get(interface)
        if sight is not None and now - sight.last <= member.patience(sight) - 2 * member.interval:
            heard.append(Heard(member.sender, member.life[:4], sight.flags))
    most = heartbeat.CLAIMS_MOST
    parts = min(max(1, -(-len(members.claims) // most)), 255)
    part = members.part % parts
    beat = Heartbeat(
        sender=members.sender,
        life=members.life,
        beat=members.beats,
        age=min(int((now - members.began) * 1000), 2**32 - 1),
        interval=round(members.interval * 1000),
        multiplier=members.pace.multiplier,
        flags=flags,
        heard=tuple(heard[: heartbeat.HEARD_MOST]),
        lost=tuple(heartbeat.short(name.encode()) for name in members.lost),
        claims=members.claims[part * most : (part + 1) * most],
        part=part,
        parts=parts,
    )
    yield beat
    if members.by_udp(interface, now) or members.beats % UDP_EVERY == 0:
        yield beat._replace(flags=flags | BY_UDP)
