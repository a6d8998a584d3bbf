"""What is asked for: one session with a router, and how quick this node may promise to be."""

from typing import Final, NamedTuple


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
