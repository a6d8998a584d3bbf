"""The words of a NOTIFICATION: RFC 4271 section 4.5, Cease subcodes of RFC 4486 and its successors.

In:  code and subcode, or the reason text of an ExaBGP `down` event.
Out: "Cease / Administrative Shutdown", as the operator of the router reads it in his own log; and the typed
     reason of it.
"""

import re
from typing import Final

from metalbgp.model.reasons import (
    BadPeerAS,
    BadRouterID,
    BFDDown,
    ConnectionClosed,
    HoldTimerExpired,
    Notification,
    Reason,
    SessionEnded,
    ShutDownThere,
    UnacceptableHoldTime,
    UnsupportedCapability,
)

BFD_DOWN: Final = 10  # subcode of Cease (RFC 9384)
CODES: Final = {
    1: "Message Header Error",
    2: "OPEN Message Error",
    3: "UPDATE Message Error",
    4: "Hold Timer Expired",
    5: "Finite State Machine Error",
    6: "Cease",
    7: "ROUTE-REFRESH Message Error",  # RFC 7313
    8: "Send Hold Timer Expired",  # RFC 9687
}
SUBCODES: Final = {
    (1, 1): "Connection Not Synchronized",
    (1, 2): "Bad Message Length",
    (1, 3): "Bad Message Type",
    (2, 1): "Unsupported Version Number",
    (2, 2): "Bad Peer AS",
    (2, 3): "Bad BGP Identifier",
    (2, 4): "Unsupported Optional Parameter",
    (2, 6): "Unacceptable Hold Time",
    (2, 7): "Unsupported Capability",  # RFC 5492
    (2, 11): "Role Mismatch",  # RFC 9234
    (3, 1): "Malformed Attribute List",
    (3, 2): "Unrecognized Well-known Attribute",
    (3, 3): "Missing Well-known Attribute",
    (3, 4): "Attribute Flags Error",
    (3, 5): "Attribute Length Error",
    (3, 6): "Invalid ORIGIN Attribute",
    (3, 8): "Invalid NEXT_HOP Attribute",
    (3, 9): "Optional Attribute Error",
    (3, 10): "Invalid Network Field",
    (3, 11): "Malformed AS_PATH",
    (5, 1): "Receive Unexpected Message in OpenSent State",  # RFC 6608
    (5, 2): "Receive Unexpected Message in OpenConfirm State",
    (5, 3): "Receive Unexpected Message in Established State",
    (6, 1): "Maximum Number of Prefixes Reached",
    (6, 2): "Administrative Shutdown",
    (6, 3): "Peer De-configured",
    (6, 4): "Administrative Reset",
    (6, 5): "Connection Rejected",
    (6, 6): "Other Configuration Change",
    (6, 7): "Connection Collision Resolution",
    (6, 8): "Out of Resources",
    (6, 9): "Hard Reset",  # RFC 8538
    (6, 10): "BFD Down",  # RFC 9384
}
CEASE: Final = 6
NUMBERS: Final = re.compile(r"notification (received|sent) \((\d{1,3}),(\d{1,3})\)")


def words(code: int, subcode: int) -> str:
    """The names of the numbers; unknown ones stay numbers."""
    name = CODES.get(code, f"code {code}")
    if subcode == 0:
        return name
    return f"{name} / {SUBCODES.get((code, subcode), f'subcode {subcode}')}"


TYPES: Final[dict[tuple[int, int], type[Notification]]] = {
    (2, 2): BadPeerAS,
    (2, 3): BadRouterID,
    (2, 4): UnsupportedCapability,
    (2, 6): UnacceptableHoldTime,
    (2, 7): UnsupportedCapability,
    (4, 0): HoldTimerExpired,
    (6, 2): ShutDownThere,
    (6, BFD_DOWN): BFDDown,
}
UNSAID: Final = "an error of ExaBGP's own ended it; the speaker's log has it as exabgp-log"
CLOSING: Final = "closing connection"  # ExaBGP's word for whatever ends a connection before BGP begins


def notification(code: int, subcode: int, *, ours: bool, text: str = "") -> Notification:
    """As a reason; `text`: what else it carried, if people can read it.

    A router writes words into a Cease alone (RFC 9003); in all others it sends back the bytes that it did not
    like, as FRR does with the number of a Bad Peer AS. Ours carry words of ExaBGP's.
    """
    kind = TYPES.get((code, subcode), Notification)
    readable = (ours or code == CEASE) and text.isprintable() and "\ufffd" not in text
    return kind(words=words(code, subcode), ours=ours, text=text if readable else "")


def ended(reason: str) -> Reason:
    """Why a session, or one try of it, ended, by the text of ExaBGP's `down` event."""
    found = NUMBERS.search(reason)
    if found is not None:
        return notification(int(found[2]), int(found[3]), ours=found[1] == "sent")
    return ConnectionClosed() if reason == CLOSING else SessionEnded(reason or UNSAID)
