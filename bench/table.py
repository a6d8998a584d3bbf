"""Figures beside baselines, with ratios: what a person reads after a run, and the file for the next one.

In:  figures of runs (name -> number) and baseline files. Out: a table; JSON that is a baseline again.
"""

from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.noise import Yardstick

BASELINES: Final = Path(__file__).resolve().parent / "baselines"
WORDS: Final = {  # figure -> (what it is, unit); one.* are given with their percentile
    "one.post": ("the API server's own answer", "ms"),
    "one.address": ("Service → address", "ms"),
    "one.update": ("Service → first UPDATE on the wire", "ms"),
    "one.updates": ("Service → UPDATE of the last node", "ms"),
    "one.route": ("Service → first route in the router's kernel", "ms"),
    "one.routes": ("Service → routes of all nodes", "ms"),
    "one.withdraw": ("delete → withdrawn by the last node", "ms"),
    "one.gone": ("delete → gone from the router's kernel", "ms"),
    "burst.create": ("all created in", "s"),
    "burst.address": ("last create → last address", "s"),
    "burst.update": ("last create → last UPDATE", "s"),
    "burst.route": ("last create → last prefix has a route", "s"),
    "burst.routes": ("last create → last route of all nodes", "s"),
    "burst.delete": ("all deleted in", "s"),
    "burst.gone": ("last delete → last route gone", "s"),
    "burst.updates_per_route": ("UPDATEs a route", ""),
}


class Run(msgspec.Struct):
    """One implementation's figures and the circumstances."""

    name: str
    figures: dict[str, float]
    services: int = 0  # how many were created and deleted while CPU was counted
    note: str = ""
    before: Yardstick | None = None
    after: Yardstick | None = None


def read(name: str) -> Run:
    """A baseline by its name (baselines/NAME.json) or by a file's path."""
    path = Path(name) if name.endswith(".json") else BASELINES / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Run)


def write(run: Run, path: Path) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")


def words(figure: str) -> tuple[str, str]:
    """What a figure is, and its unit."""
    head, _, tail = figure.rpartition(".")
    if figure in WORDS:
        return WORDS[figure]
    if head in WORDS:
        text, unit = WORDS[head]
        return f"{text}, {tail}", unit
    kind, _, rest = figure.partition(".")
    if kind == "cpu":
        return ("CPU, all components" if rest == "all" else f"CPU, {rest}"), "s"
    return f"memory, {rest.removesuffix('.' + tail)}, {tail.upper()}", "MiB"


def show(console: Console, run: Run, others: list[Run]) -> None:
    """One row a figure; a ratio below 1 is better than that baseline."""
    table = Table(title=run.name, title_justify="left")
    table.add_column("figure")
    table.add_column(run.name, justify="right")
    for other in others:
        table.add_column(other.name, justify="right")
        table.add_column("ratio", justify="right")
    for figure, value in run.figures.items():
        text, unit = words(figure)
        row = [text, _number(value, unit)]
        for other in others:
            base = other.figures.get(figure)
            if base is None or (figure.startswith("cpu.") and other.services != run.services):
                row += ["", ""]
            else:
                row += [_number(base, unit), f"{value / base:.2f}" if base > 0 else ""]
        table.add_row(*row)
    console.print(table)
    for yardstick, moment in ((run.before, "before"), (run.after, "after")):
        if yardstick:
            console.print(f"  {moment:6} {yardstick}", highlight=False)
    for other in others:
        if other.note:
            console.print(f"  {other.name}: {other.note}", highlight=False)


def _number(value: float, unit: str) -> str:
    return f"{value:.{1 if abs(value) < 100 else 0}f} {unit}".strip()
