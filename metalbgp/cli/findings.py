"""What `metalbgp validate` finds: one value for whatever is wrong, with the line where it stands. Pure.

In:  typed reasons, and the Document that they are about (None: it stands in the cluster only).
Out: Findings, and their words on the screen.
Elsewhere: what a document is, manifests.py; what it means together with the others, judging.py.
"""

import re
from typing import Final, Literal

from msgspec import Struct

from metalbgp.config.documents import Document
from metalbgp.model.reasons import Invalid, NotInForce, Surprise

TYPE: Final = re.compile(r"(.+) - at `\$\.(.+)`")
Verdict = Literal[
    "bad", "warn"
]  # bad: refused, or without effect; warn: legal, and surely not what was meant
ORDER: Final = {"bad": 0, "warn": 1}


class Finding(Struct, frozen=True):
    file: str  # "": it stands in the cluster
    line: int
    verdict: Verdict
    kind: str
    object: str
    field: str
    reason: str  # name of the reason's class: stable
    message: str
    remedy: str = ""

    @property
    def place(self) -> tuple[str, int, int, str, str, str, str]:
        """Findings are told in this order."""
        about = self.kind, self.object, self.field, self.message
        return self.file, self.line, ORDER[self.verdict], *about

    def lines(self) -> tuple[str, ...]:
        where = f"{self.file}:{self.line}" if self.file else "cluster"
        what = " ".join(part for part in (self.kind, self.object) if part)
        parts = [where, *(["warning"] if self.verdict == "warn" else []), what, self.field, self.message]
        said = ": ".join(part for part in parts if part)
        return (said, f"    remedy: {self.remedy}") if self.remedy else (said,)


def named(one: Document) -> str:
    """As messages name it; a Service is nothing without its namespace."""
    name = one.name or "?"
    return f"{one.namespace or 'default'}/{name}" if one.kind == "Service" else name


def at(
    one: Document,
    field: str,
    message: str,
    remedy: str = "",
    *,
    verdict: Verdict = "bad",
    reason: str = "Invalid",
) -> Finding:
    return Finding(
        file=one.file,
        line=one.line(field),
        verdict=verdict,
        kind=one.kind or "object",
        object=named(one),
        field=field,
        reason=reason,
        message=message,
        remedy=remedy,
    )


def placed(found: Invalid | NotInForce | Surprise, one: Document | None) -> Finding:
    field, message = found.field, found.why
    if (typed := TYPE.fullmatch(message)) is not None:  # a wrong type: msgspec names the field in its words
        field, message = typed[2].replace("[...]", ""), typed[1]
    return Finding(
        file=one.file if one else "",
        line=one.line(field) if one else 0,
        verdict="bad" if isinstance(found, Invalid) else "warn",
        kind=found.kind,
        object=found.object,
        field=field,
        reason=found.name,
        message=message,
        remedy=found.remedy(),
    )
