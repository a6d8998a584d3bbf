"""What all verbs share: help, usage, exit codes, colours only on a terminal, nothing cut, ages."""

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from metalbgp.cli import ages, options, render
from metalbgp.cli.main import VERBS
from metalbgp.cli.render import Answer, Table
from metalbgp.cli.status_lines import size_words
from tests.unit.cli.world import World

LONG = "a word and " * 30


def drawn(answer: Answer, **about: object) -> str:
    out = io.StringIO()
    render.draw(answer, wide=False, console=Console(file=out, highlight=False, **about))  # type: ignore[arg-type]  # options of rich
    return out.getvalue()


ANSWER = Answer(
    kind="X", items=(), table=Table(("STATE", "WHY"), (("Established", "-"), ("silent", LONG.strip())))
)


def test_a_terminal_folds_and_cuts_nothing() -> None:
    said = drawn(ANSWER, width=60, force_terminal=True, color_system=None)
    assert "".join(said.split()).count("aword") == 30
    assert max(map(len, said.splitlines())) <= 60


def test_a_narrow_window_breaks_lines_and_no_words_in_columns() -> None:
    said = drawn(ANSWER, width=20, force_terminal=True, color_system=None)
    assert said.splitlines() == render.text(ANSWER, "table").splitlines()


def test_states_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    green = drawn(ANSWER, width=200, force_terminal=True, color_system="standard")
    assert "\x1b[32mEstablished" in green
    assert "\x1b[" not in World().run("sessions").stdout


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    said = drawn(ANSWER, width=200, force_terminal=True, color_system="standard")
    assert "\x1b[3" not in said


def test_markup_in_a_cell_is_text() -> None:
    answer = Answer(kind="X", items=(), table=Table(("A",), (("[red]x[/red]",),)), lines=("[bold]y",))
    said = drawn(answer, width=80, force_terminal=True, color_system=None)
    assert "[red]x[/red]" in said
    assert "[bold]y" in said


def test_help_lists_every_verb() -> None:
    result = World().run("--help")
    assert result.exit_code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.stdout


GIVEN = ("hold", "shut", "drain", "release")  # these write


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help_and_the_options_that_all_share(verb: str) -> None:
    said = World().run(verb, "--help").stdout
    shared = ["--kubeconfig", "--context", "--install-namespace", "--debug"]
    if verb == "watch":
        shared += ["--output", "--node", "--peer"]
    elif verb.removeprefix("un") in GIVEN:
        shared += ["--output"]
    elif verb not in ("uninstall", "validate", "plan") and verb.removeprefix("un") not in GIVEN:
        shared += ["--output", "--namespace", "--all-namespaces", "--node", "--peer", "--problems", "--watch"]
    assert [option for option in shared if option not in said] == []


def test_a_wrong_verb_or_option_is_usage_and_the_near_miss_is_suggested() -> None:
    result = World().run("sesions")
    assert result.exit_code == 2
    assert 'there is no verb "sesions"; did you mean "sessions"?' in result.stderr
    assert World().run("sessions", "--nope").exit_code == 2
    assert World().run("sessions", "-o", "xml").exit_code == 2


def test_connection_options_stand_before_or_behind_the_verb() -> None:
    world = World()
    world.run("--context", "a", "--kubeconfig", "f", "status", "--context", "b")
    assert (world.connection.context, world.connection.kubeconfig) == ("b", "f")


def test_the_namespace_of_the_installation_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    monkeypatch.setenv("METALBGP_NAMESPACE", "lb")
    world.run("status")
    assert world.connection.installation == "lb"


def test_an_error_is_one_line_and_debug_shows_the_traceback() -> None:
    class Bug(World):
        async def request(self, *_: object, **__: object) -> bytes:
            raise RuntimeError("two\nlines")

    result = Bug().run("status")
    assert result.exit_code == 1
    assert result.stderr == "metalbgp: RuntimeError: two lines (a bug; --debug shows where)\n"
    with pytest.raises(RuntimeError):
        Bug().run("status", "--debug")


def test_the_connection_is_closed_whatever_happens() -> None:
    world = World()
    world.unreachable = True
    world.run("status")
    assert world.closed


def test_watch_looks_again_and_says_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    looks = 0

    async def pause(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            world.objects["pods"] = world.objects["pods"][:-1]
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(options.asyncio, "sleep", pause)
    result = world.run("status", "--watch")
    assert result.stdout.count("controller   2 of 2") == 2, "three looks, two different answers"
    assert result.exit_code == 0


def test_importing_the_cli_does_not_import_the_official_client() -> None:
    code = "import metalbgp.cli.main, sys; print('kubernetes' in sys.modules, 'rich' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0.2 s"),
        (42, "42s"),
        (252, "4m12s"),
        (720, "12m"),
        (5 * 3600 + 420, "5h07m"),
        (3 * 86400 + 7200, "3d02h"),
        (45 * 86400, "45d"),
    ],
)
def test_ages_are_read_at_a_glance(seconds: float, said: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    then = (now - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    assert ages.age(then, now) == said


def test_a_clock_that_is_ahead_gives_no_negative_age() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert ages.age("2026-01-01T00:00:05Z", now) == "0.0 s"
    assert ages.age("yesterday", now) == ""


@pytest.mark.parametrize(
    ("size", "said"), [(65536, "65,536"), (1 << 64, "2^64"), ((1 << 64) + 9, "about 2^64")]
)
def test_sizes_beyond_counting_are_powers(size: int, said: str) -> None:
    assert size_words(size) == said
