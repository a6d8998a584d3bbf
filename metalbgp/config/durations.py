"""Go's duration texts ("90s", "1m30s", "500ms", "1.5h"), as holdTime and its sisters are written.

In: text. Out: whole nanoseconds; Mistake when it is no duration. Elsewhere: what is done with them, peers.py.
"""

import re
from typing import Final

from metalbgp.config.mistakes import Mistake

SECOND: Final = 1_000_000_000
UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5 MICRO SIGN
    "μs": 1_000,  # U+03BC GREEK SMALL LETTER MU: Go takes both
    "ms": 1_000_000,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PIECE: Final = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
LARGEST: Final = 2**63  # Go counts in 64 bits, and so far downwards only


def nanoseconds(text: str) -> int:
    negative, rest = text.startswith("-"), text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":  # the one number that needs no unit
        return 0
    total, at = 0, 0
    while (piece := _PIECE.match(rest, at)) and (piece[1] or piece[2]):
        total, at = total + _whole(piece[1], UNITS[piece[3]]) + _part(piece[2], UNITS[piece[3]]), piece.end()
    if not rest or at != len(rest) or total >= LARGEST + negative:
        fix = (
            f'write "{text}s"' if re.fullmatch(r"\d{1,6}", text, re.ASCII) else 'write it as "90s" or "1m30s"'
        )
        raise Mistake(f'"{text}" is not a duration', fix)
    return -total if negative else total


def _whole(digits: str, unit: int) -> int:
    """`int` refuses thousands of digits; what is longer than 64 bits is too large anyway."""
    significant = digits.lstrip("0")
    return int(significant or "0") * unit if len(significant) < 20 else 2 * LARGEST


def _part(digits: str | None, unit: int) -> int:
    """What follows the point, in floating point as Go does it: 0.3333333333333333333h is 20 minutes there."""
    fraction, scale = 0, 1.0
    for digit in digits or "":
        if fraction > (LARGEST - 1) // 10 or fraction * 10 + int(digit) > LARGEST:
            break
        fraction, scale = fraction * 10 + int(digit), scale * 10
    return int(float(fraction) * (float(unit) / scale))


def seconds(nanos: int) -> int:
    """Truncated towards zero, as MetalLB does."""
    return nanos // SECOND if nanos >= 0 else -(-nanos // SECOND)
