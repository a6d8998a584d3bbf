"""`--rewrite-stories` writes what is played into the files; the reviewer reads that difference like code."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-stories", action="store_true", help="write what is played into the stories")
