"""Addresses, ranges of them, and the one name that each address has in the cluster.

In:  text as users and Kubernetes write it.
Out: canonical text (`str`, the form every other value carries) and Range for arithmetic.
Elsewhere: what a pool's `addresses` may contain is config/ranges.py; who holds an address is virtualips.py.

Addresses travel as canonical text because they come from JSON, go to JSON and stand in every message;
only Range and the allocator need numbers.
"""

from collections.abc import Iterator
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, summarize_address_range
from typing import Literal

from msgspec import Struct

Family = Literal[4, 6]
BITS: dict[int, int] = {4: 32, 6: 128}
BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


LONGEST_INTERFACE = 15  # IFNAMSIZ - 1


class AddressError(ValueError):
    """The text is not an address; the message says why and what to write instead."""


@lru_cache(maxsize=65536)
def parse(text: str) -> IPv4Address | IPv6Address:
    """Read one address the way Go's net/netip does: no leading zeros, no zone, no IPv4-mapped IPv6."""
    try:
        if ":" not in text:
            return IPv4Address(text)
        address = IPv6Address(text)
    except AddressValueError as error:
        raise AddressError(f'"{text}" is not an IP address') from error
    if address.ipv4_mapped is not None:
        raise AddressError(f'"{text}" is IPv4 written as IPv6; write {address.ipv4_mapped}')
    if address.scope_id is not None:
        raise AddressError(f'"{text}" carries a zone; write it without "%{address.scope_id}"')
    return address


def trimmed(text: str) -> str:
    """Without the blanks that Go trims; str.strip() takes four control characters more (U+001C to U+001F)."""
    return text.strip(BLANKS)


def canonical(text: str) -> str:
    """The one spelling of an address (RFC 5952 for IPv6). Raises AddressError."""
    return str(parse(text))


def family(address: str) -> Family:
    """4 or 6, from the text alone."""
    return 6 if ":" in address else 4


def host_prefix(address: str) -> str:
    """The /32 or /128 of one address."""
    return f"{address}/{BITS[family(address)]}"


def host_of(prefix: str) -> str:
    """The address that a prefix is the /32 or /128 of; "" when it is wider."""
    address, _, length = prefix.partition("/")
    return address if length == str(BITS[family(address)]) else ""


def from_int(version: int, number: int) -> str:
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))


def claim_name(address: str) -> str:
    """The name of the VirtualIP of an address: IPv4 as it is, IPv6 written out with dashes (contracts.md)."""
    parsed = parse(address)
    return parsed.exploded.replace(":", "-") if parsed.version == 6 else str(parsed)


def address_of_claim(name: str) -> str:
    """The address that a VirtualIP of this name stands for. Raises AddressError."""
    address = canonical(name.replace("-", ":") if "-" in name else name)
    if claim_name(address) != name:
        raise AddressError(f'"{name}" is not how metalbgp writes {address}; write {claim_name(address)}')
    return address


def prefix_of(address: str, length: int) -> str:
    """The prefix of `length` bits that holds the address, as `network/length`."""
    parsed = parse(address)
    host_bits = BITS[parsed.version] - length
    return f"{from_int(parsed.version, int(parsed) >> host_bits << host_bits)}/{length}"


class Range(Struct, frozen=True, order=True):
    """Addresses first..last of one family, both included."""

    version: Family
    first: int
    last: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, address: str) -> bool:
        parsed = parse(address)
        return parsed.version == self.version and self.first <= int(parsed) <= self.last

    def overlaps(self, other: "Range") -> bool:
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def cidrs(self) -> Iterator[tuple[str, int]]:
        """The fewest prefixes that make up the range: (network, length) in ascending order."""
        low, high = self.first, self.last
        pieces = (
            summarize_address_range(IPv4Address(low), IPv4Address(high))
            if self.version == 4
            else summarize_address_range(IPv6Address(low), IPv6Address(high))
        )
        for network in pieces:
            yield str(network.network_address), network.prefixlen

    def __str__(self) -> str:
        return f"{from_int(self.version, self.first)}-{from_int(self.version, self.last)}"


class Occupied(Struct, frozen=True):
    """Addresses that the cluster itself uses: a Node's, the Pod networks, the Service networks."""

    range: Range
    owner: str  # for messages: "Node n1", "the Pod network of Node n1"


def range_from_text(text: str) -> Range:
    """Read back what str(Range) wrote."""
    low, high = (parse(part) for part in text.split("-"))
    return Range(version=low.version, first=int(low), last=int(high))


def buggy(piece: Range) -> int:
    """How many addresses of a range avoidBuggyIPs leaves out: IPv4 ones that end in .0 or .255."""
    if piece.version == 6:
        return 0

    def up_to(number: int) -> int:  # of 0..number
        return (number + 256) // 256 + (number + 1) // 256

    return up_to(piece.last) - (up_to(piece.first - 1) if piece.first else 0)


def is_interface(name: str) -> bool:
    """Whether a network device may be called so, and its name can stand in any file and message as it is."""
    return (
        0 < len(name) <= LONGEST_INTERFACE
        and name.isascii()
        and all(c.isalnum() or c in "-_.@" for c in name)
    )
