"""`metalbgp hold --local`, from the command line to the agent: no API server has a part in it."""

import subprocess
import sys

import pytest

from tests.wire.bgp_lab import ROOT, Lab, Speaker

ADDRESS = "198.51.100.7"


def metalbgp(speaker: Speaker, *words: str) -> "subprocess.CompletedProcess[str]":
    """As in the pod: nothing but the speaker's socket."""
    environment = {"METALBGP_RUN": str(speaker.run), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "metalbgp.cli", *words]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )


def test_what_is_said_in_the_pod_reaches_the_agent_and_outlives_the_parent(lab: Lab) -> None:
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.until(lambda: agent.orders == [], "the parent says that there is none")
    given = metalbgp(lab.speaker, "hold", "--local", ADDRESS, "--for", "1h", "--reason", "fibre work")
    assert (given.returncode, given.stderr) == (0, "")
    assert given.stdout.startswith(f"{ADDRESS} is held on this node until ")

    def addresses() -> list[str]:
        return [one["address"] for one in agent.orders or ()]

    agent.until(lambda: addresses() == [ADDRESS], "the order")
    assert agent.orders is not None and agent.orders[0]["reason"] == "fibre work"
    lab.speaker.kill()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.until(lambda: addresses() == [ADDRESS], "the order, from the disk")
    taken = metalbgp(lab.speaker, "unhold", "--local", ADDRESS)
    assert taken.stdout == f"{ADDRESS} is no longer held on this node\n"
    agent.until(lambda: agent.orders == [], "its end")
    again = metalbgp(lab.speaker, "unhold", "--local", ADDRESS)
    assert again.returncode == 1 and "is not held on this node's own socket" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("hold", "--local", ADDRESS), 2, "--local needs --for"),
        (("hold", "--local", "web/shop", "--for", "1h"), 2, '"web/shop" is no address'),
        (("hold", "--local", ADDRESS, "--for", "1h", "--node", "n1"), 2, "leave --node out"),
        (("hold", "--local", ADDRESS, "--for", "1h"), 1, "no speaker answers at "),
    ],
)
def test_what_cannot_be_said_names_its_reason(lab: Lab, words: tuple[str, ...], code: int, said: str) -> None:
    found = metalbgp(lab.speaker, *words)
    assert found.returncode == code and said in found.stderr
    assert "Traceback" not in found.stderr
