"""An Explanation as the lines of a screen.

In:  an Explanation; what the wire says of a route, and how to write an age (both the caller's).
Out: text lines, the same for the CLI and for the stories of the tests.
Elsewhere: finding out is explain.py; colour and width are cli/.
"""

from collections.abc import Callable, Iterator, Sequence

from metalbgp.model.addresses import Range, from_int
from metalbgp.model.configuration import Pool
from metalbgp.model.reasons import Reason
from metalbgp.model.services import Endpoints
from metalbgp.plan.explain import Announcement, Explanation, Line, Ownership

WIDTH = 12  # of the labels
NOT_WRITTEN = "kept: it already had it when this began to be written down"
Wire = Callable[[str, str, str], str]  # node, peer, prefix → "confirmed on the wire 12m ago"


def _wanted(node: str, peer: str, prefix: str) -> str:
    return "yes"


def lines(
    explanation: Explanation,
    wire: Wire = _wanted,
    ago: Callable[[str], str] = lambda since: "",
    answers: Callable[[Ownership], str] = lambda ownership: answering(ownership.candidates),
) -> list[str]:
    """`answers`: who does in L2, in the words of whoever asked the nodes."""
    found = explanation
    has = ", ".join(found.addresses) or "no address"
    screen = [f"{found.service} has {has}", *_labelled("asked for", found.asked)]
    if found.refused is not None:
        first, *each = found.refused.lines()
        if len(each) < 2:
            first, each = found.refused.explain(), []
        screen += [*_labelled("refused", first), *(f"{'':{WIDTH + 4}}{words}" for words in each)]
    if found.pool is not None:
        screen += _labelled("pool", pool_text(found.pool))
    for words in _given(found):
        screen += _labelled("given", words)
    for claim in found.claims:
        screen += _labelled("claim", f"VirtualIP {claim.address}, {claim.phase} {ago(claim.since)}".rstrip())
    if found.coming:
        screen += _labelled("claim", f"coming: {', '.join(found.coming)}")
    if found.unread is not None:
        screen += _labelled("ignored", f"{found.unread.explain()}; it keeps what it has")
    for words in found.ignored:
        screen += _labelled("ignored", words)
    if found.lacks is not None:
        screen += _labelled("lacks", found.lacks.explain())
    if found.claims:
        screen += _labelled("endpoints", _endpoints(found.endpoints, found.policy))
    apart = len({announcement.reason for announcement in found.bgp}) > 1  # one address has what another lacks
    for part in dict.fromkeys(tuple(_bgp(announcement, wire, apart)) for announcement in found.bgp):
        screen += part  # what is said of both addresses of a dual-stack Service is said once
    for part in dict.fromkeys(tuple(_l2(ownership, answers)) for ownership in found.l2):
        screen += part
    if found.remedy:
        screen += _labelled("remedy", found.remedy)
    return screen


def _given(found: Explanation) -> Iterator[str]:
    """What gave it the addresses that it has: allocate(), asked again, only says that it keeps them."""
    said = {claim.why for claim in found.claims}
    if not said:
        yield from [found.why.explain()] if found.why is not None else []
    elif len(said) == 1:
        yield found.claims[0].why or NOT_WRITTEN
    else:
        yield from (f"{claim.why or NOT_WRITTEN}: {claim.address}" for claim in found.claims)


def pool_text(pool: Pool) -> str:
    return f"{pool.name} {', '.join(range_text(piece) for piece in pool.ranges)}"


def range_text(piece: Range) -> str:
    """A block as prefix with its real ends, since users write host bits; other ranges by their ends."""
    low, high = from_int(piece.version, piece.first), from_int(piece.version, piece.last)
    blocks = list(piece.cidrs())
    if piece.size == 1:
        return low
    if len(blocks) > 1:
        return f"{low} – {high}"
    block = f"{blocks[0][0]}/{blocks[0][1]}"
    if piece.version == 6 or blocks[0][1] < 24:
        return block
    return f"{block} (real range .{low.rpartition('.')[2]} – .{high.rpartition('.')[2]})"


def _endpoints(endpoints: Endpoints, policy: str) -> str:
    nodes = [name for name, count in endpoints.ready for _ in range(count)]
    nodes += [f"{name} terminating" for name, count in endpoints.terminating for _ in range(count)]
    said = [*nodes[:6], *(["…"] if len(nodes) > 6 else [])]
    said += [f"{endpoints.nameless} on no named node"] if endpoints.nameless else []
    where = f" ({', '.join(said)})" if said else ""
    may = "any node may announce" if policy == "Cluster" else "only nodes with a serving endpoint announce"
    return f"{endpoints.serving} serving of {endpoints.total}{where}, policy {policy}: {may}"


def _bgp(announcement: Announcement, wire: Wire, apart: bool) -> Iterator[str]:
    if announcement.reason is not None:
        what = f"{announcement.address} no" if apart else "no"
        yield from _labelled("BGP", f"{what}: {announcement.reason.explain()}")
        return
    names = ", ".join(announcement.advertisements)
    target = announcement.prefix or f"{announcement.address}: nobody announces it"
    yield from _labelled("BGP", f"advertisement {names} → {target}")
    yield from _rows(announcement.lines, lambda line: wire(line.node, line.peer, announcement.prefix))


def _l2(ownership: Ownership, answers: Callable[[Ownership], str]) -> Iterator[str]:
    if ownership.reason is not None:
        yield from _labelled("L2", f"no: {ownership.reason.explain()}")
        return
    names = ", ".join(ownership.advertisements)
    yield from _labelled("L2", f"advertisement {names} → {ownership.address}: {answers(ownership)}")
    yield from _rows(ownership.lines, lambda line: "yes")


def answering(nodes: Sequence[str]) -> str:
    """Who answers in L2 while all of them live; the plan cannot say more (select/merge.py)."""
    first, *others = nodes or ("no node",)
    return f"{first} answers{', then ' if others else ''}{', '.join(others)}"


def _rows(rows: tuple[Line, ...], yes: Callable[[Line], str]) -> Iterator[str]:
    width = max((len(_who(line)) for line in rows), default=0)
    before: Reason | None = None
    for line in rows:
        if line.reason is None:
            text = yes(line)
        else:
            text = "no: the same" if line.reason == before else f"no: {line.reason.explain()}"
        before = line.reason
        yield f"{'':{WIDTH + 4}}{_who(line):{width}}   {text}"


def _who(line: Line) -> str:
    return f"{line.node} → {line.peer}" if line.peer else line.node


def _labelled(label: str, text: str) -> list[str]:
    return [f"  {label:{WIDTH}}{text}"]
