"""Communities as BGPAdvertisements name them: `65000:100` (RFC 1997), `large:a:b:c` (RFC 8092), or an alias.

In:  text. Out: two or three numbers; Mistake. There are no built-in names: `no-export` works when a Community
object defines it (metallb.md 1.5). Elsewhere: which object defines an alias is compile.py's business.
"""

import re

from metalbgp.config.mistakes import Mistake

Community = tuple[int, int] | tuple[int, int, int]


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
