"""How much a node may change at a router's table before a person has looked. Pure.

In:  wishes as they go to the parent, limits by session, `now` (seconds, monotonic).
Out: the wishes that may go; what is held back stays announced, or unannounced, and is reported.
Elsewhere: what is wanted is announcer.py; who sends, and the order that lets go, is loop.py.

Two limits, both off unless a BGPPeer has their annotation. A withdraw limit: so many withdrawals within so
many seconds are somebody's change, more are somebody's mistake. What would exceed it is held back whole, as
it came, and so is all that follows within the window; it stays announced until it is wanted again, the limit
is lifted, or a person lets go; what a person ordered silent, or other nodes serve, is neither held nor
counted, and a restart forgets nothing. An outbound maximum: the router closes the session over too many
prefixes, so what is beyond it is not announced.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct

from metalbgp.model.configuration import Peer
from metalbgp.model.routes import Attributes

Key = tuple[str, str]  # the session's key, prefix
Want = tuple[str, str, Attributes | None]


class Limits(Struct, frozen=True):
    """Of one session; 0: none."""

    most: int = 0  # routes announced at once
    withdrawals: int = 0  # within `window`
    window: float = 0.0  # seconds

    @property
    def any(self) -> bool:
        return bool(self.most or self.withdrawals)


def limits(peers: Iterable[Peer]) -> dict[str, Limits]:
    """By session, of the BGPPeers that run here."""
    made = {one.key: Limits(one.max_routes, one.withdraw_limit, one.withdraw_window) for one in peers}
    return {key: one for key, one in made.items() if one.any}


class _Session:
    def __init__(self) -> None:
        self.standing: set[str] = set()  # prefixes that the parent works towards
        self.held: dict[str, float] = {}  # prefix that should be withdrawn → since when
        self.beyond: dict[str, Attributes] = {}  # wanted, and one too many
        self.gone: deque[float] = deque()  # moments of the last withdrawals


class Guard:
    def __init__(self, silent: Callable[[str], bool] = lambda _: False) -> None:
        """`silent(prefix)`: just this one must go, whatever the limit."""
        self._limits: Mapping[str, Limits] = {}
        self._sessions: dict[str, _Session] = {}
        self._free: Callable[[str], bool] = lambda _: False
        self._silent = silent
        self._remembered: tuple[Key, ...] = ()  # what the last run held back

    def remember(self, held: Iterable[Key]) -> None:
        """Of the last run, until the parent says where it stands."""
        self._remembered = tuple(held)

    def all_held(self) -> list[Key]:
        now = ((peer, prefix) for peer, session in self._sessions.items() for prefix in session.held)
        return [*self._remembered, *now]

    def held(self, peer: str) -> Mapping[str, float]:
        """Withdrawals that wait for a person: prefix → since when."""
        session = self._sessions.get(peer)
        return session.held if session is not None else {}

    def beyond(self, peer: str) -> Mapping[str, Attributes]:
        """Routes that are not announced, because the router takes no more."""
        session = self._sessions.get(peer)
        return session.beyond if session is not None else {}

    def limits(self, peer: str) -> Limits:
        return self._limits.get(peer, Limits())

    def set_limits(self, wanted: Mapping[str, Limits], now: float) -> list[Want]:
        """What may go now that could not before."""
        self._limits = wanted
        for peer in self._sessions.keys() - wanted.keys():
            self._sessions[peer].gone.clear()
        return self._let_go(now)

    def set_free(self, free: Callable[[str], bool], now: float) -> list[Want]:
        """`free(peer)`: a person looked, and its withdrawals may go; until it is said otherwise."""
        self._free = free
        return self._let_go(now)

    def silenced(self, prefixes: Collection[str], now: float) -> list[Want]:
        """Those that must go now, of what was held back before `silent` said so."""
        may: list[Want] = []
        for peer, session in self._sessions.items():
            if found := [prefix for prefix in prefixes if prefix in session.held]:
                may += self._withdraw(peer, found, now, said=False)
                may += self._fill(peer)
        return may

    def standing(self, told: Iterable[Key], wanted: Collection[Key], now: float) -> None:
        """What the parent works towards, by its own word: of a connection that began. What is wanted again is
        held no more, though nothing need be said of it."""
        before, self._sessions = self._sessions, {}
        for peer, prefix in told:
            self._session(peer).standing.add(prefix)
        for peer, session in self._sessions.items():
            if (old := before.get(peer)) is not None:
                session.gone = old.gone
                session.held = dict(old.held)
        for peer, prefix in self._remembered:
            self._session(peer).held.setdefault(prefix, now)
        self._remembered = ()
        for peer, session in self._sessions.items():
            over = {p for p in session.held if p not in session.standing or (peer, p) in wanted}
            session.held = {p: since for p, since in session.held.items() if p not in over}

    def judge(self, wants: Iterable[Want], now: float, *, said: bool = False) -> list[Want]:
        """Those that may go, in their order; withdrawals that came together are held together.

        `said`: a person asked for just these, so that nobody need look.
        """
        may: list[Want] = []
        leaving: dict[str, list[str]] = {}
        for peer, prefix, attributes in wants:
            session = self._session(peer)
            if attributes is not None:
                session.held.pop(prefix, None)
                if self._fits(peer, session, prefix):
                    session.standing.add(prefix)
                    session.beyond.pop(prefix, None)
                    may.append((peer, prefix, attributes))
                else:
                    session.beyond[prefix] = attributes
            elif prefix in session.beyond:
                del session.beyond[prefix]
            elif prefix in session.standing:
                leaving.setdefault(peer, []).append(prefix)
            else:
                may.append((peer, prefix, None))
        for peer, prefixes in leaving.items():
            may += self._withdraw(peer, prefixes, now, said)
            may += self._fill(peer)
        return may

    def _session(self, peer: str) -> _Session:
        return self._sessions.setdefault(peer, _Session())

    def _fits(self, peer: str, session: _Session, prefix: str) -> bool:
        most = self.limits(peer).most
        return not most or prefix in session.standing or len(session.standing) < most

    def _withdraw(self, peer: str, prefixes: list[str], now: float, said: bool) -> list[Want]:
        session, limit = self._session(peer), self.limits(peer)
        said = said or not limit.withdrawals or self._free(peer)
        may = {prefix: None for prefix in prefixes if said or self._silent(prefix)}
        fresh = [prefix for prefix in prefixes if prefix not in may and prefix not in session.held]
        while session.gone and session.gone[0] <= now - limit.window:
            session.gone.popleft()
        waiting = sum(since > now - limit.window for since in session.held.values())
        if len(session.gone) + waiting + len(fresh) > limit.withdrawals:
            session.held.update(dict.fromkeys(fresh, now))
        else:
            session.gone.extend([now] * len(fresh))
            may |= dict.fromkeys(fresh)
        session.standing.difference_update(may)
        for prefix in may:
            session.held.pop(prefix, None)
        return [(peer, prefix, None) for prefix in may]

    def _fill(self, peer: str) -> list[Want]:
        """Routes that waited for room, those that waited longest first."""
        session = self._session(peer)
        may: list[Want] = []
        for prefix, attributes in tuple(session.beyond.items()):
            if not self._fits(peer, session, prefix):
                break
            del session.beyond[prefix]
            session.standing.add(prefix)
            may.append((peer, prefix, attributes))
        return may

    def _let_go(self, now: float) -> list[Want]:
        may: list[Want] = []
        for peer, session in self._sessions.items():
            may += self._withdraw(peer, list(session.held), now, said=False)
            may += self._fill(peer)
        return may
