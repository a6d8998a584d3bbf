"""One node of L2 put together: who lives, who owns, what is answered, in the order that matters. Sans-I/O.

In:  the time; heartbeats and frames go to `members` and `machine` directly, and before turn().
Out: whether a heartbeat is due; effects of the machine.
Elsewhere: sockets in edge.py, which does nothing but read, call these, and write.

First whether we were stopped; then who lives, then who owns, and only then answers: no question may be
answered by a node that has just lost the address. And what a heartbeat tells is done before it is told.
"""

from metalbgp.l2.machine import Conflict, Effect, Machine
from metalbgp.l2.members import Members, Pace
from metalbgp.l2.ownership import Ownership


class Node:
    def __init__(self, life: bytes, pace: Pace, now: float) -> None:
        self.machine = Machine()
        self.members = Members(life, pace, now)
        self.ownership = Ownership(self.members, self.machine)

    @property
    def deadline(self) -> float:
        """When turn() and effects() are due, even if nothing was received."""
        if self.ownership.pending:
            return 0.0
        due = self.machine.deadline
        moments = (self.members.deadline, self.ownership.deadline)
        return min(moments) if due is None else min(due, *moments)

    def stopped(self, now: float) -> bool:
        """Whether we did not run for so long that others have our addresses. Then nothing is owned any more,
        and whatever waits in a queue must be thrown away, not answered."""
        if not self.members.stalled(now):
            return False
        self.ownership.drop(now, "this node was stopped for a while")
        self.members.restart(now)
        return True

    def turn(self, now: float) -> bool:
        """Judge and decide. True: a heartbeat is due, after effects()."""
        beat = now >= self.members.deadline and self.members.tick(now)
        self.ownership.step(now)
        return beat

    def effects(self, now: float) -> list[Effect]:
        """What the answering half has to do."""
        return self.machine.wake(now)

    def expects(self, conflict: Conflict, now: float) -> bool:
        """Whether a foreign claim is a member's, which takes over or gives up: nothing to report. One that we
        do not hear otherwise has taken our address because nobody hears us."""
        if not self.members.has(conflict.mac):
            return False
        self.machine.conflicts.pop(conflict, None)
        self.ownership.overheard(now)
        return True

    def speaks(self, now: float, *, beat: bool) -> bool:
        """Whether a heartbeat goes out now: it was due, or what is urgent has been done."""
        return beat or (self.members.urgent and not self.ownership.pending and self.members.tick(now))
