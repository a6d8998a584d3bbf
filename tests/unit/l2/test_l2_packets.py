"""The age of a frame by the kernel's stamp, while people set the wall clock."""

import socket
import struct
import time

import pytest

from metalbgp.clocks import age

SO_TIMESTAMPNS = 35


def stamped(moment: float) -> list[tuple[int, int, bytes]]:
    seconds = int(moment)
    return [(socket.SOL_SOCKET, SO_TIMESTAMPNS, struct.pack("ll", seconds, int((moment - seconds) * 1e9)))]


@pytest.mark.parametrize(
    ("jump", "seen"),
    [
        (0.0, 0.25),
        (-3600.0, 0.0),  # set back: fresh, so nobody is taken for dead
        (+3600.0, 3600.25),  # set forward: too old, so what was just then in a queue is dropped, once
    ],
)
def test_a_clock_that_jumps_costs_what_was_in_the_queue_and_nothing_later(
    monkeypatch: pytest.MonkeyPatch, jump: float, seen: float
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.25 + jump)
    assert age(stamped(1_800_000_000.0)) == pytest.approx(seen, abs=1e-3)
    assert age(stamped(1_800_000_000.25 + jump)) == pytest.approx(0.0, abs=1e-3)  # received after the jump


def test_a_frame_without_a_stamp_is_fresh() -> None:
    assert age([]) == 0.0
    assert age([(socket.SOL_SOCKET, SO_TIMESTAMPNS, b"short")]) == 0.0
