"""Who answers for an address in L2, asked and told in the one line that other verbs have for it.

In:  VirtualIPs of one Service, the speakers. Out: rows by address; words for one of them.
Elsewhere: what the rows are is l2_rows.py, the screens of `l2` itself are l2.py and l2_screen.py.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from metalbgp.cli.access import Cluster, Speakers
from metalbgp.cli.ages import age
from metalbgp.cli.l2_rows import ANSWERS, STANDS_BY, UNKNOWN, Candidate, Known, L2Row, in_l2, layer2
from metalbgp.cli.reflexes import ask_reflexes
from metalbgp.cli.render import listed


async def asked_rows(cluster: Cluster, speakers: Speakers, known: Known, *, ask: bool) -> Mapping[str, L2Row]:
    """The candidates are asked, and only for these addresses; {} where none of them is in L2."""
    vips = [vip for vip in known.claims if in_l2(vip)]
    candidates = {node for vip in vips for node in vip.candidates}
    if not vips:
        return {}
    if ask:
        pods = [pod for pod in speakers.pods if pod.node in candidates]
        found = await ask_reflexes(cluster.api, pods, *(vip.address for vip in vips))
        if found.note:
            cluster.note(found.note)
        known = replace(known, reflexes=found)
    return {row.address: row for row in layer2(known).addresses}


def who_answers(row: L2Row | None, candidates: Sequence[str], now: datetime) -> str:
    """What the nodes said; else the order, for who of them lives is theirs to say."""
    if row is None or not (row.asked or row.owner):
        return in_order(candidates)
    if row.problems and not row.owner:
        return "; ".join(row.problems)
    since = f" since {age(row.since, now)}" if row.since else ""
    others = [_other(one) for one in row.candidates if one.node not in (row.owner, *row.owners)]
    after = f"; {'; '.join(others)}" if others else ""
    wrong = f" ({'; '.join(row.problems)})" if row.problems else ""
    return f"{row.owner} answers{since}{after}{wrong}"


def _other(one: Candidate) -> str:
    if one.state in (STANDS_BY, UNKNOWN, ANSWERS):
        return f"{one.node} {'stands by' if one.state == STANDS_BY else 'was not asked'}"
    return f"{one.node} {one.state}"


def in_order(candidates: Sequence[str]) -> str:
    if not candidates:
        return "no node answers"
    first, *others = candidates
    verb = "stands by" if len(others) == 1 else "stand by"
    return f"{first} is first; {listed(others)} {verb}" if others else f"{first} alone may answer"
