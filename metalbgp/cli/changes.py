"""One thing that happened, as `metalbgp watch` tells it. Pure.

In:  nothing. Out: Change, and words that several files share.
Elsewhere: what happened between two reports is node_changes.py and route_changes.py.
"""

from msgspec import Struct

UP = "Established"
SHUT = "Shut"  # by an order: somebody wants it so


class Change(Struct, frozen=True):
    """One line. `what` is stable, `message` is for people. `time` is the node's clock's: of the change where
    the report has it, else of the report; of the view itself it is ours."""

    time: str  # RFC 3339
    what: str
    message: str
    node: str = ""  # "": of the view itself
    peer: str = ""  # "": of the node
    prefix: str = ""
    services: tuple[str, ...] = ()
    count: int = 0  # of routes that the reports count and do not name
    why: str = ""
    reason: str = ""  # of a session that is not up: the class in model/reasons.py, where there is one


def counted(confirmed: int, wanted: int) -> str:
    return f"{confirmed:,} of {wanted:,} routes confirmed"
