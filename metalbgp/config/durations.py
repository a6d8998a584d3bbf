"""Go's duration texts ("90s", "1m30s", "500ms", "1.5h"), as holdTime and its sisters are written.

In: text. Out: whole nanoseconds; Mistake when it is no duration. Elsewhere: what is done with them, peers.py.
"""

import re
from decimal import Decimal
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
_PIECE: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
LONGEST: Final = 2**63 - 1  # Go counts in 64 bits


def nanoseconds(text: str) -> int:
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":  # the one number that needs no unit
        return 0
    total, at = Decimal(0), 0
    while piece := _PIECE.match(rest, at):
        total, at = total + Decimal(piece[1]) * UNITS[piece[2]], piece.end()
    if not rest or at != len(rest) or total > LONGEST:
        fix = (
            f'write "{text}s"' if re.fullmatch(r"\d{1,6}", text, re.ASCII) else 'write it as "90s" or "1m30s"'
        )
        raise Mistake(f'"{text}" is not a duration', fix)
    return sign * int(total)


def seconds(nanos: int) -> int:
    """Truncated towards zero, as MetalLB does."""
    return nanos // SECOND if nanos >= 0 else -(-nanos // SECOND)
