"""What is asked for: one session with a router, and how quick this node may promise to be."""

from typing import Final, NamedTuple

from metalbgp.bfd.machine import Memory


class Wanted(NamedTuple):
    """One session as the parent says it; intervals in milliseconds."""

    key: str
    peer: str
    local: str = ""  # "": the kernel's choice
    interface: str = ""
    multihop: bool = False
    receive: int = 300
    transmit: int = 300
    multiplier: int = 3
    passive: bool = False
    minimum_ttl: int = 254  # multihop: packets that crossed more routers than that leaves are refused

    @property
    def place(self) -> tuple[str, str, str, bool]:
        """What makes it another session when it changes."""
        return self.peer, self.local, self.interface, self.multihop


class Resume(NamedTuple):
    """A session that was Up in a process before this one, and until when it is known to have spoken."""

    memory: Memory
    port: int  # its source port
    at: float  # CLOCK_BOOTTIME

    def lives(self, now: float) -> bool:
        """Whether the other end still waits for us."""
        return 0.0 <= now - self.at < self.memory.patience * 1e-6


class Floor(NamedTuple):
    """What a busy machine keeps. Quicker is not promised, whatever is asked for."""

    interval: int  # ms
    multiplier: int

    def offer(self, wanted: Wanted) -> Wanted:
        return wanted._replace(
            receive=max(wanted.receive, self.interval),
            transmit=max(wanted.transmit, self.interval),
            multiplier=max(wanted.multiplier, self.multiplier),
        )


STEADY: Final = Floor(50, 1)  # in a realtime class
SHAKY: Final = Floor(300, 3)  # without one such a process is stalled for 100 ms and more
