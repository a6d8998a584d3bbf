"""`metalbgp pools [NAME]`: how full each pool is, who may use it, and who holds what.

In:  the configuration in force (pools, policies, reservations), VirtualIPs.
Out: one row a pool; with NAME the pool in words; with --addresses one row for every address that is not free.
     Exit code 1: a pool is full or nearly so.
Elsewhere: which address a Service gets is allocate/ (`metalbgp explain`).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import click
from msgspec import Struct

from metalbgp.cli.access import together
from metalbgp.cli.ages import age
from metalbgp.cli.errors import no_such
from metalbgp.cli.options import Look, Setup, common, run
from metalbgp.cli.render import Answer, Table, listed
from metalbgp.cli.status_lines import size_words
from metalbgp.model.addresses import buggy, family, parse
from metalbgp.model.configuration import Configuration, Pool, PoolPolicy, Quota
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.lines import range_text

COLUMNS = ("POOL", "ADDRESSES", "SIZE", "USED", "RESERVED", "COOLING", "FREE", "GIVEN TO", "POLICY")
ADDRESS_COLUMNS = ("ADDRESS", "PHASE", "SERVICES", "SINCE", "UNTIL", "KEPT FOR")
NEARLY: Final = 0.9  # of a pool's addresses of one family: from then on it is a problem
LABEL = 12  # width of the words in front


class Count(Struct, frozen=True):
    """Addresses of one family of a pool; exact, whatever its size."""

    size: int
    used: int = 0
    reserved: int = 0
    cooling: int = 0

    @property
    def free(self) -> int:
        return max(0, self.size - self.used - self.reserved - self.cooling)

    @property
    def short(self) -> bool:
        return self.size > 0 and self.free <= self.size * (1 - NEARLY)


class PoolRow(Struct, frozen=True):
    pool: str
    addresses: tuple[str, ...]
    ipv4: Count
    ipv6: Count
    given_to: str
    policy: str = ""
    problem: str = ""


class AddressRow(Struct, frozen=True):
    address: str
    pool: str
    phase: str
    services: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    kept_for: tuple[str, ...] = ()
    reservation: str = ""


@click.command("pools", short_help="How full each pool is, and who holds what.")
@click.argument("pool", default="", metavar="[POOL]")
@common
@click.option("--addresses", is_flag=True, help="Every address that is not free, with who holds it.")
@click.pass_obj
def command(setup: Setup, /, pool: str, addresses: bool, **given: Any) -> None:
    """How full each pool is: used, reserved, cooling and free; who may use it, and who holds what."""

    async def answer(look: Look) -> Answer:
        return await _answer(look, pool, addresses)

    run(setup, given, answer)


async def _answer(look: Look, name: str, addresses: bool) -> Answer:
    configuration, claims = await together(look.cluster.configuration(), look.cluster.claims())
    mine = [vip for vip in claims if vip.installation == configuration.installation]
    names = [pool.name for pool in configuration.pools]
    if name and name not in names:
        raise no_such("pool", name, names)
    pools = [pool for pool in configuration.pools if name in ("", pool.name)]
    rows = tuple(row_of(pool, configuration, mine) for pool in pools)
    wrong = [row for row in rows if row.problem]
    if addresses:
        found = tuple(one for pool in pools for one in held(pool, configuration, mine, look.wish.namespace))
        return Answer(
            kind="AddressList",
            items=found,
            names=tuple(one.address for one in found),
            table=Table(ADDRESS_COLUMNS, tuple(address_cells(one, look.now()) for one in found)),
            empty="every address is free",
            notes=look.cluster.notes,
        )
    shown = tuple(wrong) if look.wish.problems else rows
    words: list[str] = []
    if name:
        words = list(about(pools[0], rows[0], configuration, mine, look.now()))
    return Answer(
        kind="PoolList",
        items=shown,
        names=tuple(row.pool for row in shown),
        table=None if name else Table(COLUMNS, tuple(line for row in shown for line in cells(row))),
        lines=tuple(words or (f"{row.pool}: {row.problem}" for row in wrong)),
        empty="no pool is nearly full" if rows else "there is no IPAddressPool; apply one",
        notes=look.cluster.notes,
        problems=len(wrong),
    )


# ------------------------------------------------------------------ counting


def row_of(pool: Pool, configuration: Configuration, claims: Sequence[VirtualIP]) -> PoolRow:
    v4, v6 = (count(pool, version, configuration, claims) for version in (4, 6))
    short = [
        f"{word}: {one.free:,} of {size_words(one.size)} left"
        for word, one in (("IPv4", v4), ("IPv6", v6))
        if one.short
    ]
    return PoolRow(
        pool=pool.name,
        addresses=tuple(range_text(piece) for piece in pool.ranges),
        ipv4=v4,
        ipv6=v6,
        given_to=given_to(pool),
        policy=configuration.policy_of(pool.name).name,
        problem="; ".join(short),
    )


def count(pool: Pool, version: int, configuration: Configuration, claims: Sequence[VirtualIP]) -> Count:
    phases = Counter(vip.phase for vip in claims if family(vip.address) == version and vip.address in pool)
    waiting = unclaimed(pool, configuration, claims)
    pieces = [piece for piece in pool.ranges if piece.version == version]
    avoided = sum(buggy(piece) for piece in pieces) if pool.avoid_buggy_ips else 0
    return Count(
        size=sum(piece.size for piece in pieces) - avoided,
        used=phases["bound"] + phases["probing"] + phases["releasing"],
        reserved=phases["reserved"] + sum(family(address) == version for address in waiting),
        cooling=phases["cooling"],
    )


def unclaimed(pool: Pool, configuration: Configuration, claims: Sequence[VirtualIP]) -> list[str]:
    """Reserved addresses whose VirtualIP is still to come."""
    known = {vip.address for vip in claims}
    return [
        address
        for one in configuration.reservations
        for address in one.addresses
        if address in pool and address not in known
    ]


def held(
    pool: Pool, configuration: Configuration, claims: Sequence[VirtualIP], namespace: str
) -> Iterator[AddressRow]:
    """Every address that is not free, in order. `namespace`: only what its Services hold or are promised."""
    rows = [
        AddressRow(
            address=vip.address,
            pool=pool.name,
            phase=vip.phase,
            services=tuple(sorted(vip.holders)),
            since=vip.since,
            until=vip.until,
            kept_for=vip.kept_for,
            reservation=vip.reservation,
        )
        for vip in claims
        if vip.address in pool
    ]
    for address in unclaimed(pool, configuration, claims):
        rows.append(AddressRow(address=address, pool=pool.name, phase="reserved"))
    for row in sorted(rows, key=lambda row: (family(row.address), int(parse(row.address)))):
        reservation = configuration.reservation_of(row.address)
        whose = row.kept_for or ((reservation.whose(),) if reservation and not row.services else ())
        if namespace and not any(
            one.startswith((f"{namespace}/", f"{namespace}#")) for one in (*row.services, *whose)
        ):
            continue
        yield AddressRow(
            address=row.address,
            pool=row.pool,
            phase=row.phase,
            services=row.services,
            since=row.since,
            until=row.until,
            kept_for=whose,
            reservation=reservation.name if reservation else "",
        )


# ------------------------------------------------------------------ words


def cells(row: PoolRow) -> Iterator[tuple[str, ...]]:
    """One line for each family that the pool has."""
    first = True
    for one in (row.ipv4, row.ipv6):
        if not one.size:
            continue
        numbers = (size_words(one.size), f"{one.used:,}", f"{one.reserved:,}", f"{one.cooling:,}")
        where = ", ".join(text for text in row.addresses if (":" in text) == (one is row.ipv6))
        yield (
            row.pool if first else "",
            where,
            *numbers,
            size_words(one.free),
            row.given_to if first else "",
            (row.policy or "-") if first else "",
        )
        first = False


def address_cells(row: AddressRow, now: datetime) -> tuple[str, ...]:
    kept = ", ".join(row.kept_for) or "-"
    return (
        row.address,
        row.phase,
        listed(row.services, 20) or "-",
        age(row.since, now) or "-",
        row.until or "-",
        f"{kept} (AddressReservation {row.reservation})" if row.reservation else kept,
    )


def given_to(pool: Pool) -> str:
    """Who may have its addresses."""
    rule = pool.allocation
    parts = [] if pool.auto_assign else ["who names it"]
    if rule is not None and rule.restricts:
        if rule.namespaces or rule.namespace_selectors:
            where = [*rule.namespaces, *(f"namespaces with {one}" for one in rule.namespace_selectors)]
            parts.append(" or ".join(where))
        if rule.service_selectors:
            parts.append("Services with " + " or ".join(str(one) for one in rule.service_selectors))
    if rule is not None and rule.priority:
        parts.append(f"priority {rule.priority}")
    return ", ".join(parts) or "everybody"


def about(
    pool: Pool, row: PoolRow, configuration: Configuration, claims: Sequence[VirtualIP], now: datetime
) -> Iterator[str]:
    yield f"{pool.name}: {', '.join(row.addresses)}"
    for word, one in (("IPv4", row.ipv4), ("IPv6", row.ipv6)):
        if one.size:
            yield labelled(
                word,
                f"{size_words(one.size)} in all: {one.used:,} used, {one.reserved:,} reserved, "
                f"{one.cooling:,} cooling, {size_words(one.free)} free",
            )
    yield labelled("given to", row.given_to)
    policy = configuration.policy_of(pool.name)
    if policy.name:
        yield labelled(
            "policy", f"PoolPolicy {policy.name}: {'; '.join(policy_words(policy)) or 'says nothing'}"
        )
    for quota in policy.quotas:
        yield labelled("quota", quota_words(quota))
    spaces: Counter[str] = Counter()
    for vip in claims:
        if vip.address in pool:
            spaces.update({key.partition("/")[0] for key in vip.holders})
    for space, used in sorted(spaces.items()):
        yield labelled("namespace", f"{space} holds {used:,}")
    for reservation in configuration.reservations:
        addresses = [address for address in reservation.addresses if address in pool]
        if addresses:
            comment = f" ({reservation.comment})" if reservation.comment else ""
            yield labelled(
                "reserved", f"{', '.join(addresses)} for {reservation.whose()}, {reservation.name}{comment}"
            )
    for kept in held(pool, configuration, claims, ""):
        if kept.phase == "cooling":
            whom = f" for {', '.join(kept.kept_for)}" if kept.kept_for else ""
            until = f" until {kept.until}" if kept.until else " without end"
            yield labelled("cooling", f"{kept.address}{whom}{until}, since {age(kept.since, now) or 'now'}")
    if row.problem:
        yield labelled("problem", row.problem)
        yield labelled("remedy", f"add a range to spec.addresses of IPAddressPool {pool.name}")


def labelled(label: str, words: str) -> str:
    return f"  {label:{LABEL}}{words}"


def policy_words(policy: PoolPolicy) -> Iterator[str]:
    if policy.sticky:
        how_long = "without end" if policy.sticky_for is None else f"for {policy.sticky_for:,} s"
        yield f"kept for the Service that had it {how_long}"
    if policy.reuse_delay:
        yield f"given to others after {policy.reuse_delay:,} s"
    if (policy.sticky or policy.reuse_delay) and policy.reuse_early:
        yield "earlier when nothing else is free"
    if policy.second_family_from:
        yield f"the other family comes from {policy.second_family_from}"
    if policy.probe:
        yield "probed before first use"
    if policy.protect:
        yield "protected while in use"
    if policy.allow_cluster_addresses:
        yield "also addresses that the cluster itself uses"


def quota_words(quota: Quota) -> str:
    where = [*quota.namespaces, *(f"namespaces with {one}" for one in quota.namespace_selectors)]
    return f"{quota.limit:,} for {' and '.join(where)}" if where else f"{quota.limit:,} for each namespace"
