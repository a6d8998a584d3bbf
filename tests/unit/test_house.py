"""The house is as its maps say: rooms and arrows, no clocks in pure rooms, every metric where it is named.

Imports between rooms are judged by import-linter; here stands that its contracts are complete.
"""

import ast
import configparser
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from metalbgp.controller.metrics import ControllerMetrics
from metalbgp.speaker.metrics import Snapshot, SpeakerMetrics

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ROOT / "metalbgp"
ROOMS = sorted(path.parent.name for path in PRODUCT.glob("*/__init__.py"))
PURE = ("model", "config", "inventory", "allocate", "plan", "select")
IMPURE_MODULES = {
    *(
        "time",
        "socket",
        "asyncio",
        "random",
        "os",
        "subprocess",
        "threading",
        "select",
        "selectors",
        "secrets",
    ),
    *("signal", "pathlib", "io", "urllib", "http", "ssl", "ctypes", "fcntl", "shutil", "tempfile"),
    *("multiprocessing", "concurrent", "aiohttp", "kubernetes"),
}
CLOCKS = frozenset(("now", "utcnow", "today"))
ARROWS = {  # room -> rooms that it may import; .importlinter forbids exactly the others
    "model": set(),
    "config": {"model"},
    "inventory": {"model", "config"},
    "allocate": {"model"},
    "plan": {"model", "select"},
    "select": {"model"},
    "cluster": {"model", "config"},
    "bgp": {"model"},
    "l2": {"model"},
    "bfd": {"model"},
    "reflex": {"model", "l2", "bfd"},
    "controller": {"model", "config", "inventory", "allocate", "plan", "select", "cluster"},
    "speaker": {"model", "config", "select", "cluster", "bgp", "l2", "bfd", "reflex"},
    "cli": {"model", "config", "inventory", "allocate", "plan", "select", "cluster", "bgp", "l2", "bfd"},
}


def pure_modules() -> list[Path]:
    rooms = [path for room in PURE for path in (PRODUCT / room).rglob("*.py")]
    return sorted({*rooms, *PRODUCT.rglob("machine.py")})


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def contracts() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return parser


@pytest.mark.parametrize("path", pure_modules(), ids=named)
def test_pure_rooms_and_machines_have_no_clock_no_socket_and_no_randomness(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found = {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found = {module.partition(".")[0]}
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in CLOCKS:
                pytest.fail(f"{named(path)}:{node.lineno} reads a clock: {attribute}()")
            case ast.Call(func=ast.Name(id="open")):
                pytest.fail(f"{named(path)}:{node.lineno} opens a file")
            case _:
                continue
        assert not found & IMPURE_MODULES, f"{named(path)}:{node.lineno} imports {found & IMPURE_MODULES}"


def test_the_arrows_name_every_room() -> None:
    assert sorted(ARROWS) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_contract_that_forbids_exactly_the_rooms_it_may_not_know(room: str) -> None:
    contract = contracts()[f"importlinter:contract:{room}"]
    assert contract["source_modules"].split() == [f"metalbgp.{room}"]
    listed = {name.removeprefix("metalbgp.") for name in contract["forbidden_modules"].split()}
    assert listed & set(ROOMS) == set(ROOMS) - ARROWS[room] - {room}


def test_every_contract_has_its_reason_as_a_comment() -> None:
    lines = (ROOT / ".importlinter").read_text().splitlines()
    bare = [line for line, after in pairwise(lines) if ":contract:" in line and after[:1] != ";"]
    assert not bare


def test_the_page_of_the_architecture_has_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert set(ROOMS) == set(re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE))


@pytest.mark.parametrize("path", sorted(PRODUCT.rglob("*.py")), ids=named)
def test_a_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if not text.strip():
        assert path.name == "__init__.py"
        return
    header = ast.get_docstring(ast.parse(text))
    assert header, f"{named(path)} has no header"
    if len(text.splitlines()) > 100 and path.name != "__init__.py":
        assert "\n\n" in header, (
            f"{named(path)}: the header does not say what goes in, comes out or is elsewhere"
        )


def test_a_file_is_one_thought_and_a_long_one_says_which() -> None:
    """Over 400 lines, the header has a line that begins with "One file because"."""
    folders = ("metalbgp", "lab", "bench", "tests", "exabgp-conf")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        if len(text.splitlines()) > 400:
            assert "One file because" in (ast.get_docstring(ast.parse(text)) or ""), f"{named(path)} is long"


def registered_metrics() -> Iterator[str]:
    controller = ControllerMetrics(pools=lambda: ())
    speaker = SpeakerMetrics(snapshot=lambda: Snapshot(node="n1"))
    for registry in (controller.registry, speaker.registry):
        for family in registry.collect():
            yield f"{family.name}_total" if family.type == "counter" else family.name


def test_the_page_of_metrics_has_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(registered_metrics())


def pages() -> list[Path]:
    return sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", pages(), ids=named)
def test_links_in_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    dead = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not dead


@pytest.mark.parametrize("page", pages(), ids=named)
def test_paths_that_pages_name_exist(page: Path) -> None:
    """Whatever stands in backticks and begins with a folder of the top, as `docs/metrics.md` does."""
    tops = "metalbgp|tests|lab|bench|docs|k8s|exabgp-conf"
    for path in re.findall(rf"`((?:{tops})/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists(), f"{named(page)} names {path}"
