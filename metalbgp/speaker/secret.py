"""The one Secret that speakers may read, as the controller writes it: BGP passwords, the heartbeat key."""

import base64

from msgspec import Raw, Struct

from metalbgp.cluster import decode
from metalbgp.model.names import HEARTBEAT_KEY


class SpeakerSecret(Struct, frozen=True):
    """What the controller gives to speakers alone."""

    passwords: dict[str, str]  # base64, by peer name; keys `peer.NAME`
    heartbeat_key: bytes = b""


def secret(raw: Raw) -> SpeakerSecret:
    found = decode.secret(raw)
    words = {
        key.removeprefix("peer."): base64.b64encode(word).decode()
        for key, word in found.data.items()
        if key.startswith("peer.")
    }
    return SpeakerSecret(words, found.data.get(HEARTBEAT_KEY, b""))
