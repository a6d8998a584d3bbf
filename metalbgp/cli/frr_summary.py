"""Sessions in the layout of FRR's `show bgp summary`, for eyes and scripts that know it. Pure.

In:  each node's SessionReports and what is to be remarked on the node; the time now.
Out: lines. What a speaker does not know (router id, counters of messages, queues) is `-`, never a guess.
Elsewhere: which sessions are shown, and the usual table, is sessions.py.

PfxSnt counts both families together, as the reports do. State/PfxRcd of an established session is 0: no
route of a router is ever taken.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from metalbgp.cli.ages import DAY, HOUR, MINUTE, seconds_since
from metalbgp.model.report import SessionReport

WEEK, YEAR = 7 * DAY, 365 * DAY
UNKNOWN = "-"
NEIGHBOR = 15  # width of an IPv4 address: FRR's column is never narrower
# Title and width of the columns between Neighbor and Desc, all but V to the right.
COLUMNS = (
    ("AS", 10),
    ("MsgRcvd", 9),
    ("MsgSent", 9),
    ("TblVer", 8),
    ("InQ", 4),
    ("OutQ", 4),
    ("Up/Down", 8),
    ("State/PfxRcd", 12),
    ("PfxSnt", 8),
)


class Block(Struct, frozen=True):
    """One node, as one router of FRR's."""

    node: str
    sessions: Sequence[SessionReport] = ()
    remark: str = ""  # why there is none, or how old all of it is


def summary(blocks: Iterable[Block], now: datetime) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        lines += ["", *_block(block, now)] if lines else _block(block, now)
    return lines


def _block(block: Block, now: datetime) -> Iterator[str]:
    remark = f"  ({block.remark})" if block.remark else ""
    if not block.sessions:
        yield f"{block.node}: no session{remark}"
        return
    ours = ", ".join(str(asn) for asn in sorted({one.my_asn for one in block.sessions}))
    yield f"{block.node}: BGP router identifier {UNKNOWN}, local AS number {ours}{remark}"
    yield ""
    width = max(NEIGHBOR, *(len(_neighbor(one)) for one in block.sessions))
    yield _line("Neighbor", width, "V", [title for title, _ in COLUMNS], "Desc")
    for one in block.sessions:
        yield _line(_neighbor(one), width, "4", _cells(one, now), one.peer)
    yield ""
    yield f"Total number of neighbors {len(block.sessions)}"


def _neighbor(one: SessionReport) -> str:
    """An unnumbered session has the name of its interface, as in FRR."""
    return one.address.removeprefix("%")


def _cells(one: SessionReport, now: datetime) -> list[str]:
    up = one.state == "Established"
    return [
        str(one.peer_asn or UNKNOWN),
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        UNKNOWN,
        up_down(one.since if up or one.flaps else "", now),
        "0" if up else one.state,
        str(one.routes_confirmed),
    ]


def _line(neighbor: str, width: int, version: str, cells: Sequence[str], description: str) -> str:
    middle = "".join(f" {cell:>{size}}" for cell, (_, size) in zip(cells, COLUMNS, strict=True))
    return f"{neighbor:<{width}} {version}{middle} {description}"


def up_down(since: str, now: datetime) -> str:
    """A time as FRR writes it: 00:01:23, 1d02h03m, 02w3d04h, 01y02w3d; `never` for none."""
    passed = seconds_since(since, now)
    if passed is None:
        return "never"
    whole = int(passed)
    days, hours, minutes = whole // DAY, whole % DAY // HOUR, whole % HOUR // MINUTE
    if whole < DAY:
        return f"{hours:02}:{minutes:02}:{whole % MINUTE:02}"
    if whole < WEEK:
        return f"{days}d{hours:02}h{minutes:02}m"
    if whole < YEAR:
        return f"{days // 7:02}w{days % 7}d{hours:02}h"
    return f"{days // 365:02}y{days % 365 // 7:02}w{days % 365 % 7}d"
