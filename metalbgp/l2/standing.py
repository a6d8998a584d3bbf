"""Who owns a group of addresses: the first of its candidates that lives, with every exception. Sans-I/O.

In:  the group, members.py, the interfaces. Out: Standing, with a word for each candidate's place; whom there
     is doubt about. Elsewhere: what follows from it is ownership.py; the rules in words docs/layer2.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from metalbgp.l2 import heartbeat
from metalbgp.l2.links import Interface
from metalbgp.l2.machine import Filter
from metalbgp.l2.member import Life, Member, is_active
from metalbgp.l2.members import Members, Self

ASKED: Final = 3  # addresses to ask for, before one doubtful node's are taken
SETTLED: Final = 3  # intervals that a member was heard, before its not hearing us counts


class Duty(NamedTuple):
    """What the agent says of an address."""

    allowed: Filter
    candidates: tuple[str, ...]
    revertive: bool = True
    fenced: bool = False
    declined: bool = False  # this node will not, though it is a candidate


class Standing(NamedTuple):
    """Who owns the addresses of a group, as this node sees it."""

    owner: str = ""  # "": nobody that we know of
    mine: bool = False
    places: tuple[tuple[str, str], ...] = ()  # candidates in order, with a word each


class Group:
    """Addresses that are decided alike."""

    __slots__ = (
        "addresses",
        "before",
        "cause",
        "declined",
        "duty",
        "family",
        "lone",
        "names",
        "senders",
        "since",
        "standing",
        "took",
    )

    def __init__(self, duty: Duty, family: int, now: float, lone: bytes = b"") -> None:
        self.duty, self.family = duty, family
        self.lone = lone  # the address, where it is decided for itself
        self.declined = heartbeat.declined(lone) if lone else b""
        self.addresses: dict[bytes, None] = {}
        self.senders = tuple(heartbeat.identify(name) for name in duty.candidates)
        self.names = (
            None
            if duty.allowed is None
            else frozenset(heartbeat.short(name.encode()) for name in duty.allowed)
        )
        self.standing = Standing()
        self.since, self.cause = now, ""
        self.before = ""  # the last that owned it
        self.took: float | None = None

    def lacks(self, lost: Iterable[bytes]) -> bool:
        """Whether one of the lost interfaces is one of the addresses'."""
        return any(self.names is None or name in self.names for name in lost)


class Judge:
    """Looks at the members for one group after the other."""

    def __init__(self, members: Members) -> None:
        self.members = members
        self.interfaces: Mapping[str, Interface] = {}
        self.doubtful: dict[bytes, list[bytes]] = {}  # by a node's id: addresses to ask for
        self.answered: dict[bytes, float] = {}  # nodes that answer on the wire, and when they did
        self.absent: set[bytes] = set()  # never heard, and nobody answers for them
        self.overruled = False  # we hear nobody, and another has taken what we own
        self.mute: set[bytes] = set()  # heard, hear nobody, and answer nothing

    def usable(self, group: Group) -> list[str]:
        """Our interfaces that the addresses may be answered on."""
        allowed = group.duty.allowed
        ready = {name for name, segment in self.members.segments.items() if segment.ready}
        return [
            name
            for name, interface in self.interfaces.items()
            if name in ready
            and (interface.arp if group.family == 4 else interface.ndp)
            and (allowed is None or name in allowed)
        ]

    def standing(self, group: Group, now: float) -> Standing:
        us, usable = self.members, self.usable(group)
        holding = group.standing.mine
        heard: list[tuple[int, bytes, Member]] = []
        places: list[str] = []
        ranks: list[tuple[bool, int, str]] = []  # degraded first, then the controller's order
        blocked = False  # by somebody better, who may live
        declining = 0  # candidates that live and will not
        someone = any(
            (member := us.member(sender)) is not None and member.alive(usable)
            for sender in group.senders
            if sender != us.sender
        )
        for place, (name, sender) in enumerate(zip(group.duty.candidates, group.senders, strict=True)):
            if sender == us.sender:
                degraded = group.lacks(heartbeat.short(each.encode()) for each in us.lost)
                places.append("declining" if group.duty.declined else "self")
                if us.owns and usable and not group.duty.declined:
                    ranks.append((degraded, place, name))
                continue
            member = us.member(sender)
            word = self._word(group, member, usable)
            if member is not None and group.declined and group.declined in (member.claimed or ()):
                places.append("declining" if word in ("live", "degraded", "deaf") else word)
                declining += bool(member.alive(usable))
                continue
            if word == "deaf" and sender in self.mute:
                word = "mute"
            places.append(word)
            if member is not None and word in ("live", "degraded", "deaf"):
                if word == "deaf":
                    self._doubt(group, sender, "blind" if self._blind(member, usable, now) else word)
                else:
                    self.answered.pop(sender, None)  # what it says now counts, also when it says no more
                heard.append((place, sender, member))
                ranks.append((word == "degraded", place, name))
            elif self._may_live(sender, word, someone, usable):
                blocked |= us.sender not in group.senders[:place]
                self._doubt(group, sender, word)
        ranks.sort()
        mine = bool(ranks) and ranks[0][2] == us.node
        if us.owns and usable and us.sender in group.senders and not group.duty.declined:
            if not group.duty.revertive:
                mine = self._keeps(group, heard, ranks, holding=holding)
            strangers, ours = len(us.strangers(usable)), 1 + len(heard) + declining
            if mine and (strangers > ours or ((blocked or strangers == ours) and not holding)):
                mine = False  # of those who sign with different keys, the larger group goes on
            mine = mine and not self.overruled
            if mine and us.state is not Self.LEAVING and self._must_yield(group, heard, usable, now):
                mine = False
        owner = us.node if mine else next((name for _, _, name in ranks if name != us.node), "")
        if not mine and not group.duty.revertive:
            owner = self._holder(group, heard) or owner
        return Standing(owner, mine, tuple(zip(group.duty.candidates, places, strict=True)))

    def _word(self, group: Group, member: Member | None, usable: Sequence[str]) -> str:
        """One word for a candidate's place."""
        if member is None:
            return "unheard"
        alive = member.alive(usable)
        if not alive:
            doubt = any(name in member.sights and member.sights[name].state is Life.DOUBT for name in usable)
            return str(Life.DOUBT if doubt else Life.DEAD)
        if not is_active(alive):
            return "leaving" if any(sight.flags & heartbeat.LEAVING for sight in alive) else "listening"
        if group.lacks(member.lost):
            return "degraded"
        return "live" if any(self.members.hears_us(member, sight) for sight in alive) else "deaf"

    def _may_live(self, sender: bytes, word: str, someone: bool, usable: Sequence[str]) -> bool:
        """In doubt; or never heard, on a segment on which we hear nobody, and not asked for yet."""
        if sender in self.answered:
            return word not in ("listening", "leaving")
        if word == Life.DOUBT:
            return True
        return word == "unheard" and not someone and bool(usable) and sender not in self.absent

    def _doubt(self, group: Group, sender: bytes, word: str) -> None:
        """Whether to ask for its addresses: only where it is alone. Of many that vanish at once the segment
        is the likelier death, and then the API server's word is waited for."""
        if sender in self.answered or group.standing.mine or self.members.sender not in group.senders:
            return
        quiet = set().union(*(self.members.segments[name].quiet for name in self.members.segments))
        if (word == Life.DOUBT and len(quiet) > 1) or word not in (Life.DOUBT, "unheard", "blind"):
            return
        asked = self.doubtful.setdefault(sender, [])
        if len(asked) < ASKED:
            asked += islice(group.addresses, ASKED - len(asked))

    @staticmethod
    def _blind(member: Member, usable: Sequence[str], now: float) -> bool:
        """Whether it hears nobody at all: questions may not reach it either, and then it answers none."""
        alive = member.alive(usable)
        return not any(sight.hears for sight in alive) and any(
            now - sight.since >= SETTLED * member.interval for sight in alive
        )

    def _must_yield(
        self, group: Group, heard: Sequence[tuple[int, bytes, Member]], usable: Sequence[str], now: float
    ) -> bool:
        """Somebody that we hear does not hear us, and takes the addresses by what it hears."""
        for place, _, member in heard:
            alive = member.alive(usable)
            if any(self.members.hears_us(member, sight) for sight in alive):
                continue
            if all(now - sight.since < SETTLED * member.interval for sight in alive):
                continue
            hears = {found for sight in alive for found, _ in sight.hears}
            if not hears and group.standing.mine:
                continue  # who hears nobody keeps what it has and claims nothing new
            better = hears.intersection(group.senders[:place]) - {self.members.sender}
            if not better:
                return True
        return False

    def _keeps(
        self,
        group: Group,
        heard: Sequence[tuple[int, bytes, Member]],
        ranks: Sequence[tuple[bool, int, str]],
        *,
        holding: bool,
    ) -> bool:
        """Non-revertive: who has it keeps it; of two that have it, the better."""
        holder = self._holder(group, heard)
        own = group.senders.index(self.members.sender)
        if holder:
            return holding and own < group.duty.candidates.index(holder)
        return holding or (bool(ranks) and ranks[0][2] == self.members.node)

    @staticmethod
    def _holder(group: Group, heard: Sequence[tuple[int, bytes, Member]]) -> str:
        """The other that says it owns the address."""
        claim = heartbeat.short(next(iter(group.addresses), b""))
        for place, _, member in heard:
            if claim in (member.claimed or ()):
                return group.duty.candidates[place]
        return ""

    def silent_since(self, owner: str) -> float | None:
        """When the owner before was heard last."""
        member = self.members.member(heartbeat.identify(owner)) if owner else None
        if member is None or owner == self.members.node:
            return None
        return max((sight.last for sight in member.sights.values()), default=None)

    def cause(self, group: Group, before: Standing, after: Standing) -> str:
        """In words, why the owner changed."""
        us, places = self.members, dict(after.places)
        if not us.owns:
            return f"this node is {us.state}"
        if before.mine:
            if group.duty.declined:
                return "this node declines it"
            if not self.usable(group):
                return "no interface that may answer has a link"
            if group.lacks(heartbeat.short(each.encode()) for each in us.lost):
                return f"{after.owner} has every link, this node lost {', '.join(us.lost)}"
            if places.get(after.owner) == "deaf":
                return f"{after.owner} does not hear this node"
            return f"{after.owner} is back" if after.owner else "nobody may own it"
        word = places.get(before.owner, "")
        if before.owner and word not in ("live", "self"):
            return f"{before.owner} is {word or 'no candidate any more'}"
        order = group.duty.candidates
        if before.owner in order and after.owner in order[: order.index(before.owner)]:
            return f"{after.owner} is back"
        return f"{after.owner or 'nobody'} is the first that lives"
