"""What the cluster itself uses, and no new address may be: Nodes' addresses, networks of Pods and Services.

In:  ranges with their owners, all of them at once; they may overlap.
Out: the owner of an address; the first number past whatever covers one, in O(log n) however large it is.
Elsewhere: who gathers them is the controller's inventory; a pool may be exempt (PoolPolicy clusterAddresses).
"""

from bisect import bisect_right
from collections.abc import Iterable

from metalbgp.model.addresses import Family, Occupied

__all__ = ["Guard", "Occupied"]


class Guard:
    def __init__(self, occupied: Iterable[Occupied] = ()) -> None:
        """The smaller of two that overlap names the owner: a Node's address says more than its network."""
        self._first: dict[Family, list[int]] = {4: [], 6: []}
        self._last: dict[Family, list[int]] = {4: [], 6: []}  # parallel; joined, so that runs never touch
        self._owners = sorted(occupied, key=lambda one: (one.range.size, one.owner))
        for one in sorted(self._owners, key=lambda one: one.range):
            first, last = self._first[one.range.version], self._last[one.range.version]
            if last and one.range.first <= last[-1] + 1:
                last[-1] = max(last[-1], one.range.last)
            else:
                first.append(one.range.first)
                last.append(one.range.last)

    def past(self, version: Family, number: int) -> int:
        """The number itself when nothing covers it, else the first one after what does."""
        at = bisect_right(self._first[version], number) - 1
        return number if at < 0 or number > self._last[version][at] else self._last[version][at] + 1

    def owner(self, version: Family, number: int) -> str:
        if self.past(version, number) == number:
            return ""
        return next(
            one.owner
            for one in self._owners
            if one.range.version == version and one.range.first <= number <= one.range.last
        )
