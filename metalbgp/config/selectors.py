"""metav1.LabelSelector → model/selectors.py, with every refusal that Kubernetes and MetalLB make.

In:  a list of them (entries are OR-ed; empty or absent selects everything). Out: Selectors, in spec order.
Also `may_meet`: can one set of labels satisfy both lists? Used for conflicts between objects that choose
nodes; it knows no node, so it answers yes unless the selectors themselves exclude each other.
"""

import re
from collections.abc import Sequence
from typing import Final, Literal

from metalbgp.config.mistakes import Findings
from metalbgp.config.objects import LabelRequirement, LabelSelector
from metalbgp.model.selectors import Requirement, Selector

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]
OPERATORS: Final[dict[str, Operator]] = {
    "In": "In",
    "NotIn": "NotIn",
    "Exists": "Exists",
    "DoesNotExist": "DoesNotExist",
}
_NAME: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def read_all(
    findings: Findings, field: str, selectors: Sequence[LabelSelector] | None
) -> tuple[Selector, ...]:
    found = tuple(read(findings, f"{field}[{at}]", one) for at, one in enumerate(selectors or ()))
    # Compared with sorted values, so that ["a","b"] and ["b","a"] are the same selector.
    for at, one in enumerate(found):
        if one in found[:at]:
            findings.wrong(f"{field}[{at}]", f"the selector {one} stands there twice", "remove one of them")
    return found


def read(findings: Findings, field: str, raw: LabelSelector) -> Selector:
    labels = tuple(sorted((raw.match_labels or {}).items()))
    for key, value in labels:
        _key(findings, f"{field}.matchLabels", key)
        _value(findings, f"{field}.matchLabels", value)
    expressions: list[Requirement] = []
    for at, entry in enumerate(raw.match_expressions or ()):
        where = f"{field}.matchExpressions[{at}]"
        one = _requirement(findings, where, entry)
        if one is not None and one in expressions:
            findings.wrong(where, f"{one} stands there twice", "remove one of them")
        elif one is not None:
            expressions.append(one)
    return Selector(labels=labels, expressions=tuple(sorted(expressions, key=str)))


def _requirement(findings: Findings, field: str, raw: LabelRequirement) -> Requirement | None:
    operator = OPERATORS.get(raw.operator)
    values = raw.values or []
    _key(findings, field, raw.key)
    if operator is None:
        findings.wrong(field, f'operator "{raw.operator}" is not one of {", ".join(OPERATORS)}')
        return None
    if operator in ("In", "NotIn") and not values:
        findings.wrong(field, f"{operator} needs values")
    if operator in ("Exists", "DoesNotExist") and values:
        findings.wrong(field, f"{operator} takes no values", "remove them, or write In or NotIn")
    for value in findings.distinct(field, values):
        _value(findings, field, value)
    return Requirement(key=raw.key, operator=operator, values=tuple(sorted(values)))


def _key(findings: Findings, field: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    fits = bool(_NAME.fullmatch(name)) and (not slash or (len(prefix) <= 253 and _PREFIX.fullmatch(prefix)))
    if not fits:
        findings.wrong(field, f'"{key}" is not a label key')


def _value(findings: Findings, field: str, value: str) -> None:
    if value and not _NAME.fullmatch(value):
        findings.wrong(field, f'"{value}" is not a label value')


# ------------------------------------------------------------------ can both select one node?


def may_meet(left: Sequence[Selector], right: Sequence[Selector]) -> bool:
    return not left or not right or any(_compatible(one, other) for one in left for other in right)


def _compatible(one: Selector, other: Selector) -> bool:
    """False only when no labels at all satisfy both."""
    allowed: dict[str, set[str]] = {}  # key → values that it may still have
    absent: set[str] = set()
    for selector in (one, other):
        for key, value in selector.labels:
            allowed.setdefault(key, {value}).intersection_update({value})
        for wish in selector.expressions:
            if wish.operator == "In":
                allowed.setdefault(wish.key, set(wish.values)).intersection_update(wish.values)
            elif wish.operator == "DoesNotExist":
                absent.add(wish.key)
    needed = set(allowed)
    for selector in (one, other):
        for wish in selector.expressions:
            if wish.operator == "NotIn" and wish.key in allowed:
                allowed[wish.key].difference_update(wish.values)
            elif wish.operator == "Exists":
                needed.add(wish.key)
    return all(allowed.values()) and not needed & absent
