"""Each file beside this one is a law in its first lines, what a user does, and what comes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stories.story import Chapter, parts_of, play

STORIES = sorted(Path(__file__).parent.glob("*.yaml"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_holds(path: Path, request: pytest.FixtureRequest) -> None:
    assert path.read_text().startswith("# "), "a story begins with the law that it tells"
    chapters = play(path)
    assert chapters, "a story without expectation proves nothing"
    if request.config.getoption("--rewrite-stories", default=False):
        rewrite(path, chapters)
        return
    for number, chapter in enumerate(chapters, start=1):
        assert chapter.played == stripped(chapter.written), f"{path.name}, chapter {number}"


def stripped(value: Any) -> Any:
    """Block texts end in a newline, the played ones do not."""
    if isinstance(value, dict):
        return {key: stripped(one) for key, one in value.items()}
    return value.rstrip("\n") if isinstance(value, str) else value


class _Blocks(yaml.SafeDumper):
    """Texts of more than one line as blocks, as a person would write them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Blocks.add_representer(str, _text)


def rewrite(path: Path, chapters: list[Chapter]) -> None:
    parts = parts_of(path.read_text())
    for chapter in chapters:
        text = yaml.dump(
            {"expect": chapter.played}, Dumper=_Blocks, allow_unicode=True, sort_keys=False, width=1000
        )
        parts[chapter.part] = text.rstrip("\n")
    path.write_text("\n---\n".join(parts).rstrip("\n") + "\n")
