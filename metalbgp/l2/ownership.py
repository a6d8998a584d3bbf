"""Which of its candidates owns an address: the first that lives. Every node decides alike. Sans-I/O.

In:  duties (an address, its candidates in order, the interfaces that it may be answered on), members.py.
Out: step() tells the answering half (machine.py) what to take on and give up; `news` what changed, and why.
Elsewhere: who lives is members.py; the decision itself standing.py; asking the segment probing.py; the
     order is the controller's.

Addresses with the same candidates and interfaces share one decision: a node that dies costs as many
decisions as there are orders of candidates, not as there are addresses. In docs/layer2.md: "Who owns".
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from metalbgp.l2 import heartbeat
from metalbgp.l2.machine import Machine
from metalbgp.l2.members import Members
from metalbgp.l2.probing import Probe, Question
from metalbgp.l2.standing import Duty, Group, Judge, Standing

CHUNK: Final = 250  # addresses taken on in one step: answers go on in between
DECIDED: Final = 500  # groups in one step
ASK_AGAIN: Final = 30.0  # seconds after somebody answered
OWN_QUESTION: Final = "?"  # how the names of our own questions begin


class News(NamedTuple):
    """One address that this node took on or gave up."""

    address: bytes
    gained: bool
    since: float
    took: float | None  # seconds without an owner, as far as we know
    cause: str


class Owned(NamedTuple):
    """Since when, how, and why we own what we own; addresses that came together share it."""

    since: float
    took: float | None
    cause: str


Key = tuple[Duty, int, bytes]  # with the address, where it is decided for itself


def _alone(duty: Duty) -> bool:
    """Whether each address is decided for itself, whoever lives."""
    return not duty.revertive or duty.fenced


class Ownership:
    def __init__(self, members: Members, machine: Machine) -> None:
        self.members, self.machine = members, machine
        self.judge = Judge(members)
        self.duties: dict[bytes, Group] = {}
        self.owned: dict[bytes, Owned] = {}
        self.news: deque[News] = deque()
        self.wants: set[bytes] = set()  # fenced addresses that would be ours
        self.fences: dict[bytes, float] = {}  # until when one may be answered for
        self._groups: dict[Key, Group] = {}
        self._named: dict[str, int] = {}  # candidates, and in how many groups
        self._renamed = False
        self._queue: dict[bytes, None] = {}  # to be brought in line
        self._seen = -1
        self._undecided: dict[Key, None] = {}
        self._probes: Mapping[bytes, Question] = {}  # the agent's
        self._asks: dict[bytes, list[bytes]] = {}  # by the doubtful node's id: what is asked for
        self._claims: dict[bytes, bytes] = {}  # of non-revertive addresses that we own
        self._ours: dict[bytes, bytes] = {}  # what we decline, as it travels
        self._declined: frozenset[bytes] = frozenset()  # addresses that another candidate declines
        self._said: frozenset[bytes] | None = None  # all that the others claim and decline; None: look anew
        self._known: dict[bytes, bytes] = {}  # duties by what says that they are declined

    # ------------------------------------------------------------------ duties

    def add(self, duties: Mapping[bytes, Duty], now: float) -> None:
        news = False
        for address, duty in duties.items():
            group = self.duties.get(address)
            if group is not None:
                if group.duty == duty:
                    continue
                self._leave(address, group)
            else:
                self._known[heartbeat.declined(address)] = address
                self._said = None
            self._join(address, duty, now)
            news |= self._decline(address, declined=duty.declined)
        if news:
            self._tell()

    def _join(self, address: bytes, duty: Duty, now: float) -> Group:
        alone = _alone(duty) or address in self._declined
        key: Key = (duty, len(address), address if alone else b"")
        found = self._groups.get(key)
        if found is None:
            found = self._groups[key] = Group(duty, len(address), now, key[2])
            if address in self.owned:  # what is held stays held, however its candidates are listed now
                found.standing = Standing(self.members.node, True)
            self._undecided[key] = None
            for name in duty.candidates:
                self._renamed |= name not in self._named
                self._named[name] = self._named.get(name, 0) + 1
        found.addresses[address] = None
        self.duties[address] = found
        self._queue[address] = None
        return found

    def remove(self, addresses: Iterable[bytes]) -> None:
        news = False
        for address in addresses:
            group = self.duties.pop(address, None)
            if group is not None:
                self._leave(address, group)
                self.fences.pop(address, None)
                self._queue[address] = None
                self._known.pop(heartbeat.declined(address), None)
                news |= self._decline(address, declined=False)
        if news:
            self._tell()

    def _decline(self, address: bytes, *, declined: bool) -> bool:
        """Whether that is another answer than before."""
        if declined == (address in self._ours):
            return False
        if declined:
            self._ours[address] = heartbeat.declined(address)
        else:
            del self._ours[address]
        return True

    def _hear_declined(self, now: float) -> None:
        """What others decline is decided for itself: the addresses beside it have not changed."""
        said = frozenset().union(*(member.claimed or () for member in self.members.everybody()))
        if said == self._said:
            return
        self._said = said
        known = self._known
        before, self._declined = self._declined, frozenset(known[one] for one in said if one in known)
        for address in before ^ self._declined:
            group = self.duties.get(address)
            if group is None or (group.lone and _alone(group.duty)):
                continue
            self._leave(address, group)
            found = self._join(address, group.duty, now)
            if found.lone:
                found.standing, found.before = group.standing, group.before
                found.since, found.cause, found.took = group.since, group.cause, group.took

    def _leave(self, address: bytes, group: Group) -> None:
        del group.addresses[address]
        if group.addresses:
            return
        self._groups.pop((group.duty, group.family, group.lone), None)
        self._undecided.pop((group.duty, group.family, group.lone), None)
        for name in group.duty.candidates:
            self._named[name] -= 1
            if not self._named[name]:
                del self._named[name]
                self._renamed = True

    def fence(self, until: Mapping[bytes, float]) -> None:
        """The agent holds the Leases of these until then."""
        for address, moment in until.items():
            if address in self.duties:
                self.fences[address] = moment
                self._queue[address] = None

    def set_probes(self, wanted: Mapping[bytes, Question], now: float) -> None:
        """What the agent wants to know, beside our own questions."""
        self._probes = wanted
        self._ask(now)

    def overheard(self, now: float) -> None:
        """A member says that an address of ours is its own. If we hear nobody, the others do not hear us."""
        if not self.members.hears_anybody and not self.judge.overruled:
            self.judge.overruled = True
            self._seen = -1
            self.step(now)

    # ------------------------------------------------------------------ deciding

    @property
    def pending(self) -> bool:
        """Whether step() has more to do at once."""
        return bool(self._queue) or self._seen != self.members.changes or bool(self._undecided)

    @property
    def deadline(self) -> float:
        """When step() is due; inf: not before something happens."""
        moments = [self.fences[address] for address in self.fences if address in self.owned]
        moments += [moment + ASK_AGAIN for moment in self.judge.answered.values()]
        return min(moments, default=float("inf"))

    def step(self, now: float) -> None:
        """Decide what is undecided; bring up to CHUNK addresses in line. What is given up comes first."""
        if self._renamed:
            self._renamed = False
            self.members.know(self._named, now)
        if self.judge.overruled and self.members.hears_anybody:
            self.judge.overruled, self._seen = False, -1
        self._hear_answers(now)
        for sender in [sender for sender, at in self.judge.answered.items() if now - at >= ASK_AGAIN]:
            del self.judge.answered[sender]
            self._seen = -1
        if self._seen != self.members.changes or self._said is None:
            self._hear_declined(now)
        if self._seen != self.members.changes:
            self._seen = self.members.changes
            self._undecided = dict.fromkeys(self._groups)
            self.judge.doubtful = {}
        if self._undecided:
            self.judge.interfaces = self.machine.interfaces
            for key in list(islice(self._undecided, DECIDED)):
                del self._undecided[key]
                self._decide(self._groups[key], now)
            if not self._undecided:
                self._asks = {sender: list(asked) for sender, asked in self.judge.doubtful.items()}
                self._ask(now)
        for address in [a for a, until in self.fences.items() if until <= now and a in self.owned]:
            self._queue[address] = None
        if self._queue:
            self._align(now)

    def drop(self, now: float, cause: str) -> None:
        """Own nothing, at once, whatever the members say."""
        for address in self.owned:
            self.news.append(News(address, False, now, None, cause))
        self.machine.change({}, list(self.owned), now)
        self.owned.clear()
        self._claims.clear()
        self._tell()
        self._queue.update(dict.fromkeys(self.duties))
        for group in self._groups.values():
            group.standing = Standing()
        self._seen = -1

    def _align(self, now: float) -> None:
        give_up, take_on = [], []
        for address in self._queue:
            group = self.duties.get(address)
            mine = group is not None and group.standing.mine
            if group is not None and group.duty.fenced:
                (self.wants.add if mine else self.wants.discard)(address)
                mine = mine and self.fences.get(address, 0.0) > now
            elif group is None:
                self.wants.discard(address)
            held = address in self.owned
            if held and not mine:
                give_up.append(address)
            elif mine:
                take_on.append(address)
        taken = list(islice(take_on, CHUNK))
        self._queue = dict.fromkeys(take_on[CHUNK:])
        for address in give_up:
            del self.owned[address]
            left = self.duties.get(address)
            cause = left.cause if left is not None else "no longer asked of this node"
            self.news.append(News(address, False, now, None, cause))
        records: dict[int, Owned] = {}
        for address in taken:
            if address not in self.owned:
                group = self.duties[address]
                record = records.setdefault(id(group), Owned(now, self._took(group, now), group.cause))
                self.owned[address] = record
                self.news.append(News(address, True, *record))
        self.machine.change({address: self.duties[address].duty.allowed for address in taken}, give_up, now)
        self._claim(taken, give_up)

    @staticmethod
    def _took(group: Group, now: float) -> float | None:
        return None if group.took is None else max(0.0, now - group.took)

    def _claim(self, taken: Sequence[bytes], given: Sequence[bytes]) -> None:
        """What the others must know before a better candidate returns."""
        changed = False
        for address in given:
            changed |= self._claims.pop(address, None) is not None
        for address in taken:
            if not self.duties[address].duty.revertive and address not in self._claims:
                self._claims[address] = heartbeat.short(address)
                changed = True
        if changed:
            self._tell()

    def _tell(self) -> None:
        """What the others must hear at once."""
        self.members.claims = tuple(sorted((*self._claims.values(), *self._ours.values())))
        self.members.urgent = True

    def _decide(self, group: Group, now: float) -> None:
        before, standing = group.standing, self.judge.standing(group, now)
        if standing == before:
            return
        group.standing = standing
        if standing.owner != before.owner or standing.mine != before.mine:
            last = before.owner or group.before
            group.cause = self.judge.cause(group, before._replace(owner=last), standing)
            group.took, group.since, group.before = self.judge.silent_since(last), now, last
        if standing.mine != before.mine:
            self._queue.update(group.addresses)

    # ------------------------------------------------------------------ asking

    def _ask(self, now: float) -> None:
        """The agent's questions, and ours."""
        wanted = dict(self._probes)
        for sender, addresses in self._asks.items():
            # Whoever took the address over meanwhile answers as well, and that says nothing of this node.
            others, token = self.members.macs_beside(sender), OWN_QUESTION + sender.hex()
            for address in addresses:
                group = self.duties.get(address)
                if group is not None and address not in wanted:
                    wanted[address] = Question(group.duty.allowed, token, hurried=True, others=others)
        self.machine.set_probes(wanted, now)

    def _hear_answers(self, now: float) -> None:
        """One answer for any of its addresses: the node lives. None for all of them: it is dead."""
        for sender in list(self._asks):
            token = OWN_QUESTION + sender.hex()
            probes = [
                probe for probe in self.machine.probing.probes.values() if probe.question.token == token
            ]
            if any(probe.answer is not None for probe in probes):
                self.judge.answered[sender] = now
            elif probes and all(probe.done for probe in probes):
                member = self.members.member(sender)
                blind = member is not None and member.any_alive
                (self.judge.mute if blind else self.judge.absent).add(sender)
                self.members.bury(sender, list(self.members.segments))
            else:
                continue
            del self._asks[sender]
            self.judge.doubtful.pop(sender, None)
            self._seen = -1
        for sender in list(self.judge.mute):
            member = self.members.member(sender)
            if member is None or not member.any_alive or any(one.hears for one in member.sights.values()):
                self.judge.mute.discard(sender)
                self._seen = -1
        if self.judge.absent:
            self.judge.absent = {one for one in self.judge.absent if self.members.member(one) is None}

    @staticmethod
    def is_own(probe: Probe) -> bool:
        """Whether the question is ours and no business of the agent's."""
        return probe.question.token.startswith(OWN_QUESTION)
