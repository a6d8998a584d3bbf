"""One lab with the product on it for the session, and a clean slate before and after each test.

In:  LAB_NAME (default `pytest`); LAB_KEEP=1 uses a lab of that name that is up, and leaves it up, which makes
     a single test as quick as the test itself.
Out: the fixture `product`; a failed test shows VirtualIPs, NodeStates, logs and the router's table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.cluster import Lab
from lab.shell import LabError
from tests.lab.product import MANIFEST, Product


@pytest.fixture(scope="session")
def installed() -> Iterator[Product]:
    name = os.environ.get("LAB_NAME", "pytest")
    keep = bool(os.environ.get("LAB_KEEP"))
    try:
        lab = Lab.attach(name) if keep else Lab.up(name, product=True)
    except LabError:
        if not keep:
            raise
        lab = Lab.up(name, product=True)
    try:
        lab.apply(MANIFEST)
        product = Product(lab)
        product.all_ready(90)
        yield product
    finally:
        if not keep:
            lab.down()


@pytest.fixture
def product(installed: Product) -> Iterator[Product]:
    installed.clean()
    yield installed
    installed.clean()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    held = getattr(item, "funcargs", {}).get("product")
    if report.when == "call" and report.failed and isinstance(held, Product):
        report.sections.append(("the lab", held.picture()))
    return report
