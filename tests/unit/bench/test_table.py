"""A ratio stands only where two figures compare."""

from io import StringIO

import pytest
from rich.console import Console

from bench.table import BASELINES, Run, read, show, words


def shown(run: Run, *others: Run) -> str:
    console = Console(file=StringIO(), width=160)
    show(console, run, list(others))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_ratio_is_ours_over_the_baselines() -> None:
    text = shown(Run("ours", {"one.address.p50": 10.0}), Run("theirs", {"one.address.p50": 20.0}))
    assert "0.50" in text


def test_cpu_seconds_compare_only_between_runs_of_as_many_services() -> None:
    ours, other = Run("ours", {"cpu.all": 3.0}, services=10), Run("theirs", {"cpu.all": 6.0}, services=1040)
    assert "0.50" not in shown(ours, other)
    assert "0.50" in shown(ours, Run("theirs", {"cpu.all": 6.0}, services=10))


@pytest.mark.parametrize("path", sorted(BASELINES.glob("*.json")), ids=lambda path: path.stem)
def test_every_baseline_names_figures_that_are_measured(path: object) -> None:
    run = read(str(path))
    assert run.figures
    for figure in run.figures:
        assert words(figure)[1] in ("ms", "s", "MiB")
