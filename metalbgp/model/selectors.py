"""Label selectors (metav1.LabelSelector), ready to match. Parsing and refusal: config/selectors.py."""

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct


class Requirement(Struct, frozen=True):
    """One of matchExpressions."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":  # an absent key satisfies NotIn, as in Kubernetes
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels

    def __str__(self) -> str:
        match self.operator:
            case "Exists":
                return self.key
            case "DoesNotExist":
                return f"!{self.key}"
            case "In" | "NotIn":
                word = "in" if self.operator == "In" else "notin"
                return f"{self.key} {word} ({','.join(self.values)})"


class Selector(Struct, frozen=True):
    """All requirements must hold; an empty selector matches everything."""

    labels: tuple[tuple[str, str], ...] = ()  # matchLabels, sorted by key
    expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.labels) and all(
            requirement.matches(labels) for requirement in self.expressions
        )

    def __str__(self) -> str:
        parts = [f"{key}={value}" for key, value in self.labels] + [str(e) for e in self.expressions]
        return ",".join(parts) or "everything"


def any_matches(selectors: Sequence[Selector], labels: Mapping[str, str]) -> bool:
    """Entries of a selector list are OR-ed, and an empty list selects everything (metallb.io's rule)."""
    return not selectors or any(selector.matches(labels) for selector in selectors)
