"""From values to what stands on the screen, or in the pipe.

In:  an Answer: its values for JSON, its names, its table or lines, what is missing.
Out: text on stdout; notes on stderr, so that a pipe carries the answer alone.
Elsewhere: what the cells say is each verb's; ages are ages.py.

On a terminal rich draws the table and colours the states; in a pipe there are columns and nothing is cut.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from metalbgp.model.addresses import Range
from metalbgp.model.reasons import Reason

GAP = "   "
LAST = 20  # a last column narrower than this is no column
GOOD = frozenset({"Established", "confirmed", "ok", "yes", "done"})
BAD = frozenset({"bad", "refused", "Refused", "missing", "silent"})
VERDICTS = ("ok", "warn", "bad")
PLACE = r"^\S+:[0-9]+: "  # FILE:LINE: of validate
WARNING = r"(?<=: )warning(?=: )"
FORMATS = ("table", "wide", "json", "yaml", "name")


class Table(Struct, frozen=True):
    """Columns behind `wide_from` are shown by -o wide only."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    wide: tuple[str, ...] = ()  # names of columns that only -o wide shows


class Answer(Struct, frozen=True):
    """What a verb found. `problems`: how many things are wrong; exit code 1 unless it is 0."""

    kind: str
    items: tuple[Any, ...]
    names: tuple[str, ...] = ()
    table: Table | None = None
    lines: tuple[str, ...] = ()  # instead of a table, or under it
    empty: str = ""  # said instead of an empty table
    notes: tuple[str, ...] = ()
    problems: int = 0


def text(answer: Answer, output: str) -> str:
    """Everything but a terminal's table."""
    match output:
        case "json":
            return msgspec.json.format(msgspec.json.encode(document(answer)), indent=2).decode()
        case "yaml":
            import yaml

            return str(yaml.safe_dump(document(answer), sort_keys=False, allow_unicode=True)).rstrip("\n")
        case "name":
            return "\n".join(answer.names)
        case _:
            parts = []
            if answer.table is not None and answer.table.rows:
                parts += aligned(answer.table, output == "wide")
            elif answer.table is not None and answer.empty:
                parts.append(answer.empty)
            return "\n".join([*parts, *answer.lines])


def document(answer: Answer) -> dict[str, Any]:
    return {
        "kind": answer.kind,
        "items": [plain(item) for item in answer.items],
        "problems": answer.problems,
        "notes": list(answer.notes),
    }


def plain(value: Any) -> Any:
    """Structs as objects with camelCase keys (as Kubernetes writes them), reasons with their words."""
    if isinstance(value, Reason):
        found: dict[str, Any] = {"reason": value.name, "message": value.explain()}
        return {**found, "remedy": value.remedy()} if value.remedy() else found
    if isinstance(value, Range):
        return str(value)  # an IPv6 address as a number is more than JSON's readers can hold
    if isinstance(value, Struct):
        return {camel(one.name): plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [plain(inner) for inner in value]
    return value


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def visible(table: Table, wide: bool) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    keep = [index for index, name in enumerate(table.columns) if wide or name not in table.wide]
    columns = tuple(table.columns[index] for index in keep)
    return columns, [tuple(row[index] for index in keep) for row in table.rows]


def column_widths(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[int]:
    return [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]


def aligned(table: Table, wide: bool) -> list[str]:
    columns, rows = visible(table, wide)
    widths = column_widths(columns, rows)
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [columns, *rows]
    ]


def show(answer: Answer, output: str) -> None:
    if output in ("table", "wide") and sys.stdout.isatty():
        draw(answer, output == "wide")
    elif said := text(answer, output):
        print(said)
    if output not in ("json", "yaml"):
        for note in answer.notes:
            print(f"note: {note}", file=sys.stderr)


def draw(answer: Answer, wide: bool, console: Any = None) -> None:
    """rich honours NO_COLOR. Nothing is cut: the last column folds, or in a narrow window the whole line."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console(highlight=False)
    if answer.table is not None and answer.table.rows:
        _draw_table(answer.table, wide, console)
    elif answer.table is not None and answer.empty:
        console.print(answer.empty, markup=False)
    for line in answer.lines:
        said = Text(line)
        word = line.partition(" ")[0]
        if word in VERDICTS:
            said.stylize(style(word), 0, len(word))
        said.highlight_regex(PLACE, "bold")
        said.highlight_regex(WARNING, "yellow")
        console.print(said, soft_wrap=True)


def _draw_table(table: Table, wide: bool, console: Any) -> None:
    from rich.table import Table as Drawn
    from rich.text import Text

    columns, rows = visible(table, wide)
    widths = column_widths(columns, rows)
    if sum(widths[:-1]) + len(GAP) * len(widths) + LAST > console.width:
        head, *lines = aligned(table, wide)
        console.print(Text(head, style="bold"), soft_wrap=True)
        for row, line in zip(rows, lines, strict=True):
            said = Text(line)
            for cell in row:
                if word := style(cell):
                    said.highlight_words([cell], word)
            console.print(said, soft_wrap=True)
        return
    drawn = Drawn(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold")
    for column, width in zip(columns[:-1], widths[:-1], strict=True):
        drawn.add_column(column, min_width=width, no_wrap=True)
    drawn.add_column(columns[-1], overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell, style=style(cell)) for cell in row))
    console.print(drawn)


def style(cell: str) -> str:
    word = cell.partition(" ")[0]
    if word in GOOD:
        return "green"
    if word in BAD:
        return "red"
    return "yellow" if word in ("waiting", "warn", "sent", "wanted", "withdrawing", "Connect", "Idle") else ""


def many(count: int, word: str, words: str = "") -> str:
    return f"{count:,} {word if count == 1 else words or word + 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
