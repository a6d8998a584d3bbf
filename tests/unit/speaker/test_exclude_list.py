"""MetalLB's list of interfaces to leave alone: read as it is written, again when it changes, never half."""

import asyncio
from pathlib import Path

import pytest

from metalbgp.l2.links import EXCLUDED
from metalbgp.speaker.exclude_list import ExcludeList

METALLB = """\
announcedInterfacesToExclude: ["^docker.*", "^cbr.*", "^dummy.*", "^virbr.*", "^lxcbr.*", "^veth.*", "^lo$",
  "^cali.*", "^tunl.*", "^flannel.*", "^kube-ipvs.*", "^cni.*", "^nodelocaldns.*"]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "excludel2.yaml"


def write(path: Path, text: str) -> None:
    """As the kubelet does: another file in its place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_without_the_config_map_our_own_list_is_in_force(path: Path) -> None:
    excludes = ExcludeList(path)
    assert not excludes.read()
    assert (excludes.patterns, excludes.problems) == (EXCLUDED, ())


def test_metallbs_own_config_map_is_read(path: Path) -> None:
    path.write_text(METALLB)
    excludes = ExcludeList(path)
    assert excludes.read()
    assert excludes.patterns[0] == "^docker.*"
    assert len(excludes.patterns) == 13
    assert not excludes.problems


def test_a_change_is_seen_and_the_end_of_the_config_map_too(path: Path) -> None:
    excludes = ExcludeList(path)
    write(path, METALLB)
    assert excludes.read()
    assert not excludes.read()
    write(path, "announcedInterfacesToExclude: [eth7]")
    assert excludes.read()
    assert excludes.patterns == ("eth7",)
    path.unlink()
    assert excludes.read()
    assert excludes.patterns == EXCLUDED


def test_a_bad_pattern_is_refused_by_name_and_the_rest_is_in_force(path: Path) -> None:
    path.write_text('announcedInterfacesToExclude: ["^eth(", "", 7, "^wan"]')
    excludes = ExcludeList(path)
    assert excludes.read()
    assert excludes.patterns == ("^wan",)
    first, second, third = excludes.problems
    assert first.startswith(
        "ConfigMap metallb-excludel2, excludel2.yaml, announcedInterfacesToExclude[0]: '^eth(' is no regular"
    )
    assert "every interface: remove it" in second
    assert "7 is no text: put it in quotes" in third


@pytest.mark.parametrize("text", ["", "[", "- a", "announcedInterfacesToExclude: eth0", "other: [a]", "\0"])
def test_a_broken_file_leaves_what_was_in_force(path: Path, text: str) -> None:
    excludes = ExcludeList(path)
    write(path, "announcedInterfacesToExclude: [eth7]")
    excludes.read()
    write(path, text)
    assert not excludes.read()
    assert excludes.patterns == ("eth7",)
    assert excludes.problems[0].endswith("stay in force")


async def test_the_reflex_is_told_at_once_and_when_other_patterns_are_in_force(path: Path) -> None:
    told: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
    task = asyncio.create_task(ExcludeList(path).follow(told.put, every=0.001))
    assert await asyncio.wait_for(told.get(), 5) == EXCLUDED
    write(path, "announcedInterfacesToExclude: [eth7]")
    assert await asyncio.wait_for(told.get(), 5) == ("eth7",)
    write(path, "announcedInterfacesToExclude: ['eth7']")  # the same in other words
    write(path, "announcedInterfacesToExclude: [eth8]")
    assert await asyncio.wait_for(told.get(), 5) == ("eth8",)
    task.cancel()
