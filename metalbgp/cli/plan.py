"""`metalbgp plan FILE…`: what would change on every node if these files were applied.

In:  YAML files as for validate; what stands in the cluster. Out: lines with +, - and ~; nothing is written.
     Exit code 1: something would be lost (an address, a route, a session), or the files are wrong.
Elsewhere: what would change is planning.py; whether the files are right is validate.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import click
from msgspec.structs import replace

from metalbgp.cli.access import Cluster, together
from metalbgp.cli.judge import Judge
from metalbgp.cli.judging import Known, completed, laid_over
from metalbgp.cli.manifests import Manifests
from metalbgp.cli.obeying import obeyed_by
from metalbgp.cli.options import Setup, connection_of, connection_options, guard
from metalbgp.cli.planning import Plan, Prevented, World, planned
from metalbgp.cli.render import FORMATS, Answer, many, show
from metalbgp.cli.validate import known_of, load, schemas
from metalbgp.config.compile import Compiled
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.objects import gather
from metalbgp.inventory.endpoints import fold
from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import Orders
from metalbgp.model.services import Endpoints

MOST = 200  # route lines on a screen; -o json has all
SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@click.command("plan", short_help="What would these files change, before they are applied?")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|-...")
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Form.")
@connection_options
@click.pass_obj
def command(setup: Setup, /, paths: tuple[str, ...], output: str, **given: Any) -> None:
    """What would change on every node if these files were applied: routes, L2 owners, sessions, addresses.

    The functions of the controller and of the speakers are asked; nothing is written. What the files do not
    name stays as it stands. Run metalbgp validate --cluster first: a wrong object changes nothing.
    """

    def work() -> int:
        read, broken = load(paths)
        answer = asyncio.run(_answer(setup, given, read, broken))
        show(answer, output)
        return 1 if answer.problems else 0

    setup.debug = setup.debug or bool(given.get("debug"))
    guard(setup, work)


async def _answer(setup: Setup, given: dict[str, Any], read: Any, broken: Any) -> Answer:
    connection = connection_of(setup, given)
    link = await setup.connect(connection)
    try:
        cluster = Cluster(link, connection)
        known = await known_of(cluster, connection.installation, link.namespace, read)
        standing, slices, speakers, reports = await together(
            cluster.configuration(), cluster.slices(), cluster.speakers(), cluster.reports()
        )
    finally:
        await link.close()
    files = Manifests(read, schemas(), known.installation)
    endpoints: dict[str, list[Any]] = {}
    for piece in slices or ():
        endpoints.setdefault(f"{piece.namespace}/{piece.service}", []).append(piece)
    folded = {key: fold(pieces) for key, pieces in endpoints.items()}
    live = speakers.live if speakers.known else frozenset(node.name for node in known.nodes or ())
    compiled = compile_objects(gather(laid_over(known.objects, files)), standing)
    wrong = [one for one in compiled.invalid if files.document(one.kind, one.object) is not None]
    found = planned(
        *_worlds(known, files, standing, compiled, endpoints=folded, live=live, orders=obeyed_by(reports))
    )
    return Answer(
        kind="Plan",
        items=(found,),
        names=tuple(dict.fromkeys(f"{one.node}/{one.peer}" for one in found.routes)),
        lines=(
            *(f"wrong      {one.explain()}; it changes nothing" for one in wrong),
            *(f"wrong      {one.file}:{one.line}: {one.message}" for one in broken),
            *lines(found),
        ),
        notes=cluster.notes,
        problems=found.harm + len(wrong) + len(broken),
    )


def _worlds(
    known: Known,
    files: Manifests,
    standing: Configuration,
    compiled: Compiled,
    *,
    endpoints: dict[str, Endpoints],
    live: frozenset[str],
    orders: Mapping[str, Orders],
) -> tuple[World, World]:
    about = known.claims, {**known.namespaces, **files.namespaces}, known.lb_class, known.nodes or ()
    after = replace(compiled.configuration, sequence=standing.sequence)
    now, then = (Judge(one, *about, networks=known.networks) for one in (standing, after))
    services = {one.key: one for one in known.services if now.ours(one)}
    filed = {key: completed(service, services.get(key)) for key, (service, _) in files.services.items()}
    mine = tuple(one for one in known.claims if one.installation == standing.installation)

    def world(configuration: Configuration, judge: Judge, more: dict[str, Any]) -> World:
        return World(
            configuration=configuration,
            judge=judge,
            services={key: one for key, one in {**services, **more}.items() if judge.ours(one)},
            endpoints=endpoints,
            claims=mine,
            nodes=known.nodes or (),
            live=live,
            orders=orders,
        )

    return world(standing, now, {}), world(after, then, filed)


def lines(found: Plan) -> Iterator[str]:
    for one in found.services:
        instead = f" and get {', '.join(one.gained)}" if one.gained else ""
        if one.lost:
            yield f"- address   {one.service} would lose {', '.join(one.lost)}{instead}: {one.why}"
        else:
            yield f"+ address   {one.service} would get {', '.join(one.gained)}"
    for session in found.sessions:
        fields = f": {', '.join(session.fields)}" if session.fields else ""
        sign = {"added": "+", "removed": "-", "reset": "~"}[session.what]
        yield f"{sign} session   {session.node} → {session.peer}   {session.what}{fields}"
    for owner in found.owners:
        sign = "+" if not owner.before else "~" if owner.after else "-"
        yield f"{sign} L2        {owner.address}   {owner.before or 'nobody'} → {owner.after or 'nobody'}"
    for route in found.routes[:MOST]:
        words = f"{route.prefix}   {route.node} → {route.peer}   {route.attributes}"
        yield f"{SIGNS[route.what]} route     {words}".rstrip()
    if len(found.routes) > MOST:
        yield f"  …         {len(found.routes) - MOST:,} more; -o json has all"
    for order in found.prevented:
        yield f"! {order.action.lower():<9} {order.target}   {prevented(order)}"
    yield summary(found)


def prevented(order: Prevented) -> str:
    parts = [many(order.routes, "route"), many(order.sessions, "session")]
    parts += [f"{many(order.owners, 'L2 address', 'L2 addresses')}"]
    away = ", ".join(part for part in parts if not part.startswith("0 "))
    return f"{order.why}; while it is in force it keeps away {away}"


def summary(found: Plan) -> str:
    if not (found.routes or found.owners or found.sessions or found.services):
        return "nothing would change"
    counts: Counter[str] = Counter(route.what for route in found.routes)
    parts = [f"{many(counts[what], 'route')} {what}" for what in SIGNS if counts[what]]
    sessions: Counter[str] = Counter(session.what for session in found.sessions)
    parts += [f"{many(sessions[what], 'session')} {what}" for what in sorted(sessions)]
    lost = sum(bool(one.lost) for one in found.services)
    parts += [f"{many(lost, 'Service')} without the address that it has"] if lost else []
    parts += [many(len(found.owners), "L2 address", "L2 addresses") + " elsewhere"] if found.owners else []
    return "; ".join(parts) or "nothing is lost"
