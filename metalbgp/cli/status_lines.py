"""A Status as the lines of its screen.

In:  a Status.
Out: one line for each of controller, speakers, sessions, pools, services, routes, orders; a problem on its
     line, and the last line says how many there are and which verbs say more.
Elsewhere: finding out is status.py.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from metalbgp.cli.ages import seconds_since, words
from metalbgp.cli.render import many

LABEL, LEFT = 13, 28  # widths: the word in front, and what stands before a line's problem
SHOWN = 3  # problems of one line that are written out


class PoolUse(Struct, frozen=True):
    pool: str
    size: int
    used: int = 0
    reserved: int = 0
    cooling: int = 0


class Counts(Struct, frozen=True):
    wanted: int
    ready: int


class Waiting(Struct, frozen=True):
    node: str
    peer: str
    routes: int


class Problem(Struct, frozen=True):
    line: str  # controller, speakers, sessions, config, services, announced
    text: str
    more: str  # the command that shows more


class Status(Struct, frozen=True):
    controller: Counts | None  # None, here and below: not allowed to know
    leader: str
    leads_since: str
    speakers: Counts | None
    sessions: Counts  # ready: established
    pools: tuple[PoolUse, ...]
    services: Counts | None  # ready: they have an address
    addresses: int  # that are announced in one way or another
    l2_addresses: int
    routes_wanted: int
    routes_confirmed: int
    waiting: tuple[Waiting, ...]
    problems: tuple[Problem, ...]
    orders: tuple[str, ...]  # in force, in words
    view_seconds: float  # how old the answer is


def screen(status: Status, now: datetime, *, only_problems: bool = False) -> list[str]:
    found = [
        ("controller", _controller(status, now)),
        ("speakers", counted(status.speakers, "ready")),
        ("sessions", counted(status.sessions, "established")),
        ("config", ""),
        ("pools", " · ".join(pool_words(one) for one in status.pools) or "none: apply an IPAddressPool"),
        ("services", counted(status.services, "have an address")),
        ("announced", _announced(status)),
        ("orders", _orders(status)),
    ]
    said: list[str] = []
    for label, text in found:
        wrong = [problem for problem in status.problems if problem.line == label]
        if (text and not only_problems) or wrong:
            said += _line(label, text or "not all in force", wrong)
    return [*said, *_sum(status)]


def _line(label: str, text: str, wrong: Sequence[Problem]) -> list[str]:
    """The first problem stands on the line, the next ones below it."""
    texts = [problem.text for problem in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        texts.append(f"and {len(wrong) - SHOWN:,} more")
    first = f"{label:{LABEL}}{text}"
    if not texts:
        return [first]
    return [
        f"{first:{LABEL + LEFT}}   {texts[0]}",
        *(f"{'':{LABEL + LEFT}}   {more}" for more in texts[1:]),
    ]


def _controller(status: Status, now: datetime) -> str:
    seconds = seconds_since(status.leads_since, now)
    since = f" since {words(seconds)}" if seconds is not None else ""
    leader = f", {status.leader} leads{since}" if status.leader else ""
    view = f"   view {words(status.view_seconds)} old"
    return f"{counted(status.controller, 'ready')}{leader}{view}"


def counted(count: Counts | None, words: str) -> str:
    return f"{count.ready} of {count.wanted} {words}" if count else "not allowed to know"


def pool_words(use: PoolUse) -> str:
    parts = [f"{use.pool} {use.used:,} of {size_words(use.size)} used"]
    if use.reserved:
        parts.append(f"{use.reserved:,} reserved")
    if use.cooling:
        parts.append(f"{use.cooling:,} cooling")
    return ", ".join(parts)


def size_words(size: int) -> str:
    """Beyond a billion nobody counts digits."""
    if size < 10**9:
        return f"{size:,}"
    exponent = size.bit_length() - 1
    return f"2^{exponent}" if size == 1 << exponent else f"about 2^{exponent}"


def _announced(status: Status) -> str:
    parts = [many(status.addresses, "address", "addresses")]
    if status.routes_wanted or not status.l2_addresses:
        parts.append(f"{many(status.routes_wanted, 'route')} wanted, {status.routes_confirmed:,} confirmed")
    if status.l2_addresses:
        parts.append(f"{status.l2_addresses:,} answered for in L2")
    parts += [f"{one.routes:,} waiting for {one.node} → {one.peer}" for one in status.waiting[:SHOWN]]
    if len(status.waiting) > SHOWN:
        parts.append("more: metalbgp routes --problems")
    return ", ".join(parts)


def _orders(status: Status) -> str:
    """The line is there while somebody has said no to something."""
    said = [*status.orders[:SHOWN], *(["more: metalbgp orders"] if len(status.orders) > SHOWN else [])]
    return " · ".join(said)


def _sum(status: Status) -> list[str]:
    if not status.problems:
        return []
    more = list(dict.fromkeys(problem.more for problem in status.problems))
    return [f"{many(len(status.problems), 'problem')}. More: {' · '.join(more[: SHOWN + 1])}"]
