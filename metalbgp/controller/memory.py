"""What becomes of an address that nobody holds: reserved, cooling until a time, or free. Pure.

In:  its VirtualIP, the Configuration in force, the time (aware; wall clock, for it outlives processes).
Out: the VirtualIP as it shall stand; None: it shall be gone, the address is free.
Elsewhere: the writes are addresses.py; who may have a kept address is allocate/.

Level-triggered: how long it cools is computed from `since` and the policy of now, so a policy that is edited
counts for what cools already.
"""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from metalbgp.model.configuration import Configuration, PoolPolicy
from metalbgp.model.services import identities
from metalbgp.model.virtualips import VirtualIP

FORM = "%Y-%m-%dT%H:%M:%SZ"


def written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(FORM)


def read(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, FORM).replace(tzinfo=UTC)
    except ValueError:
        return None


def reserved(address: str, configuration: Configuration, now: datetime) -> VirtualIP | None:
    """The VirtualIP that a reservation makes before any Service comes; None without reservation or pool."""
    reservation, pool = configuration.reservation_of(address), configuration.pool_of(address)
    if reservation is None or pool is None:
        return None
    return VirtualIP(
        address=address,
        pool=pool.name,
        phase="reserved",
        since=written(now),
        reservation=reservation.name,
        installation=configuration.installation,
    )


def after_release(vip: VirtualIP, configuration: Configuration, now: datetime) -> VirtualIP | None:
    """Its last holder went: is it reserved again, does it cool, or is it free?"""
    promised = reserved(vip.address, configuration, now)
    if promised is not None:
        return emptied(vip, promised)
    pool = configuration.pool_of(vip.address)
    policy = configuration.policy_of(pool.name) if pool else None
    if pool is None or policy is None or not _remembers(policy):
        return None
    names = {
        name for key, holder in sorted(vip.holders.items()) for name in identities(key, holder.address_id)
    }
    cooling = replace(
        vip,
        pool=pool.name,
        phase="cooling",
        since=written(now + timedelta(microseconds=999_999)),  # whole seconds, and none too few
        kept_for=tuple(sorted(names)),
        reservation="",
    )
    return emptied(vip, replace(cooling, until=_until(cooling, policy, now)))


def still(vip: VirtualIP, configuration: Configuration, now: datetime) -> VirtualIP | None:
    """A reserved or cooling VirtualIP as it shall stand now."""
    promised = reserved(vip.address, configuration, now)
    if promised is not None:
        same = vip.phase == "reserved" and (vip.reservation, vip.pool) == (
            promised.reservation,
            promised.pool,
        )
        return vip if same else emptied(vip, promised)
    pool = configuration.pool_of(vip.address)
    if vip.phase == "reserved" or pool is None:
        return None
    policy = configuration.policy_of(pool.name)
    if not _remembers(policy):
        return None
    until = _until(vip, policy, now)
    left = seconds_left(replace(vip, until=until), now)
    return None if left is not None and left <= 0 else replace(vip, pool=pool.name, until=until)


def seconds_left(vip: VirtualIP, now: datetime) -> float | None:
    """Until it is free for everybody; None: no end of its own."""
    end = read(vip.until) if vip.phase == "cooling" and vip.until else None
    return None if end is None else (end - now).total_seconds()


def _remembers(policy: PoolPolicy) -> bool:
    return policy.sticky or policy.reuse_delay > 0


def _until(vip: VirtualIP, policy: PoolPolicy, now: datetime) -> str:
    if policy.sticky and policy.sticky_for is None:
        return ""
    seconds = max(policy.reuse_delay, (policy.sticky_for or 0) if policy.sticky else 0)
    return written((read(vip.since) or now) + timedelta(seconds=seconds))


def emptied(vip: VirtualIP, wanted: VirtualIP) -> VirtualIP:
    """`wanted` over the object of `vip`: nobody holds it, and nothing of an announcement is left."""
    return replace(
        wanted,
        holders={},
        candidates=(),
        configuration=vip.configuration,
        uid=vip.uid,
        resource_version=vip.resource_version,
        created=vip.created,
        installation=vip.installation,
    )
