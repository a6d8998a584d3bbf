"""Extended communities (RFC 4360, RFC 5668): eight bytes as one number, and as people write them.

In:  `target:64512:30`, `origin:64512:1`; a link's bandwidth. Out: numbers, and texts back.
Elsewhere: which routes carry one is select/; who may write one is config/extensions.py.
"""

import struct
from typing import Final

TRANSITION: Final = 23456  # AS_TRANS (RFC 6793): where a field has 16 bits, for numbers that need more
SUBTYPES: Final = {"target": 0x02, "origin": 0x03}  # RFC 4360 sections 4 and 5
BANDWIDTH: Final = 0x4004  # draft-ietf-idr-link-bandwidth: not passed on to other ASes
MEGABIT: Final = 125_000  # bytes


def extended(kind: str, asn: int, number: int) -> int:
    """A route target or origin; ValueError when the two numbers do not fit together into six bytes."""
    subtype = SUBTYPES[kind]
    if 0 <= asn <= 0xFFFF and 0 <= number <= 0xFFFFFFFF:
        return int.from_bytes(struct.pack("!BBHI", 0x00, subtype, asn, number), "big")
    if 0 <= asn <= 0xFFFFFFFF and 0 <= number <= 0xFFFF:
        return int.from_bytes(struct.pack("!BBIH", 0x02, subtype, asn, number), "big")
    raise ValueError(f"{kind}:{asn}:{number} does not fit: one number has 32 bits, the other 16")


def bandwidth(asn: int, megabits: int) -> int:
    """Weighs a path against others to the same prefix (weighted ECMP). The wire counts bytes a second."""
    own = asn if asn <= 0xFFFF else TRANSITION
    return int.from_bytes(struct.pack("!HHf", BANDWIDTH, own, float(megabits * MEGABIT)), "big")


def is_bandwidth(value: int) -> bool:
    return value >> 48 == BANDWIDTH


def text(value: int) -> str:
    raw = value.to_bytes(8, "big")
    kinds = {subtype: kind for kind, subtype in SUBTYPES.items()}
    if is_bandwidth(value):
        _, asn, rate = struct.unpack("!HHf", raw)
        return f"bandwidth:{asn}:{round(rate / MEGABIT)}M"
    if raw[0] == 0x00 and raw[1] in kinds:
        _, asn, number = struct.unpack("!HHI", raw)
        return f"{kinds[raw[1]]}:{asn}:{number}"
    if raw[0] == 0x02 and raw[1] in kinds:
        _, asn, number = struct.unpack("!HIH", raw)
        return f"{kinds[raw[1]]}:{asn}:{number}"
    return f"0x{value:016x}"


def from_text(written: str) -> int:
    """What text() wrote, or a user; ValueError."""
    if written.startswith("0x"):
        return int(written, 16)
    kind, asn, number = written.split(":")
    if kind == "bandwidth":
        return bandwidth(int(asn), int(number.removesuffix("M")))
    if kind not in SUBTYPES or not (asn.isdecimal() and number.isdecimal() and written.isascii()):
        raise ValueError(f'"{written}" is not target:AS:NUMBER or origin:AS:NUMBER')
    return extended(kind, int(asn), int(number))
