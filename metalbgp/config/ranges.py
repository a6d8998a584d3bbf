"""Entries of an IPAddressPool's spec.addresses: a CIDR, or `first-last`.

    read(text) -> Range          # Mistake with its remedy when it is neither
    widest(range) -> int         # length of the shortest prefix in it: no aggregate may be shorter

As MetalLB reads them (metallb.md 1.1): host bits of a CIDR are masked off (so 198.51.100.10/24 is the whole
/24, network and broadcast included), blanks around the dash are allowed, nothing else is guessed.
What it takes without a word and cannot have meant (mixed families, IPv4-mapped) is refused here.
"""

import re
from functools import lru_cache

from metalbgp.config.mistakes import Mistake
from metalbgp.model.addresses import BITS, AddressError, Range, from_int, parse, trimmed

_FORMS = 'write "a.b.c.d/28" or "first-last"'


def read(text: str) -> Range:
    if "/" not in text and "-" in text:
        return _span(*text.split("-", 1))
    if "/" in text:
        return _cidr(text)
    try:
        address = parse(trimmed(text))
    except AddressError as error:
        raise Mistake(f'"{text}" is neither a CIDR nor a range', _FORMS) from error
    length = BITS[address.version]
    raise Mistake(f'"{text}" is one address, not a CIDR or a range', f"write {address}/{length}")


def _cidr(text: str) -> Range:
    network, _, length = text.partition("/")
    if text != text.strip() or network != network.strip() or length != length.strip():
        raise Mistake(f'"{text}" has blanks in it', f'write "{"".join(text.split())}"')
    if "-" in text:
        raise Mistake(f'"{text}" mixes a range with a CIDR', 'write two entries, or "first-last" without "/"')
    try:
        address = parse(network)
    except AddressError as error:
        raise Mistake(str(error), _FORMS) from error
    bits = BITS[address.version]
    if not re.fullmatch(r"0*[0-9]{1,3}", length) or int(length) > bits:
        raise Mistake(f'"{text}": "/{length}" is not a prefix length', _remedy(network, length, bits))
    size = 1 << (bits - int(length))
    first = int(address) & ~(size - 1)
    try:
        parse(from_int(address.version, first + size - 1))
    except AddressError as error:  # its end may be an IPv4-mapped address where its beginning is none
        raise Mistake(f'"{text}" ends in IPv4 written as IPv6', "write the IPv4 range itself") from error
    return Range(version=address.version, first=first, last=first + size - 1)


def _remedy(network: str, length: str, bits: int) -> str:
    """A netmask or hostmask is understood well enough to say what it would be."""
    try:
        mask = int(parse(length))
    except AddressError:
        return f'write a number from 0 to {bits} after "/"'
    for ones in range(33):
        netmask = (1 << 32) - (1 << (32 - ones))
        if mask in (netmask, netmask ^ 0xFFFFFFFF):
            return f"write {network}/{ones}"
    return f'write a number from 0 to {bits} after "/"'


def _span(low: str, high: str) -> Range:
    try:
        first, last = parse(trimmed(low)), parse(trimmed(high))
    except AddressError as error:
        raise Mistake(str(error), _FORMS) from error
    if first.version != last.version:
        raise Mistake(f"{first} and {last} are of two families", "write one range a family")
    if int(first) > int(last):
        raise Mistake(f"{first} is after {last}", f'write "{last}-{first}"')
    return Range(version=first.version, first=int(first), last=int(last))


@lru_cache(maxsize=4096)
def widest(block: Range) -> int:
    return min(length for _, length in block.cidrs())


def shown(block: Range) -> str:
    """As a person would name it: a CIDR where it is one, else first-last."""
    pieces = list(block.cidrs())
    return f"{pieces[0][0]}/{pieces[0][1]}" if len(pieces) == 1 else str(block)
