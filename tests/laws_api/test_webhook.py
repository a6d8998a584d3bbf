"""The admission webhook, called by a real API server over TLS: what kubectl prints, what nothing may stop.

In:  the manifest's own webhook configuration with a URL in place of the Service, since nothing routes here.
Out: refusals and warnings as people read them; certificates that change under load; restores without us.
Elsewhere: every rule by itself is tests/unit/config/test_admit.py; on the lab it is called by its Service.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from metalbgp.cluster.client import Client
from metalbgp.cluster.errors import ClusterError, NotFound
from metalbgp.cluster.resources import (
    BGP_ADVERTISEMENTS,
    IP_ADDRESS_POOLS,
    POOL_POLICIES,
    SECRETS,
    SERVICES,
    VALIDATING_WEBHOOKS,
    VIRTUAL_IPS,
)
from metalbgp.controller import certificates
from metalbgp.controller.certificates import CA_LIFE, CA_RENEW
from metalbgp.model.names import WEBHOOK_CONFIGURATION, WEBHOOK_SECRET
from tests.apiserver import ApiServer, free_port
from tests.laws_api.hook import (
    NAMES,
    asked,
    emptied,
    pool,
    refused,
    registered,
    serving,
    stored,
    typed,
)
from tests.laws_api.rules import PLACE, SYSTEM, World, body, installed, until, world


@pytest.fixture(scope="module")
def server(apiserver: ApiServer) -> ApiServer:
    return installed(apiserver)


@pytest.fixture
async def it(server: ApiServer) -> AsyncIterator[World]:
    async with world(server) as one:
        await emptied(one)
        try:
            yield one
        finally:
            await emptied(one)


LAB = pool("lab", "198.51.100.0/28")


async def test_what_is_wrong_is_refused_with_object_field_reason_and_remedy(
    it: World, server: ApiServer
) -> None:
    async with asked(it) as one:
        code, _, said = await typed(server, "apply", "-f", "-", stdin=pool("lab", "198.51.100.7/31-8"))
        assert code == 1 and 'admission webhook "validation.metallb.io" denied the request' in said
        assert "IPAddressPool lab: spec.addresses[0]:" in said
        assert (await typed(server, "apply", "-f", "-", stdin=pool("lab", "198.51.100.0/28")))[0] == 0
        # At once, though the view of who judges may not have it yet; and an update is judged as well.
        _, _, said = await typed(server, "apply", "-f", "-", stdin=pool("over", "198.51.100.8/29"))
        assert "overlaps" in said and "lab" in said
        assert (await typed(server, "apply", "-f", "-", stdin=pool("over", "198.51.100.16/29")))[0] == 0
        _, _, said = await typed(server, "apply", "-f", "-", stdin=pool("over", "198.51.100.8/29"))
        assert "overlaps" in said
        stands = json.loads(await it.admin.get(IP_ADDRESS_POOLS, "over", SYSTEM))
        assert stands["spec"]["addresses"] == ["198.51.100.16/29"]
        elsewhere = pool("lab", "198.51.100.0/28").replace("metallb-system", "default")
        code, _, said = await typed(server, "apply", "-n", "default", "-f", "-", stdin=elsewhere)
        assert code == 1 and "create it in namespace metallb-system" in said
        answers = one.controller.metrics.admission
        assert answers.labels("IPAddressPool", "refused")._value.get() >= 4
        assert answers.labels("", "failed")._value.get() == 0


def advertisement(name: str, med: int | None) -> str:
    notes = {} if med is None else {"metalbgp.io/med": str(med)}
    about = {"name": name, "namespace": SYSTEM, "annotations": notes}
    return json.dumps(
        {"apiVersion": "metallb.io/v1beta1", "kind": "BGPAdvertisement", "metadata": about, "spec": {}}
    )


async def test_two_advertisements_of_one_route_are_changed_one_after_the_other_and_no_route_goes(
    it: World, server: ApiServer
) -> None:
    """A route has one MED. The first step waits, with a warning, and what was in force stays in force."""
    await it.start()
    async with asked(it) as one:

        async def conditions() -> str:
            found = json.loads(await it.admin.get(BGP_ADVERTISEMENTS, "a", SYSTEM)).get("status", {})
            return json.dumps(found.get("conditions"))

        def meds() -> set[int | None]:
            now = one.controller.configurator.scene().in_force.bgp_advertisements
            return {each.med for each in now} if len(now) == 2 else set()

        for text in (LAB, advertisement("a", None), advertisement("b", None)):
            code, _, said = await typed(server, "apply", "-f", "-", stdin=text)
            assert code == 0, said
        await until(lambda: asyncio.sleep(0, meds()), lambda seen: seen == {None})
        code, _, said = await typed(server, "apply", "-f", "-", stdin=advertisement("a", 50))
        assert code == 0 and "while BGPAdvertisement b says none for the same prefixes" in said
        assert "Warning: " in said and "until then" in said
        await until(conditions, lambda seen: "metadata.annotations.metalbgp.io/med" in seen)
        assert meds() == {None}
        code, _, said = await typed(server, "apply", "-f", "-", stdin=advertisement("b", 50))
        assert code == 0 and "Warning" not in said
        await until(lambda: asyncio.sleep(0, meds()), lambda seen: seen == {50})


async def test_a_file_in_the_worst_order_passes_with_warnings_and_deleting_in_that_order_does_not(
    it: World, server: ApiServer
) -> None:
    text = """
apiVersion: metallb.io/v1beta1
kind: BGPAdvertisement
metadata: {name: edge}
spec: {ipAddressPools: [lab], communities: [blue], peers: [tor]}
---
apiVersion: metallb.io/v1beta2
kind: BGPPeer
metadata: {name: tor}
spec: {myASN: 64513, peerASN: 64512, peerAddress: 10.0.0.1, bfdProfile: fast, passwordSecret: {name: tor}}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: segment}
spec: {ipAddressPools: [lab]}
---
apiVersion: metalbgp.io/v1alpha1
kind: PoolPolicy
metadata: {name: lab}
spec: {ipAddressPools: [lab]}
---
apiVersion: metalbgp.io/v1alpha1
kind: AddressReservation
metadata: {name: shop}
spec: {addresses: [198.51.100.3], service: {namespace: web, name: shop}}
---
apiVersion: metallb.io/v1beta1
kind: Community
metadata: {name: names}
spec: {communities: [{name: blue, value: "64512:1"}]}
---
apiVersion: metallb.io/v1beta1
kind: BFDProfile
metadata: {name: fast}
spec: {receiveInterval: 300}
"""
    async with asked(it) as one:
        code, _, said = await typed(server, "apply", "-f", "-", stdin=f"{text}---{LAB}")
        assert code == 0, said
        for words in (
            'BFDProfile "fast" does not exist',
            'no Community defines "blue"',
            'IPAddressPool "lab" does not exist',
            'BGPPeer "tor" does not exist',
            "no Secret tor of type kubernetes.io/basic-auth",
        ):
            assert any(line.startswith("Warning: ") and words in line for line in said.splitlines()), words
        await until(
            lambda: asyncio.sleep(0, len(one.controller.configurator.scene().objects)), lambda seen: seen == 8
        )
        for kind, name, by in (
            ("community", "names", "BGPAdvertisement edge"),
            ("bfdprofile", "fast", "BGPPeer tor"),
        ):
            code, _, said = await typed(server, "delete", kind, name)
            assert code == 1 and f"this would break {by}" in said
        # Once nobody names them they go, and the judge needs no time to have seen that.
        for kind, name in (
            ("bgpadvertisement", "edge"),
            ("bgppeer", "tor"),
            ("community", "names"),
            ("bfdprofile", "fast"),
        ):
            assert (await typed(server, "delete", kind, name))[0] == 0


async def test_a_protected_pool_keeps_what_is_in_use_and_any_other_says_who_would_lose(
    it: World, server: ApiServer
) -> None:
    await it.start()
    await it.pool("lab", "198.51.100.0/28")
    await it.policy("lab", protection="InUse")
    for name in ("one", "two"):
        await it.service(name)
    await it.has("one", "198.51.100.0")
    await it.has("two", "198.51.100.1")
    async with asked(it):
        for words, stdin in (
            (("delete", "ipaddresspool", "lab"), ""),
            (("apply", "-f", "-"), pool("lab", "198.51.100.1-198.51.100.15")),
        ):
            code, _, said = await typed(server, *words, stdin=stdin)
            assert code == 1 and "rules/one would lose 198.51.100.0" in said, said
            assert "PoolPolicy policy protects what is in use" in said
        # What takes nothing away passes: it grows, and it loses an end that nobody uses.
        for addresses in ("198.51.100.0/27", "198.51.100.0/29"):
            assert (await typed(server, "apply", "-f", "-", stdin=pool("lab", addresses)))[0] == 0
        await it.delete(POOL_POLICIES, "policy", SYSTEM)

        async def dropped() -> tuple[int, str, str]:
            return await typed(
                server, "apply", "--dry-run=server", "-f", "-", stdin=pool("lab", "198.51.100.1/32")
            )

        code, _, said = await until(dropped, lambda found: found[0] == 0)
        assert "Warning: rules/one would lose 198.51.100.0" in said
        await it.has("one", "198.51.100.0")


async def test_the_ca_is_replaced_under_load_and_no_question_goes_astray(it: World) -> None:
    port, clock = free_port(), {"now": datetime.now(UTC) - timedelta(hours=2)}
    old = certificates.step(None, NAMES, datetime.now(UTC) - (CA_LIFE - CA_RENEW) - timedelta(hours=1))
    assert old is not None
    await it.admin.create(
        SECRETS,
        body(
            SECRETS,
            {
                "metadata": {"name": WEBHOOK_SECRET},
                "data": {k: base64.b64encode(v).decode() for k, v in certificates.written(old).items()},
            },
        ),
        SYSTEM,
    )
    await registered(it, port, "Fail")
    async with serving(it, port, now=lambda: clock["now"]) as one:
        await until(lambda: refused(it), lambda said: "denied the request" in said)
        before = one.serving.context, await stored(it)
        assert before[1]["ca.crt"] == old.ca and before[1]["tls.crt"] != old.certificate
        answers: list[str] = []
        stop = asyncio.Event()

        async def load() -> None:
            async with Client(it.admin.access) as client:  # a connection of its own
                while not stop.is_set():
                    answers.append(await refused(World(client, client)))

        loads = [asyncio.create_task(load()) for _ in range(4)]
        await until(lambda: asyncio.sleep(0, len(answers)), lambda count: count > 20)
        clock["now"] = datetime.now(UTC)
        one.serving.look()
        await until(lambda: stored(it), lambda now: now["tls.crt"] != before[1]["tls.crt"])
        await until(lambda: asyncio.sleep(0, one.serving.missing()), lambda missing: not missing)
        done = len(answers)
        await until(lambda: asyncio.sleep(0, len(answers)), lambda count: count > done + 20)
        stop.set()
        await asyncio.gather(*loads)
        assert [said for said in answers if "denied the request" not in said] == []
        now = await stored(it)
        assert now["ca.crt"].count(b"BEGIN") == 2 and now["ca.key"] != old.ca_key
        print(f"{len(answers)} questions while the CA and the certificate were replaced, all answered")  # noqa: T201  # a figure, seen with -s


async def test_two_replicas_share_one_certificate_and_a_caBundle_that_others_wipe_comes_back(
    it: World,
) -> None:
    port = free_port()
    await registered(it, port)
    async with serving(it, port) as one, serving(it, free_port()) as two:
        assert one.serving.shown == two.serving.shown != b""
        found = json.loads(await it.admin.get(VALIDATING_WEBHOOKS, WEBHOOK_CONFIGURATION))
        whole = {key: value for key, value in found.items() if key != "metadata"}
        for entry in whole["webhooks"]:
            del entry["clientConfig"]["caBundle"]
        await it.admin.patch(VALIDATING_WEBHOOKS, WEBHOOK_CONFIGURATION, whole)
        await until(lambda: refused(it), lambda said: "denied the request" in said)
        await it.delete(SECRETS, WEBHOOK_SECRET, SYSTEM)
        await until(lambda: present(it), bool)
        await until(lambda: refused(it), lambda said: "denied the request" in said)
        await until(lambda: asyncio.sleep(0, one.serving.shown == two.serving.shown), bool)


async def present(it: World) -> bool:
    try:
        return bool(await stored(it))
    except NotFound:
        return False


async def test_with_all_controllers_away_everything_can_be_restored_and_what_is_wrong_says_so_later(
    it: World, server: ApiServer
) -> None:
    port = free_port()
    await registered(it, port)
    await it.start()
    async with serving(it, port):
        await until(lambda: refused(it), bool)
        await it.pool("lab", "198.51.100.0/30")
        for name in ("one", "two", "three"):
            await it.service(name)
        for at, name in enumerate(("one", "two", "three")):
            await it.has(name, f"198.51.100.{at}")
    await it.stop()
    # Nobody of ours runs. The backup comes back in any order, with another object that is wrong.
    saved = [await it.whole(name) for name in ("three", "one", "two")]
    for name in ("one", "two", "three"):
        await it.delete(SERVICES, name, PLACE)
    await it.delete(IP_ADDRESS_POOLS, "lab", SYSTEM)
    for claim in await it.all(VIRTUAL_IPS):
        await it.controller.delete(VIRTUAL_IPS, claim["metadata"]["name"])
    assert await refused(it) == ""
    for one in saved:
        status = one.pop("status")
        about = {key: one["metadata"][key] for key in ("name", "annotations")}
        spec = {key: value for key, value in one["spec"].items() if not key.startswith("clusterIP")}
        spec["ports"] = [{"port": port["port"]} for port in spec["ports"]]
        await it.admin.create(SERVICES, body(SERVICES, {"metadata": about, "spec": spec}), PLACE)
        await it.admin.patch(SERVICES, about["name"], {"status": status}, PLACE, subresource="status")
    for name, addresses in (("wrong", "nonsense"), ("lab", "198.51.100.0/30")):
        code, _, said = await typed(server, "apply", "-f", "-", stdin=pool(name, addresses))
        assert code == 0, said
    await it.start()
    await until(lambda: valid(it, "wrong"), lambda said: "nonsense" in said)
    await it.delete(IP_ADDRESS_POOLS, "wrong", SYSTEM)
    await it.delete(IP_ADDRESS_POOLS, "wrong", SYSTEM)
    await it.pool("more", "198.51.100.4/30")
    await it.service("four")
    await it.has("four", "198.51.100.3")
    for at, name in enumerate(("one", "two", "three")):
        await it.has(name, f"198.51.100.{at}")


async def valid(it: World, name: str) -> str:
    found = json.loads(await it.admin.get(IP_ADDRESS_POOLS, name, SYSTEM))
    return " ".join(one["message"] for one in found.get("status", {}).get("conditions") or ())


async def test_with_failure_policy_fail_nothing_passes_unjudged(it: World) -> None:
    port = free_port()
    await registered(it, port, "Fail")
    assert "failed calling webhook" in await until(lambda: refused(it), bool)
    with pytest.raises(ClusterError, match="failed calling webhook"):
        await it.pool("lab", "198.51.100.0/30")
    async with serving(it, port):
        await it.pool("lab", "198.51.100.0/30")
