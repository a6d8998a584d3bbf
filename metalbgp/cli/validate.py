"""`metalbgp validate FILE|DIR|-`: is this configuration right, before anybody applies it?

In:  YAML or JSON files, folders of them, standard input; with --cluster what stands in the cluster as well.
Out: one line a finding, `FILE:LINE: Kind name: field: why. Remedy: …`. Exit code 1: something is wrong.
Elsewhere: the judging is findings.py, which asks the same code as admission and the controller.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from metalbgp.cli.access import Cluster, together
from metalbgp.cli.errors import Usage
from metalbgp.cli.findings import Finding, Known, judge
from metalbgp.cli.options import Setup, connection_of, connection_options, guard
from metalbgp.cli.render import FORMATS, Answer, many, show
from metalbgp.config.documents import Document, NotYaml, documents
from metalbgp.inventory.networks import occupied

SUFFIXES = (".yaml", ".yml", ".json")


@click.command("validate", short_help="Is this configuration right, before it is applied?")
@click.argument("paths", nargs=-1, metavar="[FILE|DIR|-]...")
@click.option("--cluster", is_flag=True, help="Together with what stands in the cluster.")
@click.option("--strict", is_flag=True, help="Also what is legal and surely not meant; it counts as wrong.")
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Form.")
@connection_options
@click.pass_obj
def command(
    setup: Setup, /, paths: tuple[str, ...], cluster: bool, strict: bool, output: str, **given: Any
) -> None:
    """Is this configuration right, before anybody applies it? As admission and the controller would say.

    With --cluster the files are laid over what stands there; without files that alone is judged.
    """

    def work() -> int:
        if not paths and not cluster:
            raise Usage("name a file, a folder or - (standard input), or judge what stands by --cluster")
        read, broken = load(paths)
        known, notes = Known(), tuple[str, ...]()
        if cluster:
            known, notes = asyncio.run(_known(setup, given))
        found = (*broken, *judge(read, known, strict=strict))
        answer = answer_of(found, len(read), notes)
        show(answer, output)
        return 1 if answer.problems else 0

    setup.debug = setup.debug or bool(given.get("debug"))
    guard(setup, work)


def answer_of(found: Sequence[Finding], count: int, notes: Sequence[str] = ()) -> Answer:
    return Answer(
        kind="FindingList",
        items=tuple(found),
        names=tuple(f"{one.kind}/{one.object}" for one in found),
        lines=tuple(f"{one.verdict:4} {one.said()}" for one in found)
        or (f"ok: {many(count, 'object')} and nothing wrong" if count else "ok: nothing wrong",),
        notes=tuple(notes),
        problems=len(found),
    )


# ------------------------------------------------------------------ files


def load(paths: Iterable[str]) -> tuple[list[Document], list[Finding]]:
    """Every document, and what cannot be read; a file that is not there is a mistake of typing."""
    read: list[Document] = []
    broken: list[Finding] = []
    for name, text in texts(paths):
        try:
            read += documents(text, name)
        except NotYaml as error:
            broken.append(
                Finding(kind="file", object="", field="YAML", why=error.why, file=name, line=error.line)
            )
    return read, broken


def texts(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in paths:
        path = Path(name)
        if name == "-":
            yield "-", sys.stdin.read()
        elif path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())
            if not inside:
                raise Usage(f"{name} holds no {' or '.join(SUFFIXES)} file")
            for one in inside:
                yield str(one), _text(one)
        elif path.exists():
            yield name, _text(path)
        else:
            raise Usage(f"there is no file {name}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{path} cannot be read: {error}") from error


# ------------------------------------------------------------------ the cluster


async def _known(setup: Setup, given: dict[str, Any]) -> tuple[Known, tuple[str, ...]]:
    connection = connection_of(setup, given)
    link = await setup.connect(connection)
    try:
        cluster = Cluster(link, connection)
        found, nodes, networks = await together(
            cluster.configuration_objects(), cluster.nodes(), cluster.service_networks()
        )
    finally:
        await link.close()
    used = tuple(occupied(nodes or (), networks))
    return Known(objects=found, nodes=nodes, occupied=used), cluster.notes
