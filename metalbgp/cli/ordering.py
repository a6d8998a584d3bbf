"""Giving and taking back orders: what hold, shut, drain and their opposites have in common.

In:  what is meant (an address or a Service, a peer, a node), why, for how long, by whom.
Out: SpeakerOrders written or deleted, one line each. Exit code 2: a name that nothing answers to.
Elsewhere: what an order means is model/orders.py; the list of them orders.py; a node's own socket local.py.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
import msgspec
from msgspec import Struct

from metalbgp.cli import judge
from metalbgp.cli.access import Cluster, together
from metalbgp.cli.errors import Absent, CliError, NotAllowed, Refused, Usage, no_such
from metalbgp.cli.explain import find, split
from metalbgp.cli.explain_address import address_of
from metalbgp.cli.obeying import order_of
from metalbgp.cli.options import Look, connection_options
from metalbgp.cli.render import FORMATS, Answer
from metalbgp.cluster.resources import SPEAKER_ORDERS
from metalbgp.config import durations, orders
from metalbgp.config.mistakes import Mistake
from metalbgp.model.orders import DRAIN, HOLD, RELEASE, SHUT, Order

CONFLICT = 409
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
PAST = {HOLD: "held", SHUT: "shut", DRAIN: "drained", RELEASE: "released"}
NOT_ALLOWED = "not allowed to write speakerorders; ask for ClusterRole metalbgp-operator"
NO_KIND = "there is no kind SpeakerOrder here yet: a controller of this version brings it (metalbgp doctor)"
OPPOSITE = {HOLD: "unhold", SHUT: "unshut", DRAIN: "undrain", RELEASE: "release --end"}
Command = TypeVar("Command", bound=Callable[..., Any])


class What(Struct, frozen=True):
    """What is meant, in the words of the command line."""

    action: str
    targets: tuple[str, ...]
    node: str = ""  # "": every node

    @property
    def on(self) -> str:
        """The option that names the node."""
        return f" --node {self.node}" if self.node and self.action != DRAIN else ""

    def fits(self, one: Order) -> bool:
        return one.action == self.action and one.target in self.targets


class Why(Struct, frozen=True):
    """What the options say of an order, beside its target."""

    reason: str = ""
    author: str = ""  # "": whoever the API server says we are
    lasts: str = ""  # "": until somebody takes it back


def giving(command: Command) -> Command:
    """Options of the verbs that give an order."""
    for option in (
        click.option("--author", default="", metavar="NAME", help="Instead of the user that you are."),
        click.option("--for", "lasts", default="", metavar="TIME", help="It ends by itself after 30m, 2h, …"),
        click.option("--reason", default="", metavar="TEXT", help="Why, for whoever asks."),
    ):
        command = option(command)
    return taking(command)


def taking(command: Command) -> Command:
    """Options of every verb of orders."""
    output = click.option(
        "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Form."
    )
    return connection_options(output(command))


def why_of(given: dict[str, Any]) -> Why:
    for option, longest in (("reason", 1024), ("author", 253)):  # as the CRD has it
        if (length := len(given[option])) > longest:
            raise click.UsageError(f"--{option} has {length} characters, {longest} at most")
    return Why(given.pop("reason"), given.pop("author"), given.pop("lasts"))


# ------------------------------------------------------------------ what is meant


async def addresses_of(cluster: Cluster, text: str) -> tuple[str, ...]:
    """Of one address, or those that a Service holds now."""
    address = address_of(text)
    if not address:
        service = await find(cluster, *split(text, cluster.api.namespace))
        configuration, claims = await together(cluster.configuration(), cluster.claims())
        mine = judge.mine(claims, configuration)
        found = tuple(sorted(vip.address for vip in mine if service.key in vip.holders))
        if not found:
            raise CliError(f"{service.key} has no address that could be held")
        return found
    configuration = await cluster.configuration()
    if configuration.pool_of(address) is None:
        raise Usage(f"{address} is in no pool, so no speaker announces it")
    return (address,)


async def peer_of(cluster: Cluster, text: str) -> str:
    """By its name or address."""
    configuration = await cluster.configuration()
    by_address = {peer.key: peer.name for peer in configuration.peers}
    names = {peer.name for peer in configuration.peers}
    if text not in names and by_address.get(text, "") not in names:
        raise no_such("peer", text, names)
    return text if text in names else by_address[text]


async def node_of(cluster: Cluster, text: str) -> str:
    nodes, reports = await together(cluster.nodes(), cluster.reports())
    names = {one.name for one in nodes or ()} | {one.node for one in reports}
    if text not in names:
        raise no_such("node", text, names)
    return text


# ------------------------------------------------------------------ giving and taking back


def end(lasts: str, now: datetime) -> str:
    """RFC 3339, whole seconds: what is shorter is not rounded away."""
    if not lasts:
        return ""
    try:
        nanos = durations.nanoseconds(lasts)
    except Mistake as error:
        raise Usage(f"--for: {error}{f'; {error.fix}' if error.fix else ''}") from error
    if nanos <= 0:
        raise Usage(f"--for: {lasts} is not more than nothing")
    seconds = -(-nanos // durations.SECOND)
    until = now.astimezone(UTC) + timedelta(seconds=seconds)
    return until.replace(microsecond=0).isoformat().replace("+00:00", "Z")


async def give(look: Look, what: What, why: Why) -> Answer:
    """One order for each target; one that stands is changed, for a thing has one order."""
    cluster = look.cluster
    author = why.author or await whoami(cluster)
    expires = end(why.lasts, look.now())
    written: list[Order] = []
    lines: list[str] = []
    for target in what.targets:
        one = Order(
            name=orders.name_of(what.action, target, what.node),
            action=what.action,
            node=target if what.action == DRAIN else what.node,
            address=target if what.action == HOLD else "",
            peer=target if what.action in (SHUT, RELEASE) else "",
            reason=why.reason,
            author=author,
            expires=expires,
        )
        changed = await _write(cluster, one)
        written.append(one)
        where = f" on {what.node}" if what.on else ""
        until = f" until {expires}" if expires else ""
        stood = " (the order that stood is changed)" if changed else ""
        lines.append(f"{target} is {PAST[what.action]}{where}{until}{stood}")
    lines.append("who obeys: metalbgp orders")
    lines += [f"back: metalbgp {OPPOSITE[what.action]} {target}{what.on}" for target in what.targets]
    return Answer(
        kind="OrderList",
        items=tuple(written),
        names=tuple(one.name for one in written),
        lines=tuple(lines),
        notes=cluster.notes,
    )


async def _write(cluster: Cluster, one: Order) -> bool:
    """Whether there was one already."""
    body = orders.encode(one, cluster.installation)
    try:
        await cluster.api.request("POST", SPEAKER_ORDERS.path(cluster.installation), (), body)
        return False
    except NotAllowed as error:
        raise CliError(NOT_ALLOWED) from error
    except Absent as error:
        raise CliError(NO_KIND) from error
    except Refused as error:
        if error.status != CONFLICT:
            raise
    # null takes out what the new one does not say
    spec = {"reason": None, "author": None, "expires": None, **orders.spec_of(one)}
    try:
        path = SPEAKER_ORDERS.path(cluster.installation, one.name)
        await cluster.api.request("PATCH", path, (), {"spec": spec})
    except NotAllowed as error:
        raise CliError(NOT_ALLOWED) from error
    return True


async def take_back(look: Look, what: What) -> Answer:
    """Every order that says so: whoever gave it, under whatever name."""
    cluster = look.cluster
    known, reports = await together(cluster.orders(), cluster.reports())
    found = [one for one in known if what.fits(one)]
    meant = [one for one in found if what.action == DRAIN or one.node == what.node]
    elsewhere = [one for one in found if one not in meant]
    sockets = [
        report.node
        for report in reports
        if any(one.local and what.fits(order_of(one)) for one in report.orders)
    ]
    if not meant:
        raise _nothing(what, elsewhere, sockets, known)
    for one in meant:
        try:
            await cluster.api.request("DELETE", SPEAKER_ORDERS.path(cluster.installation, one.name))
        except Absent:
            continue  # somebody was faster
        except NotAllowed as error:
            raise CliError(NOT_ALLOWED) from error
    still = _elsewhere(elsewhere, sockets)
    return Answer(
        kind="OrderList",
        items=tuple(meant),
        names=tuple(one.name for one in meant),
        lines=tuple(f"{one.target} is no longer {PAST[what.action]}{_by(one)}" for one in meant),
        notes=(*cluster.notes, *([f"still {PAST[what.action]} {still}"] if still else [])),
    )


def _by(one: Order) -> str:
    said = ", ".join(part for part in (one.author and f"by {one.author}", one.reason) if part)
    return f" ({said})" if said else ""


def _nothing(
    what: What, elsewhere: Sequence[Order], sockets: Sequence[str], known: Sequence[Order]
) -> CliError:
    target = " or ".join(what.targets)
    if found := _elsewhere(elsewhere, sockets):
        where = f"on {what.node}" if what.node else "on every node"
        return Usage(f"{target} is not {PAST[what.action]} {where}, but {found}")
    return no_such(
        what.action.lower() + " of", target, (one.target for one in known if one.action == what.action)
    )


def _elsewhere(elsewhere: Sequence[Order], sockets: Sequence[str]) -> str:
    """Where else the same is ordered, and how that is taken back."""
    parts = [f"on {one.node} (--node {one.node})" if one.node else "on every node" for one in elsewhere]
    parts += [f"on {node} by its own socket (metalbgp unhold --local there)" for node in sockets]
    return ", ".join(parts)


async def whoami(cluster: Cluster) -> str:
    """As the API server knows us; "" where it does not tell (before 1.28)."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    try:
        data = await cluster.api.request("POST", WHOAMI, (), body)
        return str(msgspec.json.decode(data)["status"]["userInfo"]["username"])
    except (Refused, KeyError, TypeError, msgspec.DecodeError):
        return ""
