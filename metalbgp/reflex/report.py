"""What the reflex says of itself: state, members, addresses. For the agent, and for people who ask.

In:  l2's edge with all it holds. Out: dicts for messages.encode(). Field names are API (docs/layer2.md).
Elsewhere: when something is said is process.py.
"""

import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from typing import Any, Final

from metalbgp.clocks import clock
from metalbgp.l2 import heartbeat
from metalbgp.l2.edge import Edge, text
from metalbgp.l2.heartbeat import LEAVING
from metalbgp.l2.member import Life, Member
from metalbgp.l2.members import Members, Self
from metalbgp.l2.ownership import News, Ownership

CHUNK: Final = 250  # addresses in a line: making one must not keep a heartbeat waiting


def state(edge: Edge, granted: str, refused: tuple[str, ...]) -> dict[str, Any]:
    """Everything but the addresses."""
    machine, members, now = edge.machine, edge.members, clock()
    rows = others(members, now)
    return {
        "realtime": granted,
        "self": myself(edge, rows, now),
        "members": rows,
        "segments": segments(edge, rows, now),
        "interfaces": sorted(machine.interfaces),
        "conflicts": [
            {
                "address": text(conflict.address),
                "interface": conflict.interface,
                "mac": conflict.mac.hex(":"),
                "seen": sighting.times,
                "ago": round(now - sighting.last, 3),
            }
            for conflict, sighting in machine.conflicts.items()
        ],
        "probes": [
            {
                "address": text(address),
                "token": probe.question.token,
                "done": probe.done,
                "interface": probe.answer[0] if probe.answer else "",
                "mac": probe.answer[1].hex(":") if probe.answer else "",
                "failed": probe.failed,
            }
            for address, probe in machine.probing.probes.items()
            if not Ownership.is_own(probe)
        ],
        "dropped": {
            str(reason): count for reason, count in (*machine.drops.items(), *edge.beating.drops.items())
        },
        "send_errors": edge.send_errors + edge.beating.send_errors,
        "problems": [*refused, *problems(edge, now)],
    }


def myself(edge: Edge, rows: list[dict[str, Any]], now: float) -> dict[str, Any]:
    """What this node is among the candidates, in one word and in several."""
    members, machine, ownership = edge.members, edge.machine, edge.ownership
    word, why = str(members.state), ""
    keys = edge.beating.keys.at(now)
    quiet = [name for name, one in members.segments.items() if one.quiet]
    if members.state is Self.NO_KEY:
        why = "no heartbeat key: without one this node owns nothing"
    elif members.state is Self.DUPLICATE:
        why = f"another node calls itself {members.node} as well: {members.twin}"
    elif not ownership.duties:
        word = "no-duties"
    elif not machine.interfaces:
        word, why = "cut-off", "no interface has a link"
    elif quiet and not any(row["state"] == "live" for row in rows):
        word, why = (
            "isolated",
            f"everybody else fell silent on {', '.join(sorted(quiet))}: nothing new is claimed",
        )
    return {
        "node": members.node,
        "state": word,
        "why": why,
        "key": sha256(keys[0]).hexdigest()[:8] if keys else "",
        "interval": round(members.interval, 3),
        "multiplier": members.pace.multiplier,
        "stalls": members.stalls,
        "owned": len(ownership.owned),
        "duties": len(ownership.duties),
    }


def others(members: Members, now: float) -> list[dict[str, Any]]:
    """The others, for people."""
    rows: list[dict[str, Any]] = []
    ours = {heartbeat.short(name.encode()): name for name in (*members.segments, *members.lost)}
    for sender, name in sorted(members.names.items(), key=lambda item: item[1]):
        if sender == members.sender:
            continue
        member = members.member(sender)
        if member is None:
            rows.append({"node": name, "state": "unheard", "interfaces": [], "lost": []})
            continue
        sights = member.sights
        alive = sorted(iface for iface, sight in sights.items() if sight.state is Life.ALIVE)
        latest = max(sights.values(), key=lambda sight: sight.last, default=None)
        rows.append(
            {
                "node": name,
                "state": word(members, member),
                "interfaces": alive,
                "mac": latest.mac.hex(":") if latest else "",
                "ago": round(now - latest.last, 3) if latest else None,
                "loss": round(max((sight.loss for sight in sights.values()), default=0.0), 3),
                "transport": "udp" if latest and latest.udp > latest.ether else "ethernet",
                "lost": [ours.get(one, one.hex()) for one in member.lost],
            }
        )
    return rows


def word(members: Members, member: Member) -> str:
    """One word for its state."""
    states = {sight.state for sight in member.sights.values()}
    if Life.ALIVE not in states:
        return str(Life.DOUBT if Life.DOUBT in states else Life.DEAD)
    if any(sight.flags & LEAVING for sight in member.alive(member.sights)):
        return "leaving"
    if not member.active:
        return "listening"
    if not members.echoes(member, any_flags=True) and members.state is not Self.LISTENING:
        return "deaf"
    return "live"


def segments(edge: Edge, rows: list[dict[str, Any]], now: float) -> dict[str, Any]:
    """What is heard on each interface."""
    members = edge.members
    return {
        name: {
            "mac": edge.machine.interfaces[name].mac.hex(":"),
            "members": sum(name in row["interfaces"] for row in rows),
            "transport": "udp" if members.by_udp(name, now) else "ethernet",
            "silent": bool(segment.quiet),
        }
        for name, segment in members.segments.items()
        if name in edge.machine.interfaces
    }


def problems(edge: Edge, now: float) -> Iterator[str]:
    """In words, what is wrong."""
    for what, why in (*edge.problems.items(), *edge.beating.problems.items()):
        yield f"{what}: {why}"
    for name, mac in edge.beating.stranger(now).items():
        yield f"{name}: heartbeats of {mac} are signed with another key"
    if edge.members.twin:
        yield f"another node calls itself {edge.members.node} as well: {edge.members.twin}"
    for name in edge.members.segments:
        if edge.members.by_udp(name, now):
            yield f"{name}: heartbeats by EtherType 0x88B5 do not get through, UDP is used"


def addresses(edge: Edge) -> Iterator[dict[str, Any]]:
    """Every duty in lines of CHUNK; what was given up or taken on meanwhile is told as it is then."""
    waiting = iter(tuple(edge.ownership.duties))
    while part := tuple(islice(waiting, CHUNK)):
        now, wall = clock(), time.time()
        yield {"addresses": {text(one): row for one in part if (row := address(edge, one, wall - now))}}


def address(edge: Edge, which: bytes, to_wall: float) -> dict[str, Any]:
    """One address as this node sees it; {} when it is no duty any more."""
    group = edge.ownership.duties.get(which)
    if group is None:
        return {}
    owned, count = edge.ownership.owned.get(which), edge.machine.counts.get(which)
    return {
        "owner": group.standing.owner,
        "here": owned is not None,
        "interfaces": edge.machine.holding(which) if owned is not None else [],
        "candidates": [list(place) for place in group.standing.places],
        "since": round((owned.since if owned else group.since) + to_wall, 3),
        "took": round(owned.took, 3) if owned and owned.took is not None else None,
        "cause": owned.cause if owned else group.cause,
        "requests": count.requests if count else 0,
        "replies": count.replies if count else 0,
        "gratuitous": count.gratuitous if count else 0,
    }


def news(edge: Edge, limit: int = CHUNK) -> Iterator[dict[str, Any]]:
    """What this node took on and gave up, oldest first: runs of one kind."""
    queue, to_wall = edge.ownership.news, time.time() - clock()
    run: list[News] = []
    for _ in range(min(limit, len(queue))):
        one = queue.popleft()
        if run and run[-1].gained != one.gained:
            yield _told(run, to_wall)
            run = []
        run.append(one)
    if run:
        yield _told(run, to_wall)


def _told(run: list[News], to_wall: float) -> dict[str, Any]:
    if run[0].gained:
        return {"gained": [gained(one.address, one.since + to_wall, one.took, one.cause) for one in run]}
    return {"lost": [[text(one.address), one.cause] for one in run]}


def gained(which: bytes, since: float, took: float | None, cause: str) -> list[Any]:
    """One address that this node owns, as the agent hears it."""
    return [text(which), round(since, 3), None if took is None else round(took, 3), cause]
