"""One JSON line per decision, at the level that the process asked for."""

import json

import pytest

from metalbgp import logs


def test_what_is_below_the_level_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("agent", "warn")
    logs.log("started")
    logs.warn("late", seconds=3)
    (line,) = capsys.readouterr().err.splitlines()
    assert {"process": "agent", "event": "late", "level": "warn", "seconds": 3}.items() <= json.loads(
        line
    ).items()


def test_none_is_silence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.setup("metalbgp", "none")
    logs.error("broken")
    assert not capsys.readouterr().err


def test_another_tests_silence_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    logs.log("started")
    assert json.loads(capsys.readouterr().err)["process"] == ""
