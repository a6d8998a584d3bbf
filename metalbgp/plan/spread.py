"""Addresses of one pool spread evenly over nodes that are equally preferred (L2Advertisement, spread: even).

In:  for each key its pool and its equals, the nodes that it may be first on; when that changed, when it went.
Out: `firsts`, the node that each is first on, and which moved. No node is first for two more than another
     that one of its keys could stand on as well: where all keys of a pool may stand on the same nodes, the
     fullest and the emptiest differ by one at most.
Elsewhere: which nodes are equal is ranking.py, and what follows the first one as well; who keeps this up to
     date is controller/spread.py.

A key is the first address of a Service (Claimant.first): the other family goes where it goes. What may stay
stays: only those whose node is no longer among their equals are put anew, on the emptiest node, and then one
after the other moves from the fullest to the emptiest. With the same equals for all, no fewer moves would do.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from metalbgp.plan.ranking import order

Equals = frozenset[str]


class Wish(Struct, frozen=True):
    """What one key may have. `present`: the node that is its first now, by its claim; "": none."""

    pool: str
    equals: Equals
    present: str = ""


class Places:
    def __init__(self) -> None:
        self.firsts: dict[str, str] = {}  # key → node. Read it freely; only update() changes it
        self._wishes: dict[str, Wish] = {}
        self._pools: dict[str, _Pool] = {}

    def update(self, wishes: Mapping[str, Wish | None]) -> frozenset[str]:
        """Take all these changes in at once (None: it went). Returns the keys that have another node now.

        At once, because what is chosen with half of a change known would move again with the other half.
        """
        before: dict[str, str] = {}
        changed: dict[str, set[str]] = {}  # pool → nodes with another count or other keys
        homeless: list[str] = []
        for key, wish in wishes.items():
            old = self._wishes.get(key)
            if old is not None and wish is not None and (old.pool, old.equals) == (wish.pool, wish.equals):
                continue
            present = self.firsts.get(key, wish.present if wish is not None else "")
            before[key] = self.firsts.get(key, "")
            if old is not None:
                changed.setdefault(old.pool, set()).add(self._take(key))
            if wish is None:
                continue
            self._wishes[key] = wish
            if present in wish.equals:
                changed.setdefault(wish.pool, set()).add(self._put(key, present))
            elif wish.equals:
                homeless.append(key)
        for key in sorted(homeless, key=lambda one: (len(self._wishes[one].equals), one)):
            wish = self._wishes[key]
            emptiest = self._pool(wish.pool).emptiest(wish.equals, key)
            changed.setdefault(wish.pool, set()).add(self._put(key, emptiest))
        for name, nodes in changed.items():
            for key, node in self._pool(name).level(nodes):
                before.setdefault(key, self.firsts[key])
                self.firsts[key] = node
            if not self._pool(name).counts:
                del self._pools[name]
        return frozenset(key for key, node in before.items() if self.firsts.get(key, "") != node)

    def count(self, pool: str) -> dict[str, int]:
        """How many keys of the pool each node is first for; nodes with none are not named."""
        return dict(self._pools[pool].counts) if pool in self._pools else {}

    def _pool(self, name: str) -> "_Pool":
        return self._pools.setdefault(name, _Pool())

    def _take(self, key: str) -> str:
        wish, node = self._wishes.pop(key), self.firsts.pop(key, "")
        if node:
            self._pool(wish.pool).remove(key, wish.equals, node)
        return node

    def _put(self, key: str, node: str) -> str:
        wish = self._wishes[key]
        self.firsts[key] = node
        self._pool(wish.pool).add(key, wish.equals, node)
        return node


class _Pool:
    """One pool's keys, by what they may have and what they have."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._keys: dict[tuple[Equals, str], set[str]] = {}
        self._nodes: dict[Equals, set[str]] = {}  # nodes that a key with these equals is on
        self._about: dict[str, set[Equals]] = {}  # node → the equals it is among, of keys that are here

    def add(self, key: str, equals: Equals, node: str) -> None:
        self.counts[node] = self.counts.get(node, 0) + 1
        self._keys.setdefault((equals, node), set()).add(key)
        if equals not in self._nodes:
            for one in equals:
                self._about.setdefault(one, set()).add(equals)
        self._nodes.setdefault(equals, set()).add(node)

    def remove(self, key: str, equals: Equals, node: str) -> None:
        self.counts[node] -= 1
        if not self.counts[node]:
            del self.counts[node]
        keys = self._keys[equals, node]
        keys.remove(key)
        if keys:
            return
        del self._keys[equals, node]
        self._nodes[equals].remove(node)
        if self._nodes[equals]:
            return
        del self._nodes[equals]
        for one in equals:
            self._about[one].remove(equals)
            if not self._about[one]:
                del self._about[one]

    def emptiest(self, equals: Equals, key: str) -> str:
        """Of nodes that are equally empty the one that MetalLB's order prefers."""
        least = min(self.counts.get(node, 0) for node in equals)
        return order((node for node in equals if self.counts.get(node, 0) == least), key)[0]

    def level(self, nodes: set[str]) -> Iterator[tuple[str, str]]:
        """Move keys until the bound holds, given that it held before the counts of these nodes changed.

        Every move takes from a node that has at least two more than the one that gets, so it ends.
        """
        queues: dict[tuple[Equals, str], list[str]] = {}  # the next one to move last
        while (found := self._steepest(nodes)) is not None:
            equals, node = found
            queue = queues.get(found) or sorted(self._keys[found], reverse=True)
            key = queue.pop()
            queues[found] = queue
            target = self.emptiest(equals, key)
            self.remove(key, equals, node)
            self.add(key, equals, target)
            queues.pop((equals, target), None)
            nodes |= {node, target}
            yield key, target

    def _steepest(self, nodes: set[str]) -> tuple[Equals, str] | None:
        """From where to take: the largest difference first, and the same choice in every process."""
        best: tuple[tuple[int, str, tuple[str, ...]], Equals] | None = None
        for equals in {one for node in nodes for one in self._about.get(node, ())}:
            fullest = max(self._nodes[equals], key=lambda node: (self.counts[node], node))
            least = min(self.counts.get(node, 0) for node in equals)
            slope = self.counts[fullest] - least
            if slope < 2 or (best is not None and slope < best[0][0]):
                continue
            rank = (slope, fullest, tuple(sorted(equals)))
            if best is None or rank > best[0]:
                best = rank, equals
        return (best[1], best[0][1]) if best is not None else None
