"""One address of L2 as the lines of a screen: owner, each candidate with the reason for its place, its nodes.

In:  Layer2 of the rows that are asked for, with the nodes that matter to them.
Out: lines.
Elsewhere: finding out is l2_rows.py; the table of all addresses is l2.py.
"""

from collections.abc import Iterator
from datetime import datetime

from metalbgp.cli.ages import age, words
from metalbgp.cli.l2_rows import ANSWERS, STANDS_BY, Candidate, L2Node, L2Row, Layer2
from metalbgp.cli.reflexes import Member
from metalbgp.cli.render import many

LABEL = 12  # width of the words in front
WORDS = {ANSWERS: "answers", STANDS_BY: "stands by"}


def lines(found: Layer2, now: datetime, *, asked: bool) -> Iterator[str]:
    for row in found.addresses:
        yield f"{row.address} is of {', '.join(row.services) or 'no Service'}"
        if row.pool:
            yield _labelled("pool", row.pool)
        yield _labelled("owner", _owner(row, now))
        yield from _block("candidates", _candidates(row.candidates))
        if asked and row.owner:
            yield _labelled(
                "sent",
                f"{many(row.replies, 'answer')} to {many(row.requests, 'question')}, "
                f"{many(row.gratuitous, 'announcement')}",
            )
        for text in row.problems:
            yield _labelled("problem", text)
        yield _labelled("more", f"metalbgp l2 probe {row.address}")
    for node in found.nodes:
        yield from _node(node)


def _owner(row: L2Row, now: datetime) -> str:
    if len(row.owners) > 1:
        return f"{' and '.join(row.owners)} answer"
    if not row.owner:
        if row.asked or not row.candidates:
            return "nobody"
        first, *others = row.candidates
        by = (
            f"; {', '.join(one.node for one in others)} stand{'s' if len(others) == 1 else ''} by"
            if others
            else ""
        )
        return f"{first.node} is first{by}"
    where = f" on {', '.join(row.interfaces)}" if row.interfaces else ""
    since = f" since {age(row.since, now)}" if row.since else ""
    why = f": {row.cause}" if row.cause else ""
    took = f"; it took {row.took:.3f} s" if row.took is not None else ""
    verb = "answers" if row.owners else "owns it, as the others hear it, and could not be asked"
    return f"{row.owner} {verb}{where}{since}{why}{took}"


def _candidates(candidates: tuple[Candidate, ...]) -> Iterator[str]:
    width = max((len(one.node) for one in candidates), default=0)
    state = max((len(WORDS.get(one.state, one.state)) for one in candidates), default=0)
    for one in candidates:
        said = f"{one.node:{width}}   {WORDS.get(one.state, one.state):{state}}"
        yield "   ".join(part for part in (said, one.place, one.why) if part)
    if not candidates:
        yield "none"


def _node(node: L2Node) -> Iterator[str]:
    head = ", ".join(part for part in (node.state, node.why) if part) or node.silent
    yield f"{node.node} {head}" + (f", owns {node.owned:,} of {node.duties:,}" if node.duties else "")
    for name, segment in sorted(node.segments.items()):
        quiet = ", nobody is heard" if segment.silent else ""
        yield _labelled(
            name, f"{segment.mac}, hears {many(segment.members, 'node')} by {segment.transport}{quiet}"
        )
    yield from _block("hears", (_member(one) for one in node.members))
    for text in node.problems:
        yield _labelled("problem", text)
    if node.problems and node.remedy:
        yield _labelled("remedy", node.remedy)
    for text in node.warnings:
        yield _labelled("warning", text)


def _member(one: Member) -> str:
    parts = [f"{one.node} {one.state}"]
    if one.interfaces:
        parts[0] += f" on {', '.join(one.interfaces)}"
    if one.ago is not None:
        parts.append(f"{words(one.ago)} ago")
    if one.loss >= 0.005:
        parts.append(f"{one.loss:.0%} lost")
    if one.lost:
        parts.append(f"its {', '.join(one.lost)} has no link")
    return ", ".join(parts)


def _block(label: str, rows: Iterator[str]) -> Iterator[str]:
    for index, text in enumerate(rows):
        yield _labelled("" if index else label, text)


def _labelled(label: str, text: str) -> str:
    return f"  {label:{LABEL}}{text}"
