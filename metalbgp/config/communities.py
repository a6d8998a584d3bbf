"""Communities as BGPAdvertisements name them: `65000:100` (RFC 1997), `large:a:b:c` (RFC 8092), or an alias.

In:  text. Out: two or three numbers; Mistake. The well-known names are built in, as they are not in MetalLB;
an alias that a Community object defines comes before them. Elsewhere: who defines which alias is aliases.py.
"""

import re
from typing import Final

from metalbgp.config.mistakes import Mistake

Community = tuple[int, int] | tuple[int, int, int]


# IANA's registry of well-known communities.
WELL_KNOWN: Final[dict[str, tuple[int, int]]] = {
    "graceful-shutdown": (65535, 0),  # RFC 8326
    "blackhole": (65535, 666),  # RFC 7999
    "no-export": (65535, 65281),  # RFC 1997
    "no-advertise": (65535, 65282),  # RFC 1997
    "no-export-subconfed": (65535, 65283),  # RFC 1997
    "nopeer": (65535, 65284),  # RFC 3765
    "no-llgr": (65535, 7),  # RFC 9494
}


def well_known(text: str) -> tuple[int, int] | None:
    """By name, in whichever of the usual spellings: `no-export`, `NO_EXPORT`."""
    name = text.lower().replace("_", "-")
    return WELL_KNOWN.get("nopeer" if name == "no-peer" else name)


def is_alias(text: str) -> bool:
    return ":" not in text


def read(text: str) -> Community:
    large = text.startswith("large:")
    parts = text.removeprefix("large:").split(":")
    width, bits = (3, 32) if large else (2, 16)
    fits = len(parts) == width and all(re.fullmatch(r"0*[0-9]{1,10}", part) for part in parts)
    numbers = tuple(int(part) for part in parts) if fits else ()
    if not fits or max(numbers) >= 1 << bits:
        fix = (
            "write large:A:B:C, each from 0 to 4294967295"
            if large or len(parts) == 3
            else "write A:B, each from 0 to 65535"
        )
        raise Mistake(f'"{text}" is not a community', fix)
    if large:
        return numbers[0], numbers[1], numbers[2]
    return numbers[0], numbers[1]
