"""Figures that have an aim of their own: printed beside it, with the ratio, and whether it is met.

In:  Lines, from whoever measured. Out: a table; the exit code of `python -m bench`.
Elsewhere: figures that are compared with other implementations are table.py.
"""

from collections.abc import Iterable

from msgspec import Struct
from rich.console import Console
from rich.table import Table


class Line(Struct, frozen=True):
    """One figure; `aim` is what it may be at most, None where it is told and not judged."""

    what: str
    value: float
    unit: str = "s"
    aim: float | None = None

    @property
    def met(self) -> bool:
        return self.aim is None or self.value <= self.aim


def show(console: Console, title: str, lines: Iterable[Line]) -> bool:
    """Whether every aim is met. A ratio below 1 is better than the aim."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for column in ("seen", "aim", "ratio", ""):
        table.add_column(column, justify="right")
    good = True
    for line in lines:
        row = [line.what, number(line.value, line.unit)]
        if line.aim is not None:
            ratio = f"{line.value / line.aim:.2f}" if line.aim else ""
            row += [f"≤ {number(line.aim, line.unit)}", ratio, "yes" if line.met else "no"]
        good = good and line.met
        table.add_row(*row)
    console.print(table)
    return good


def number(value: float, unit: str) -> str:
    """Whole where it is whole, else three digits that say something."""
    if value == int(value):
        text = f"{int(value):,}"
    else:
        text = f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"
    return f"{text} {unit}".strip()
