"""`metalbgp validate FILE|DIR|-`: is this configuration right, before anybody applies it?

In:  YAML or JSON files, folders of them, standard input; with --cluster what stands in the cluster as well.
Out: `FILE:LINE: Kind name: field: why` with a remedy under it. Exit code 1: something is wrong (--strict:
     or surely not meant), 2: a file cannot be read.
Elsewhere: a document by itself is manifests.py, all of them together judging.py; the rules are config/'s.
"""

import asyncio
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import click

from metalbgp.cli import judge as serving
from metalbgp.cli.access import Cluster, together
from metalbgp.cli.errors import CliError, NotAllowed, Usage
from metalbgp.cli.findings import Finding
from metalbgp.cli.judging import Judgement, Known, judge
from metalbgp.cli.manifests import Manifests, Schemas
from metalbgp.cli.options import Setup, connection_of, connection_options, guard
from metalbgp.cli.render import FORMATS, Answer, many, show
from metalbgp.config.documents import Document, NotYaml, documents
from metalbgp.config.objects import BGPPeer
from metalbgp.config.surprises import Secret

SUFFIXES: Final = (".yaml", ".yml", ".json")
CRDS: Final = (  # beside the package in a checkout and in the image; where pip puts setup.cfg's data_files
    Path(__file__).resolve().parents[2] / "k8s" / "crds.yaml",
    Path(sysconfig.get_path("data")) / "share" / "metalbgp" / "crds.yaml",
)
NO_CRDS: Final = (
    "crds.yaml is not installed beside metalbgp, so unknown fields and wrong types are not all found"
)


@click.command("validate", short_help="Is this configuration right, before it is applied?")
@click.argument("paths", nargs=-1, metavar="[FILE|DIR|-]...")
@click.option("--cluster", is_flag=True, help="Laid over what stands in the cluster; or that alone.")
@click.option("--strict", is_flag=True, help="Also what is legal and surely not meant; it counts as wrong.")
@click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="Form.")
@connection_options
@click.pass_obj
def command(
    setup: Setup, /, paths: tuple[str, ...], cluster: bool, strict: bool, output: str, **given: Any
) -> None:
    """Is this configuration right, before anybody applies it? As admission and the controller would say.

    FILE is YAML or JSON as kubectl reads it, DIR a folder with all below it, - standard input. With --cluster
    the files are laid over what stands there; without files that alone is judged.
    """

    def work() -> int:
        if not paths and not cluster:
            raise Usage("name a file, a folder or - (standard input), or judge what stands by --cluster")
        read, broken = load(paths)
        known, notes = asyncio.run(_known(setup, given, read)) if cluster else (Known(), ())
        rules = schemas()
        files = Manifests(read, rules, known.installation)
        found = judge(files, known)
        answer = answer_of(broken, found, files, strict=strict, notes=(*notes, *([] if rules else [NO_CRDS])))
        show(answer, output)
        return 1 if answer.problems else 0

    setup.debug = setup.debug or bool(given.get("debug"))
    guard(setup, work)


def answer_of(
    broken: Sequence[Finding], found: Judgement, files: Manifests, *, strict: bool, notes: Sequence[str]
) -> Answer:
    every = (*broken, *found.findings, *(found.surprises if strict else ()))
    shown = tuple(sorted(dict.fromkeys(every), key=lambda one: one.place))
    wrong = sum(one.verdict == "bad" for one in shown)
    more = 0 if strict else len(found.surprises)
    return Answer(
        kind="FindingList",
        items=shown,
        names=tuple(f"{one.kind}/{one.object}" for one in shown),
        lines=(*(line for one in shown for line in one.lines()), summary(files, shown, more)),
        notes=(*found.notes, *(found.strict_notes if strict else ()), *notes),
        problems=len(shown) if strict else wrong,
    )


def summary(files: Manifests, shown: Sequence[Finding], more: int) -> str:
    wrong = sum(one.verdict == "bad" for one in shown)
    parts = [many(wrong, "problem")] if wrong else ["nothing wrong"]
    parts += [many(len(shown) - wrong, "warning")] if len(shown) > wrong else []
    told = f"{many(files.count - files.others, 'object')}: " if files.count else ""
    told += ", ".join(parts)
    told += f" ({many(files.others, 'object')} of other kinds passed over)" if files.others else ""
    return told + (f". More: --strict tells of {many(more, 'surprise')}" if more else "")


# ------------------------------------------------------------------ files


def load(paths: Iterable[str]) -> tuple[list[Document], list[Finding]]:
    """Every document, and what is no YAML; a file that is not there is a mistake of typing."""
    read: list[Document] = []
    broken: list[Finding] = []
    for name, text, asked in texts(paths):
        try:
            found = documents(text, name)
        except NotYaml as error:
            broken.append(
                Finding(
                    file=name,
                    line=error.line,
                    verdict="bad",
                    kind="",
                    object="",
                    field="",
                    reason="NotYaml",
                    message=error.why,
                )
            )
            continue
        # A folder may hold values and settings of other tools beside objects.
        read += [one for one in found if asked or one.kind or one.body.get("apiVersion")]
    return read, broken


def texts(paths: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    """(name, text, was it asked for by name), each file once."""
    seen: set[Path] = set()
    for name in paths:
        path = Path(name)
        if name == "-":
            yield "-", sys.stdin.read(), True
        elif path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())
            inside = [one for one in inside if not _hidden(one.relative_to(path))]
            if not inside:
                raise Usage(f"{name} holds no {' or '.join(SUFFIXES)} file")
            for one in inside:
                if one.resolve() not in seen:
                    seen.add(one.resolve())
                    yield str(one), _text(one), False
        elif not path.exists():
            raise Usage(f"there is no file {name}")
        elif path.resolve() not in seen:
            seen.add(path.resolve())
            yield name, _text(path), True


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Usage(f"{path} cannot be read: {error}") from error


@cache
def schemas() -> Schemas:
    """Of every kind and version; {} when the file is nowhere."""
    path = next((one for one in CRDS if one.exists()), None)
    found = [one.body["spec"] for one in documents(path.read_text(encoding="utf-8"))] if path else []
    return {
        spec["names"]["kind"]: {one["name"]: one["schema"]["openAPIV3Schema"] for one in spec["versions"]}
        for spec in found
    }


# ------------------------------------------------------------------ the cluster


async def _known(
    setup: Setup, given: dict[str, Any], read: Sequence[Document]
) -> tuple[Known, tuple[str, ...]]:
    connection = connection_of(setup, given)
    link = await setup.connect(connection)
    try:
        cluster = Cluster(link, connection)
        known = await known_of(cluster, connection.installation, link.namespace, read)
    finally:
        await link.close()
    return known, cluster.notes


async def known_of(cluster: Cluster, installation: str, namespace: str, read: Sequence[Document]) -> Known:
    """What stands in the cluster, and what it says of the Secrets that the documents name."""
    objects, services, claims, namespaces, nodes, networks, controller = await together(
        cluster.configuration_objects(),
        cluster.services(),
        _claims(cluster),
        cluster.namespaces(),
        cluster.nodes(),
        cluster.service_networks(),
        cluster.controller(),
    )
    names = {
        one.spec.password_secret.name
        for one in objects
        if isinstance(one, BGPPeer) and one.spec.password_secret
    }
    names |= set(_secrets_of(read))
    return Known(
        asked=True,
        installation=installation,
        namespace=namespace,
        objects=objects,
        services=services or (),
        claims=claims,
        namespaces=namespaces,
        nodes=nodes,
        networks=networks,
        lb_class=serving.lb_class(controller),
        secrets=await _secrets(cluster, sorted(names - {""})),
    )


def _secrets_of(read: Iterable[Document]) -> Iterator[str]:
    for one in read:
        spec = one.body.get("spec")
        named = spec.get("passwordSecret") if one.kind == "BGPPeer" and isinstance(spec, dict) else None
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            yield named["name"]


async def _claims(cluster: Cluster) -> tuple[Any, ...]:
    """None where metalbgp is not installed yet: files are judged before the first installation as well."""
    try:
        return await cluster.claims()
    except CliError as error:
        cluster.note(str(error))
        return ()


async def _secrets(cluster: Cluster, names: Sequence[str]) -> dict[str, Secret | None] | None:
    try:
        found = await together(*(cluster.secret(name) for name in names))
    except NotAllowed:
        cluster.note(f"not allowed to read Secrets, so {', '.join(names)} of passwordSecret is not looked at")
        return None
    return dict(zip(names, found, strict=True))
