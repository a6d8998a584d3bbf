"""How a wrong field is told: a Mistake where it is read, an Invalid on the object where it stands.

In:  syntax modules (ranges, durations, …) raise Mistake. Out: Findings gathers them all, so that a user
     mends an object once and not field by field.
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NamedTuple, TypeVar

from metalbgp.model.reasons import Invalid

T = TypeVar("T")
U = TypeVar("U")


class Mistake(ValueError):
    """A text that cannot be read: why, and what to write instead ("" when that is plain)."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix = why, fix


class Dispute(NamedTuple):
    """Why an object cannot stand beside another one. `awaits`: it can, as soon as that one follows."""

    field: str
    why: str
    fix: str = ""
    awaits: bool = False


class Findings:
    """What is wrong with one object."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.found: list[Invalid] = []

    def wrong(self, field: str, why: str, fix: str = "", *, awaits: bool = False) -> None:
        """`awaits`: it names an object that may come later, as in a file whose order is another."""
        self.found.append(
            Invalid(kind=self.kind, object=self.name, field=field, why=why, fix=fix, awaits=awaits)
        )

    def read(self, field: str, read: Callable[[T], U], value: T) -> U | None:
        """read(value), or None with the mistake noted."""
        try:
            return read(value)
        except Mistake as mistake:
            self.wrong(field, mistake.why, mistake.fix)
            return None

    def number(self, field: str, value: int | None, low: int, high: int) -> None:
        """The schema's range again: a file has not passed the API server, and CRDs can be older than we."""
        if value is not None and not low <= value <= high:
            self.wrong(field, f"{value} is not from {low} to {high}")

    def distinct(self, field: str, values: Iterable[str] | None) -> tuple[str, ...]:
        """The values; each that repeats is a mistake (metallb.md 1, common checks)."""
        listed = tuple(values or ())
        for value in sorted({value for value in listed if listed.count(value) > 1}):
            self.wrong(field, f'"{value}" stands there twice', "remove one of them")
        return listed


def number(text: str, low: int, high: int) -> int:
    """An annotation's: annotations are texts. Digits of ASCII alone; Mistake."""
    if not text.isascii() or not text.isdecimal() or not low <= int(text) <= high:
        raise Mistake(f'"{text}" is not a number from {low} to {high}')
    return int(text)


def yes(text: str) -> bool:
    if text not in ("true", "false"):
        raise Mistake(f'"{text}" is neither true nor false', 'write "true", in quotes')
    return text == "true"


def near(word: str, words: Iterable[str]) -> str:
    """` (did you mean "…"?)`, or nothing."""
    found = get_close_matches(word, list(words), n=1)
    return f' (did you mean "{found[0]}"?)' if found else ""
