"""L2 as all nodes together see it: each address with owner and candidates, each node. Pure.

In:  VirtualIPs, what the reflexes said (nothing, where nobody may ask them), the speakers' NodeStates.
Out: Layer2: L2Rows and L2Nodes with their problems, ready for a screen or for JSON.
Elsewhere: asking is reflexes.py; the screens are l2.py and l2_screen.py; what each word means docs/layer2.md.

One node's word decides nothing where another one contradicts it: two that both answer are told as two.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.cli.ages import from_unix, words
from metalbgp.cli.reflexes import Conflict, Held, Member, Reflex, Reflexes, Segment
from metalbgp.cli.render import listed
from metalbgp.model.addresses import parse
from metalbgp.model.report import NodeReport
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.ranking import Claimant, eligible, is_even
from metalbgp.plan.scene import Scene

ANSWERS, STANDS_BY, UNKNOWN = "answers", "stands-by", "unknown"
BAD: Final = frozenset({"no-key", "duplicate", "isolated", "cut-off"})  # states of a node that are a problem
PASSING: Final = frozenset({"listening", "announced", "leaving", "no-duties"})
FRESH: Final = 300.0  # seconds that a foreign MAC counts, after it was seen last
REMEDIES: Final = {
    "no-key": "kubectl get secret -n NAMESPACE metalbgp-speaker: the controller makes heartbeat.key",
    "duplicate": "two speakers have one node name: look for a cloned machine, and at METALBGP_NODE_NAME",
    "cut-off": "ip link on the node: no interface that may answer has a link",
    "isolated": "the switch port, the VLAN, the cable of this node: it hears nobody else on the segment",
}


class Candidate(Struct, frozen=True):
    """One node that may own the address, in its place."""

    node: str
    state: str  # answers, stands-by; or in the reflex's words: silent, deaf, declining, no-key, …; unknown
    place: str  # why it stands where it stands
    why: str = ""  # of the state, where there is more to say


class L2Row(Struct, frozen=True):
    """One address. `asked`: whether the nodes themselves said so; else it is what they reported."""

    address: str
    services: tuple[str, ...] = ()
    pool: str = ""
    owner: str = ""  # "": nobody, or nobody knows
    interfaces: tuple[str, ...] = ()  # on which it answers
    candidates: tuple[Candidate, ...] = ()
    since: str = ""  # that it owns the address
    took: float | None = None  # seconds without an owner before
    cause: str = ""  # of the last change of owner
    requests: int = 0  # by the owner, since it has the address
    replies: int = 0
    gratuitous: int = 0
    owners: tuple[str, ...] = ()  # all nodes that answer for it
    asked: bool = True
    problems: tuple[str, ...] = ()


class L2Node(Struct, frozen=True):
    """One node that runs a speaker."""

    node: str
    state: str = ""  # active, listening, …; "": not known
    why: str = ""
    realtime: str = ""
    key: str = ""  # first digits of the SHA-256 of its heartbeat key
    owned: int = 0
    duties: int = 0
    segments: Mapping[str, Segment] = {}
    members: tuple[Member, ...] = ()
    silent: str = ""  # why it did not answer
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    remedy: str = ""


class Layer2(Struct, frozen=True):
    addresses: tuple[L2Row, ...] = ()
    nodes: tuple[L2Node, ...] = ()

    @property
    def problems(self) -> int:
        of_addresses = sum(len(one.problems) for one in self.addresses)
        return of_addresses + sum(len(one.problems) for one in self.nodes)


class Known(Struct, frozen=True):
    """What the rows are made of."""

    claims: tuple[VirtualIP, ...]  # of this installation
    reports: tuple[NodeReport, ...]
    reflexes: Reflexes
    scene: Scene
    installation: str = ""


def layer2(known: Known) -> Layer2:
    return Layer2(tuple(rows(known)), tuple(nodes(known)))


def in_l2(vip: VirtualIP) -> bool:
    """Whether anybody shall answer for it."""
    return vip.phase == "bound" and any(holder.l2 for holder in vip.holders.values())


# ------------------------------------------------------------------ addresses


def rows(known: Known) -> Iterator[L2Row]:
    wanted = {vip.address: vip for vip in known.claims if in_l2(vip)}
    answered = {
        address
        for one in known.reflexes.speaking
        for address, held in one.addresses.items()
        if held.here and address not in wanted
    }
    conflicts: dict[str, list[tuple[str, Conflict]]] = {}
    for one in known.reflexes.speaking:
        for conflict in one.state.conflicts:
            conflicts.setdefault(conflict.address, []).append((one.node, conflict))
    asked = bool(known.reflexes.speaking)
    for address in sorted({*wanted, *answered}, key=_numeric):
        vip = wanted.get(address)
        row = _asked(address, vip, known) if asked else _reported(vip, known) if vip else None
        if row is not None:
            more = tuple(_foreign(conflicts.get(address, ()), known.reflexes))
            yield replace(row, problems=(*row.problems, *more)) if more else row


def _numeric(address: str) -> tuple[int, int]:
    found = parse(address)
    return found.version, int(found)


def _asked(address: str, vip: VirtualIP | None, known: Known) -> L2Row:
    views = {one.node: one.addresses[address] for one in known.reflexes.speaking if address in one.addresses}
    owners = tuple(sorted(node for node, held in views.items() if held.here))
    silent = {one.node for one in known.reflexes.heard if one.silent}
    owner = owners[0] if owners else _agreed(views, silent)
    held = views.get(owner, Held())
    candidates = tuple(_candidates(address, vip, views, owner, known))
    row = L2Row(
        address=address,
        services=tuple(sorted(vip.holders)) if vip else (),
        pool=vip.pool if vip else "",
        owner=owner,
        interfaces=held.interfaces,
        candidates=candidates,
        since=from_unix(held.since) if held.since else "",
        took=held.took,
        cause=held.cause,
        requests=held.requests,
        replies=held.replies,
        gratuitous=held.gratuitous,
        owners=owners,
    )
    return replace(row, problems=tuple(_wrong(row, vip, views, known)))


def _agreed(views: Mapping[str, Held], silent: set[str]) -> str:
    """Of nodes that cannot be asked the others say whether they own it: they hear their heartbeats."""
    said = {held.owner for held in views.values() if held.owner}
    return next(iter(said)) if len(said) == 1 and said <= silent else ""


def _candidates(
    address: str, vip: VirtualIP | None, views: Mapping[str, Held], owner: str, known: Known
) -> Iterator[Candidate]:
    places = _places(vip, known)
    seen = views.get(owner) or next(iter(views.values()), Held())
    order = tuple(vip.candidates) if vip else tuple(one.node for one in seen.candidates)
    heard = {one.node: one.state for one in seen.candidates}
    by_node = {one.node: one for one in known.reflexes.heard}
    for node in order:
        state, why = _state(node, views, heard, by_node.get(node))
        yield Candidate(node, state, places.get(node, ""), why)


def _state(
    node: str, views: Mapping[str, Held], heard: Mapping[str, str], reflex: Reflex | None
) -> tuple[str, str]:
    """What it says of itself counts first; what the others hear, where it cannot be asked or says nothing."""
    if node in views and views[node].here:
        return ANSWERS, ""
    if reflex is not None and not reflex.silent:
        own = reflex.state.myself
        if own.state in BAD | PASSING:
            return own.state, own.why
    word = heard.get(node, "")
    why = reflex.silent if reflex is not None and reflex.silent else ""
    if word in ("live", "self"):
        return STANDS_BY, why and f"heard by the others; {why}"
    return word or UNKNOWN, why


def _places(vip: VirtualIP | None, known: Known) -> dict[str, str]:
    """Why each candidate stands where it stands; the order itself is the controller's."""
    if vip is None:
        return {}
    holders = [(key, one) for key, one in vip.holders.items() if one.l2 and one.serving]
    for key, holder in sorted(holders, key=lambda pair: (pair[1].created, pair[0])):
        there = {name: node for name in vip.candidates if (node := known.scene.nodes.get(name))}
        scene = Scene(known.scene.configuration, there, frozenset(there))  # of these alone: there may be many
        weights = eligible(Claimant(key, holder, vip.address), scene)
        if weights or holder.terminating:
            places = {node: _place(node, weights, holder.terminating) for node in vip.candidates}
            return _spread(places, vip, Claimant(key, holder, vip.address), weights, known.scene)
    return {}


def _spread(
    places: dict[str, str], vip: VirtualIP, claimant: Claimant, weights: Mapping[str, int], scene: Scene
) -> dict[str, str]:
    """The first one, where it was chosen because it had the fewest; the others follow by the hash."""
    first = vip.candidates[0] if vip.candidates else ""
    if first in weights and vip.phase == "bound" and is_even(claimant, scene):
        places[first] = (f"{places[first]}, then " if weights[first] else "") + "by spread: even"
    return places


def _place(node: str, weights: Mapping[str, int], terminating: Mapping[str, int]) -> str:
    if node not in weights:
        return "its endpoints terminate" if node in terminating else "chosen before the cluster changed"
    weight = weights[node]
    return f"preferred, weight {weight}" if weight else "by the hash of node and address"


def _wrong(row: L2Row, vip: VirtualIP | None, views: Mapping[str, Held], known: Known) -> Iterator[str]:
    if len(row.owners) > 1:
        count = "two" if len(row.owners) == 2 else str(len(row.owners))
        yield f"{count} answer for it: {listed(row.owners)}"
    if vip is None:
        yield f"no VirtualIP asks for it, and {listed(row.owners)} still answers"
        return
    if row.owner:
        return
    if not vip.candidates:
        yield _no_candidate(vip)
        return
    unasked = [one.node for one in known.reflexes.heard if one.silent and one.node in vip.candidates]
    if unasked and all(not held.owner for held in views.values()):
        yield f"nobody that was asked answers; not asked: {listed(unasked)}"
    else:
        yield f"nobody answers: {', '.join(f'{one.node} {one.state}' for one in row.candidates)}"


def _no_candidate(vip: VirtualIP) -> str:
    serving = any(holder.serving for holder in vip.holders.values())
    return "nobody answers: " + ("no node may" if serving else "no endpoint serves")


def _foreign(conflicts: Sequence[tuple[str, Conflict]], reflexes: Reflexes) -> Iterator[str]:
    """A MAC that no node of ours has. Nodes' own are takeovers, and told elsewhere."""
    seen: dict[str, tuple[str, Conflict]] = {}
    for node, conflict in conflicts:
        if conflict.ago < FRESH and not reflexes.node_of(conflict.mac):
            known = seen.get(conflict.mac)
            if known is None or conflict.ago < known[1].ago:
                seen[conflict.mac] = node, conflict
    for mac, (node, conflict) in sorted(seen.items()):
        seen_by = f"seen by {node} on {conflict.interface} {words(conflict.ago)} ago"
        yield f"{mac}, which is no node of ours, says it has it: {seen_by}"


def _reported(vip: VirtualIP, known: Known) -> L2Row:
    """Without the right to ask: who reports that it answers, and the order."""
    found = {
        report.node: duty for report in known.reports for duty in report.duties if duty.address == vip.address
    }
    states = {report.node: (report.layer2, report.layer2_why) for report in known.reports}
    places = _places(vip, known)
    candidates = []
    for node in vip.candidates:
        state, why = states.get(node, ("", ""))
        if node in found:
            state, why = ANSWERS, ""
        elif state not in BAD | PASSING:
            state, why = UNKNOWN, ""
        candidates.append(Candidate(node, state, places.get(node, ""), why))
    owners = tuple(sorted(found))
    problems = [f"two report that they answer: {listed(owners)}"] if len(owners) > 1 else []
    if not vip.candidates:
        problems.append(_no_candidate(vip))
    return L2Row(
        address=vip.address,
        services=tuple(sorted(vip.holders)),
        pool=vip.pool,
        owner=owners[0] if owners else "",
        interfaces=found[owners[0]].interfaces if owners else (),
        candidates=tuple(candidates),
        owners=owners,
        asked=False,
        problems=tuple(problems),
    )


# ------------------------------------------------------------------ nodes


def nodes(known: Known) -> Iterator[L2Node]:
    if known.reflexes.heard:
        for one in known.reflexes.heard:
            yield _silent(one, known) if one.silent else _node(one, known)
        return
    for report in known.reports:
        if report.layer2:
            bad = (f"{report.layer2}: {report.layer2_why}",) if report.layer2 in BAD else ()
            yield L2Node(
                node=report.node,
                state=report.layer2,
                why=report.layer2_why,
                realtime=report.realtime.lower(),
                owned=report.duties_total,
                duties=report.candidate_for,
                problems=bad,
                remedy=remedy(report.layer2, known.installation),
            )


def _silent(one: Reflex, known: Known) -> L2Node:
    """Whether it lives is what its neighbours say."""
    words_of = {
        member.state
        for other in known.reflexes.speaking
        for member in other.state.members
        if member.node == one.node
    }
    heard = f"; the others hear it: {', '.join(sorted(words_of))}" if words_of else ""
    return L2Node(node=one.node, silent=one.silent, problems=(f"{one.silent}{heard}",))


def _node(one: Reflex, known: Known) -> L2Node:
    state = one.state
    own = state.myself
    bad = (f"{own.state}: {own.why}" if own.why else own.state,) if own.state in BAD else ()
    return L2Node(
        node=one.node,
        state=own.state,
        why=own.why,
        realtime=state.realtime,
        key=own.key,
        owned=own.owned,
        duties=own.duties,
        segments=state.segments,
        members=state.members,
        problems=bad,
        warnings=tuple(_warnings(one)),
        remedy=remedy(own.state, known.installation),
    )


def _warnings(one: Reflex) -> Iterator[str]:
    for name, segment in sorted(one.state.segments.items()):
        if segment.transport == "udp":
            yield f"{name}: heartbeats go by UDP: the switch drops EtherType 0x88B5; let it pass"
        if segment.silent and one.state.myself.state not in BAD:
            yield f"{name}: nobody is heard where others were"
    told = ("0x88B5", "calls itself")  # said above, or by the node's state
    yield from (text for text in one.state.problems if not any(mark in text for mark in told))


def remedy(state: str, installation: str) -> str:
    return REMEDIES.get(state, "").replace("NAMESPACE", installation or "metallb-system")
