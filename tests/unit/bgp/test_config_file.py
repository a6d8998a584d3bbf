"""Why ExaBGP's own check refuses a file, in words for people; by ExaBGP itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metalbgp.bgp.config_file import refusal, render
from metalbgp.bgp.edge import ENVIRONMENT, configuration_directory
from metalbgp.bgp.values import Neighbor

WORD = "c2VjcmV0"
TOR = Neighbor(address="10.0.0.1", local_as=65001, peer_as=65002, router_id="10.0.0.9", password_base64=WORD)


def validated(folder: Path, good: str, bad: str) -> tuple[str, int]:
    """What it says of the file in which `good` is `bad`."""
    file = folder / "exabgp.next"
    file.write_text(render([TOR], "/bin/true", 7).replace(good, bad))
    command = [sys.executable, str(configuration_directory() / "launch.py"), "validate", str(file)]
    done = subprocess.run(
        command,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout, done.returncode


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("hold-time 90", "hold-time 1", "hold-time 1: holdtime must be zero or at least 3 seconds"),
        (WORD, 'c2V"jcm;V0', 'invalid syntax line 16: "V0;"'),
    ],
)
def test_what_exabgp_refuses_is_said_in_its_words(tmp_path: Path, good: str, bad: str, words: str) -> None:
    said, code = validated(tmp_path, good, bad)
    assert code == 1
    assert refusal(said, code) == words


def test_a_file_of_ours_is_refused_by_nobody(tmp_path: Path) -> None:
    assert validated(tmp_path, "", "") == ("", 0)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "exabgp validate ended with 1"),
        ("Traceback (most recent call last):\n  File\nValueError: 1\n\n", "ValueError: 1"),
    ],
)
def test_a_check_that_breaks_is_told_as_it_broke(said: str, words: str) -> None:
    assert refusal(said, 1) == words
