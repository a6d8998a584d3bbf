"""What the speakers found when they asked the segment for an address before its first use. Pure.

In:  what each NodeState says (heard, gone); a VirtualIP in phase probing, and `now` (seconds, monotonic).
Out: Free, Asking, Unasked, or AddressAnswers with the MAC that did.
Elsewhere: which node asks is select/; how it asks is l2/probing.py; what follows is reconcile.py.
"""

from collections.abc import Iterable

from msgspec import Struct

from metalbgp.model.reasons import AddressAnswers
from metalbgp.model.report import ProbeReport
from metalbgp.model.virtualips import VirtualIP

PATIENCE = 30.0  # seconds for a node to answer; an address that nobody can ask for must not wait for ever
GRACE = 3.0  # seconds for an L2Advertisement that was applied together with the Service


class Free(Struct, frozen=True):
    """Nobody answered."""


class Asking(Struct, frozen=True):
    seconds: float  # until it is decided without an answer


class Unasked(Struct, frozen=True):
    """It is used all the same, and that is said."""

    why: str


Verdict = Free | Asking | Unasked | AddressAnswers


class Probes:
    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, ProbeReport]] = {}  # node → uid of the VirtualIP → what it found
        self._since: dict[str, tuple[str, float]] = {}  # address → uid, and when we first waited for it

    def heard(self, node: str, reports: Iterable[ProbeReport]) -> frozenset[str]:
        """What a node says now; answers the addresses of which it says something new."""
        before = self._by_node.get(node, {})
        now = {one.uid: one for one in reports}
        self._by_node[node] = now
        return frozenset(one.address for uid, one in now.items() if one.done and before.get(uid) != one)

    def gone(self, node: str) -> None:
        self._by_node.pop(node, None)

    def forget(self, address: str) -> None:
        """The claim is bound."""
        self._since.pop(address, None)

    def judge(self, vip: VirtualIP, now: float) -> Verdict:
        uid, since = self._since.get(vip.address, ("", now))
        if uid != vip.uid:
            since = now
            self._since[vip.address] = vip.uid, now
        found = [(node, reports[vip.uid]) for node, reports in self._by_node.items() if vip.uid in reports]
        for node, one in found:
            if one.mac:
                return AddressAnswers(address=vip.address, mac=one.mac, node=node, interface=one.interface)
        if any(one.done and not one.failed for _, one in found):
            return Free()
        segment = any(holder.l2 for holder in vip.holders.values())
        left = since + (PATIENCE if segment else GRACE) - now
        if left > 0:
            return Asking(left)
        if not segment:
            return Unasked("no L2Advertisement announces it, so no node has to do with its segment")
        failed = "; ".join(f"{node}: {one.failed}" for node, one in sorted(found) if one.failed)
        nobody = "no node that may answer for it has a speaker that is ready"
        return Unasked(failed or (nobody if not vip.candidates else f"{vip.candidates[0]} did not say"))
