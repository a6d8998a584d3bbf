"""CPU of the pure function that chooses addresses: python -m bench allocation; no lab, no cluster.

In:  nothing; pools of several sizes, filled so that the free ones come last (what a search would walk) or are
     scattered (what makes the books long).
Out: a table of CPU µs for one allocation, CPU seconds for adopting Services at the controller's start, what
     an edit of one pool costs beside few and many others.
The one file here that knows the product: what happens inside of a function cannot be seen from outside.
"""

import random
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from bench import noise
from metalbgp.allocate.allocate import allocate
from metalbgp.allocate.claims import adopt
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.inventory.inventory import Inventory
from metalbgp.model.addresses import Range
from metalbgp.model.allocation import Allocation
from metalbgp.model.configuration import Configuration, Pool, PoolPolicy, Quota, Reservation
from metalbgp.model.services import Port, Service
from metalbgp.model.virtualips import Holder, VirtualIP

ROUNDS: Final = 2000
MOST: Final = 65_536  # Services that a cluster could have; no cluster fills a /8
FIRST: Final = int(IPv4Address("10.0.0.0"))
SIZES: Final = (24, 16, 8)
FILLS: Final = (0, 50, 99)
AIM: Final = 50.0  # µs for one allocation
ADOPTED: Final = 10_000
AIM_ADOPT: Final = 5.0  # s
EDITED: Final = 100  # pools
HELD: Final = 100  # addresses held in each of them


def main(console: Console) -> int:
    """Exit code 0: within the aims; 1: not."""
    worst = 0.0
    table = Table("pool", "held", "the free ones", "allocate µs", "asked, allocated, held, released µs")
    for length in SIZES:
        for fill in FILLS:
            for scattered in (False, True) if fill else (False,):
                held = min(fill * 2 ** (32 - length) // 100, MOST * fill // 100)
                alone, whole = _allocation(length, held, scattered)
                worst = max(worst, alone)
                where = "scattered" if scattered else "last" if held else "all"
                share = f"{held:,} ({held / 2 ** (32 - length):.1%})"
                table.add_row(f"/{length}", share, where, f"{alone:.1f}", f"{whole:.1f}")
    for words, key in (("quota, reserved, cooling", ""), ("all with one sharing key", "k")):
        alone, whole = _hard(key)
        worst = max(worst, alone)
        table.add_row("/16", words, "last", f"{alone:.1f}", f"{whole:.1f}")
    console.print(table)
    seconds = _adoption()
    console.print(f"one allocation: {worst:.1f} µs at worst, aim {AIM:.0f}", highlight=False)
    console.print(f"{ADOPTED:,} Services adopted: {seconds:.2f} s, aim {AIM_ADOPT:.0f}", highlight=False)
    few, many = (_edit(pools) for pools in (EDITED // 10, EDITED))
    words = f"one of {EDITED // 10} or of {EDITED} pools edited, {HELD} addresses held in each"
    console.print(f"{words}: {few:.0f} and {many:.0f} µs", highlight=False)
    console.print(str(noise.measure()), highlight=False)
    return int(worst > AIM or seconds > AIM_ADOPT)


def _allocation(length: int, held: int, scattered: bool) -> tuple[float, float]:
    size = 2 ** (32 - length)
    configuration = Configuration("bench", pools=(Pool("p", (Range(4, FIRST, FIRST + size - 1),)),))
    taken = Taken()
    among = range(min(size, max(held * 100 // 99, 1) + 1)) if held * 2 > size else range(size)
    offsets = random.Random(1).sample(among, held) if scattered else range(held)  # noqa: S311 - a fixed shape
    for number, offset in enumerate(offsets):
        taken.hold(str(IPv4Address(FIRST + offset)), use_of(_service(number)))
    return _measured(configuration, taken, _service(held))


def _hard(key: str) -> tuple[float, float]:
    """A /16 pool 99 % full, with everything that a policy may ask for, or shared by all who cannot share."""
    held = 2**16 * 99 // 100
    policy = PoolPolicy(name="p", pools=("p",), sticky=True, reuse_early=True, quotas=(Quota(limit=100_000),))
    names = [str(IPv4Address(FIRST + offset)) for offset in range(held)]
    promised = Reservation(name="r", addresses=tuple(names[-2000:-1000]), namespace="other", service="s")
    configuration = Configuration(
        "bench",
        pools=(Pool("p", (Range(4, FIRST, FIRST + 2**16 - 1),)),),
        policies=() if key else (policy,),
        reservations=() if key else (promised,),
    )
    taken = Taken()
    taken.reserve(configuration.reservations)
    for number, address in enumerate(names):
        if not key and number >= held - 1000:
            gone = VirtualIP(address=address, pool="p", phase="cooling", kept_for=(f"gone/{number}",))
            taken.learn(address, gone)
        elif key or number < held - 2000:
            taken.hold(address, use_of(replace(_service(number), sharing_key=key)))
    return _measured(configuration, taken, replace(_service(held), sharing_key=key))


def _measured(configuration: Configuration, taken: Taken, new: Service) -> tuple[float, float]:
    request = request_of(new)

    def whole() -> None:
        answer = allocate(request_of(new), configuration, taken, {})
        assert isinstance(answer, Allocation)  # noqa: S101 - a refusal would be another measurement
        taken.hold(answer.addresses[0], use_of(new))
        taken.release(answer.addresses[0], new.key)

    return _microseconds(lambda: allocate(request, configuration, taken, {})), _microseconds(whole)


def _microseconds(work: Callable[[], object]) -> float:
    began = time.thread_time()
    for _ in range(ROUNDS):
        work()
    return (time.thread_time() - began) / ROUNDS * 1e6


def _adoption() -> float:
    services = [_service(number, str(IPv4Address(FIRST + number))) for number in range(ADOPTED)]
    claims = list(_claims(services))
    began = time.thread_time()
    adopt(claims, services)
    return time.thread_time() - began


def _edit(pools: int) -> float:
    """CPU µs to find what one pool's edit touches, among the claims of so many pools."""
    inventory = Inventory("bench")
    size = 256
    before = Configuration(
        "bench",
        pools=tuple(
            Pool(f"p{n}", (Range(4, FIRST + n * size, FIRST + n * size + size - 1),)) for n in range(pools)
        ),
    )
    inventory.configure(before)
    for number in range(pools * HELD):
        home, offset = divmod(number, HELD)
        one = _service(number, str(IPv4Address(FIRST + home * size + offset)))
        inventory.put_service(one)
        holders = {one.key: Holder(uid=one.uid)}
        inventory.put_claim(VirtualIP(address=one.ingress[0], pool=f"p{home}", holders=holders))
    changed = replace(before.pools[0], auto_assign=False)
    after = replace(before, pools=(changed, *before.pools[1:]))
    rounds = 20
    began = time.thread_time()
    for _ in range(rounds):
        touched = inventory.configure(after)
        assert len(touched.services) == HELD  # noqa: S101 - who is touched is what is measured
        inventory.configure(before)
    return (time.thread_time() - began) / rounds / 2 * 1e6


def _claims(services: list[Service]) -> Iterator[VirtualIP]:
    for one in services:
        holders = {one.key: Holder(uid=one.uid, created=one.created, ports=("TCP/80",))}
        yield VirtualIP(address=one.ingress[0], pool="p", holders=holders)


def _service(number: int, *ingress: str) -> Service:
    return Service(
        namespace=f"team-{number % 50}",
        name=f"service-{number}",
        uid=f"uid-{number}",
        resource_version="1",
        created=f"2026-01-01T{number % 24:02}:{number % 60:02}:00Z",
        cluster_ips=("10.96.0.1",),
        ports=(Port(protocol="TCP", port=80),),
        ingress=ingress,
    )
