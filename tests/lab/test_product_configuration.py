"""Bad configuration says so on the object that is wrong, and disturbs nothing else.

In:  pools, peers, Secrets and Services as users write them, also wrongly.
Out: the laws in the tests' names. Elsewhere: words and shapes are unit-tested in config/.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lab.settings import ROUTER
from tests.lab.product import POOLS, SECRETS, Product, processes_of, until

PASSWORD: Final = "correct-horse-battery"  # noqa: S105  # of the lab's own router
WRONG: Final = "incorrect-horse-battery"


def _valid(product: Product) -> None:
    until(
        "the controller finds everything valid",
        product.configuration_state,
        lambda state: state.get("result") == "Valid",
    )


def _invalid(product: Product, *words: str) -> None:
    until(
        f"the controller's ConfigurationState says {words}",
        product.configuration_state,
        lambda state: (
            state.get("result") == "Invalid" and all(word in state["errorSummary"] for word in words)
        ),
    )


def _told(product: Product, kind: str, name: str, *words: str) -> str:
    """An event on the object that has all these words."""
    found = until(
        f"an event on {kind} {name} says {words}",
        lambda: product.events(kind, name),
        lambda events: any(all(word in event for word in words) for event in events),
    )
    return next(event for event in found if all(word in event for word in words))


def test_a_malformed_pool_says_what_is_wrong_and_disturbs_nothing_else(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    with product.never_lost(address):
        with product.without_webhook():
            product.pool("broken", "203.0.113.300-203.0.113.310")
        _told(product, "IPAddressPool", "broken", "spec.addresses", "203.0.113.300", "Remedy:")
        _invalid(product, "IPAddressPool broken", "spec.addresses")
        product.service("other")  # the good pool goes on serving
        product.routed(product.address("other"))
        product.service("hopeful", pool="broken")
        until(
            "the Service that names the broken pool is told",
            lambda: product.events("Service", "hopeful", "AllocationFailed"),
        )
        product.pool("broken", "203.0.113.30-203.0.113.31")
        _valid(product)
        assert product.address("hopeful") == "203.0.113.30"


def test_a_pool_that_becomes_invalid_keeps_its_last_good_version_in_force(product: Product) -> None:
    product.bgp()
    product.pool("pool", "198.51.100.0/25")
    address = product.announced("web")
    with product.never_lost(address):
        with product.without_webhook():
            product.pool("pool", "198.51.100.0/33")
        _told(product, "IPAddressPool", "pool", "spec.addresses", "198.51.100.0/33")
        _invalid(product, "IPAddressPool pool")
        product.service("second")  # the last good version still gives
        assert product.address("second").startswith("198.51.100.")
        # It survives the controller as well: the last good stands in the SpeakerConfiguration.
        for name in product.pods("controller"):
            product.lab.kubectl("delete", "pod", "-n", "metallb-system", name, "--wait=false")
        product.all_ready()
        product.service("third")
        product.routed(product.address("third", limit=30))
        product.pool("pool", "198.51.100.0/25")
        _valid(product)


def test_of_two_overlapping_pools_the_younger_is_refused_by_name(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    with product.never_lost(address):
        with product.without_webhook():
            product.pool("younger", "198.51.100.200-198.51.101.10")
        _told(product, "IPAddressPool", "younger", "pool", "overlap")
        _invalid(product, "IPAddressPool younger", "pool")
        product.service("other")
        product.routed(product.address("other"))
        product.remove(f"{POOLS}/younger")
        _valid(product)


def test_an_unknown_pool_is_told_with_the_nearest_name_and_served_when_it_appears(product: Product) -> None:
    product.bgp()
    product.pool("production", "203.0.113.0/28")
    product.service("web", pool="prodution")
    event = _told(product, "Service", "web", "prodution", 'Did you mean "production"?', "Remedy:")
    assert event.startswith("UnknownPool")
    assert product.events("Service", "web", "AllocationFailed")
    assert product.ingress("web") == ""
    product.pool("prodution", "203.0.113.128/28")
    assert product.address("web") == "203.0.113.128"
    product.routed("203.0.113.128")


def test_a_peer_that_refuses_is_reported_and_the_other_session_goes_on(product: Product) -> None:
    product.bgp()
    address = product.announced("web")
    product.established()
    before = product.connections()
    with product.never_lost(address):
        # Nobody listens there: the control plane's host has no BGP.
        product.peer("closed", peerAddress="10.252.252.10", peerPort=1790)
        down = until(
            "every node reports the session down with its reason",
            lambda: {node.name: product.session(node.name, "closed") for node in product.lab.nodes},
            lambda rows: all(row.get("lastError") for row in rows.values()),
        )
        assert all(row["state"] != "Established" for row in down.values())
        assert all("refused" in row["lastError"].lower() for row in down.values()), down
        product.service("other")
        product.routed(product.address("other"))
    assert product.connections() == before


@contextmanager
def router_with_password(product: Product, password: str) -> Iterator[None]:
    """The router takes sessions of the nodes only with this password."""
    enter = ["configure terminal", "router bgp 64512"]
    product.lab.vtysh(*enter, f"neighbor NODES password {password}")
    try:
        yield
    finally:
        product.lab.vtysh(*enter, "no neighbor NODES password")


def secret(product: Product, name: str, password: str) -> None:
    body = {
        "metadata": {"name": name},
        "type": "kubernetes.io/basic-auth",
        "stringData": {"password": password},
    }
    product.remove(f"{SECRETS}/{name}")
    product.create(SECRETS, body)


def test_a_session_with_a_password_comes_up_with_the_right_one_alone(product: Product) -> None:
    product.pool()
    product.advertise()
    product.service("web")
    address = product.address("web")
    with router_with_password(product, PASSWORD):
        product.peer("tor", passwordSecret={"name": "tor-password"})
        until(
            "the missing Secret is the session's reason",
            lambda: product.session("n1", "tor"),
            lambda row: "Secret" in row.get("lastError", "") and row["state"] == "Refused",
        )
        secret(product, "tor-password", WRONG)
        until(
            "the session is tried and says why it stays down",
            lambda: product.session("n1", "tor"),
            lambda row: "password" in row.get("lastError", "").lower() and row["state"] != "Refused",
            40,
        )
        assert not product.sessions()
        assert not product.hops(address)
        secret(product, "tor-password", PASSWORD)
        product.established()
        product.routed(address)
        _nowhere_to_read(product, PASSWORD)
    _nowhere_to_read(product, WRONG)


def _nowhere_to_read(product: Product, password: str) -> None:
    """In no log, on no command line, in no object but the Secrets, in no file that others may read."""
    coded = base64.b64encode(password.encode()).decode()
    for component in ("controller", "speaker"):
        for name, pod in product.pods(component).items():
            said = product.logs(name)
            assert password not in said and coded not in said, f"the log of {name} holds the password"
            for pid, line in processes_of(pod).items():
                assert password not in line and coded not in line, f"command line of {pid}: {line}"
    for kind in ("speakerconfigurations", "nodestates", "bgppeers", "configurationstates", "events"):
        shown = product.lab.kubectl("get", kind, "-A", "-o", "yaml")
        assert password not in shown and coded not in shown, f"{kind} show the password"
    modes = product.lab.kubectl(
        *("exec", "-n", "metallb-system", product.speaker("n1")["metadata"]["name"], "--"),
        *("find", "/run/metalbgp", "-type", "f", "-perm", "/077"),
    )
    assert modes.strip() == "", f"readable by others: {modes}"
    assert ROUTER.address in product.lab.kubectl("get", "bgppeers", "-A", "-o", "yaml")
