"""A fresh lab with one implementation on it, for a measurement, and taken down after it.

In:  an implementation's name and a lab's. Out: a lab whose pods of that implementation are ready.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from bench import metallb
from lab.cluster import Lab
from lab.settings import REPOSITORY
from lab.shell import step

_SYSTEM: Final = "metallb-system"


@contextmanager
def deployed(implementation: str, lab_name: str) -> Iterator[None]:
    """The lab of that name, made anew with nothing but the implementation."""
    before, apply = MAKERS[implementation]
    before()
    lab = Lab.up(lab_name, product=implementation == "metalbgp")
    try:
        apply(lab)
        with step(f"{implementation}: pods are ready"):
            for workload in ("deployment/controller", "daemonset/speaker"):
                lab.kubectl("-n", _SYSTEM, "rollout", "status", workload, "--timeout=180s", timeout=200)
        yield
    finally:
        lab.down()


def _nothing() -> None:
    """The product's image is built by the lab."""


def _apply_metalbgp(lab: Lab) -> None:
    lab.apply(REPOSITORY / "k8s" / "metalbgp.yaml")


def _apply_metallb(lab: Lab) -> None:
    lab.apply(metallb.manifest())


MAKERS: Final[dict[str, tuple[Callable[[], None], Callable[[Lab], None]]]] = {
    "metalbgp": (_nothing, _apply_metalbgp),
    "metallb": (metallb.images, _apply_metallb),
}
