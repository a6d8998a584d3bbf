"""What each node shall announce, kept up change by change, so that a report's numbers get their names. Pure.

In:  the configuration, Nodes and VirtualIPs as they come and go; the Changes between two reports of a node,
     which also say what the node says no to.
Out: the same Changes, with routes by name in place of a number where what came and went since the last
     report agrees with it; and the routes whose attributes changed, of which a report shows nothing.
Elsewhere: what a node shall announce is select/, the speaker's own function; numbers are route_changes.py.
"""

from collections.abc import Iterable, Iterator, Sequence

from metalbgp.cli.changes import UP, Change
from metalbgp.cli.obeying import ended_by, obeyed_by
from metalbgp.cli.planning import in_words
from metalbgp.cli.route_changes import MANY, Words
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import NO_ORDERS
from metalbgp.model.report import NodeReport, RouteReport
from metalbgp.model.routes import Attributes
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.select import NodeView
from metalbgp.select.table import Key, Table

MOST = 50_000  # nodes times addresses; beyond it a new configuration would hold the lines up for seconds
NUMBERS = {"route-announced": 1, "route-withdrawn": -1}
Standing = tuple[Attributes, tuple[str, ...]]  # and the Services behind it


class Wanted:
    def __init__(self) -> None:
        self._configuration: Configuration | None = None
        self._vips: dict[str, VirtualIP] = {}
        self._nodes: dict[str, Node] = {}
        self._of: dict[str, _OfNode] = {}
        self._said: dict[str, NodeReport] = {}  # by node, the last
        self._off = False

    def configure(self, configuration: Configuration) -> None:
        self._configuration = configuration
        for node in self._nodes.values():
            self._replan(node)

    def set_node(self, name: str, node: Node | None) -> None:
        if node is None:
            self._nodes.pop(name, None)
            self._of.pop(name, None)
        else:
            self._nodes[name] = node
            self._measure()
            self._replan(node)

    def set_vip(self, address: str, vip: VirtualIP | None) -> None:
        if vip is None:
            self._vips.pop(address, None)
        else:
            self._vips[address] = vip
            self._measure()
        for one in self._of.values():
            one.update(address, vip)

    def begin(self, reports: Iterable[NodeReport] = ()) -> None:
        """What came and went until now is behind the first line."""
        for report in reports:
            self._heed(report)
        for one in self._of.values():
            one.before.clear()

    def named(self, found: Iterable[Change], old: NodeReport, new: NodeReport) -> Iterator[Change]:
        self._heed(new)
        one = self._of.get(new.node)
        if one is None or self._configuration is None:
            yield from found
        else:
            held = new.configuration >= self._configuration.sequence
            yield from one.named(list(found), old, new, held=held)

    def _heed(self, report: NodeReport) -> None:
        """What the node says no to, it does not announce."""
        before = self._said.get(report.node)
        self._said[report.node] = report
        no = (report.orders, report.unserved)
        if no != ((before.orders, before.unserved) if before else ((), ())) and report.node in self._nodes:
            self._replan(self._nodes[report.node])

    def _measure(self) -> None:
        if len(self._nodes) * len(self._vips) > MOST:  # for good: what was missed meanwhile is not known
            self._off = True
            self._of.clear()

    def _replan(self, node: Node) -> None:
        if self._configuration is None or self._off:
            return
        one = self._of.setdefault(node.name, _OfNode())
        said = [self._said[node.name]] if node.name in self._said else []
        orders, ended = obeyed_by(said), ended_by(said)
        one.view = NodeView(
            self._configuration, node, orders.get(node.name, NO_ORDERS), ended.get(node.name, ())
        )
        for address, vip in self._vips.items():
            one.update(address, vip)


class _OfNode:
    """The routes of one node as they shall stand, and as they did at its last report."""

    def __init__(self) -> None:
        self.view: NodeView | None = None
        self.before: dict[Key, Standing | None] = {}  # of what changed since then: as it was; None: not there
        self._table = Table()
        self._stands: dict[Key, Standing] = {}

    def update(self, address: str, vip: VirtualIP | None) -> None:
        if self.view is None:
            return
        ours = vip is not None and vip.installation == self.view.configuration.installation
        delta = self._table.update(address, self.view.select(vip) if vip is not None and ours else None)
        for peer, prefix, attributes in delta.changed:
            key = (peer, prefix)
            self.before.setdefault(key, self._stands.pop(key, None))
            if attributes is not None:
                why = self._table.why(*key)
                self._stands[key] = (attributes, why.services if why else ())
            if self.before[key] == self._stands.get(key):
                del self.before[key]  # it came and went unseen

    def named(
        self, found: Sequence[Change], old: NodeReport, new: NodeReport, *, held: bool
    ) -> Iterator[Change]:
        """`held`: the node has the configuration that we know."""
        was = {one.peer: one for one in old.sessions}
        now = {one.peer: one for one in new.sessions}
        numbers = {one.peer: one for one in found if one.what in NUMBERS and one.count and not one.prefix}
        listed = {(row.peer, row.prefix) for row in (*old.unconfirmed, *new.unconfirmed)}
        for change in found:
            if change is numbers.get(change.peer):
                yield from self._names(change, Words(new, now[change.peer]), listed)
            else:
                yield change
        for peer, session in now.items():
            up = session.state == UP and peer in was and was[peer].state == UP
            if up and held:
                yield from self._attributes(peer, Words(new, session), listed)
            self._forget(peer, listed, everything=not up or peer in numbers)
        for key in [key for key in self.before if key[0] not in now]:
            del self.before[key]

    def _names(self, change: Change, say: Words, listed: set[Key]) -> Iterator[Change]:
        came = [key for key in self._of_peer(change.peer, listed) if self.before[key] is None]
        gone = [key for key in self._of_peer(change.peer, listed) if key not in self._stands]
        if len(came) - len(gone) != NUMBERS[change.what] * change.count or len(came) + len(gone) > MANY:
            yield change
            return
        yield from (
            say.named("route-announced", self._row(key, self._stands[key]), "announced") for key in came
        )
        yield from (
            say.named("route-withdrawn", self._row(key, self.before[key]), "withdrawn") for key in gone
        )

    def _attributes(self, peer: str, say: Words, listed: set[Key]) -> Iterator[Change]:
        rows: list[tuple[RouteReport, str]] = []
        for key in self._of_peer(peer, listed):
            old, new = self.before[key], self._stands.get(key)
            if old is not None and new is not None:
                rows.append((self._row(key, new), f"{in_words(old[0])} → {in_words(new[0])}"))
                del self.before[key]
        if len(rows) > MANY:
            yield say.number("route-changed", len(rows), "changed")
        else:
            yield from (say.named("route-changed", row, "changed", words) for row, words in rows)

    def _of_peer(self, peer: str, listed: set[Key]) -> list[Key]:
        """What changed and stands in no report by name, in order."""
        return sorted(key for key in self.before if key[0] == peer and key not in listed)

    def _row(self, key: Key, standing: Standing | None) -> RouteReport:
        return RouteReport(
            peer=key[0], prefix=key[1], state="confirmed", services=standing[1] if standing else ()
        )

    def _forget(self, peer: str, listed: set[Key], *, everything: bool) -> None:
        """What was told, by name or number. The rest may be on its way into the next report."""
        for key in [key for key in self.before if key[0] == peer and (everything or key in listed)]:
            del self.before[key]
