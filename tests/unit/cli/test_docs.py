"""docs/cli.md knows every verb and every option: a page that nothing checks lies within a year."""

from pathlib import Path

import click
import pytest

from metalbgp.cli.main import VERBS, cli

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_chapter_and_its_options_are_named(verb: str) -> None:
    assert f"\n## {verb}\n" in PAGE
    assert f"$ metalbgp {verb}" in PAGE
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    options = [name for one in command.params if isinstance(one, click.Option) for name in one.opts]
    assert [name for name in options if name.startswith("--") and f"`{name}`" not in PAGE] == []
