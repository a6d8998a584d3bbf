"""How much may go, or come, at once: the limits of a BGPPeer against a real router."""

from tests.lab.product import SYSTEM, Product, until

LIMIT = {"metadata": {"annotations": {"metalbgp.io/withdraw-limit": "1/1h"}}}
MOST = {"metadata": {"annotations": {"metalbgp.io/max-routes": "2"}}}


def test_a_mass_withdrawal_is_held_loudly_until_a_person_releases_it(product: Product) -> None:
    product.bgp()
    product.patch("bgppeer", "tor", LIMIT, SYSTEM)
    names = [f"web-{number}" for number in range(4)]
    for name in names:
        product.service(name)
    addresses = [product.address(name) for name in names]
    for address in addresses:
        product.routed(address)

    product.lab.kubectl("delete", "service", names[0])  # one is a change like any other
    product.routed(addresses[0], on=())
    product.lab.kubectl("delete", "bgpadvertisement", "all", "-n", SYSTEM)  # three at once are a mistake
    words = (
        "held back: more than 1 within 3600 s (annotation metalbgp.io/withdraw-limit); metalbgp release tor"
    )
    until(
        "an event on the peer",
        lambda: any(words in text for text in product.events("BGPPeer", "tor", "WithdrawalsHeld")),
    )
    until(
        "every node says so",
        product.nodestates,
        lambda states: all(
            one["sessions"][0].get("held", 0) == 3 for one in states.values() if one["sessions"]
        ),
    )
    lines = "\n".join(item["text"] for item in product.cli("status")["items"][0]["problems"])
    assert "n1 → tor: 3 withdrawals held back" in lines
    for address in addresses[1:]:
        product.routed(address)

    product.advertise()  # it was one: what is wanted again never was away
    until(
        "nothing is held any more",
        product.nodestates,
        lambda states: all(one["sessions"][0].get("held", 0) == 0 for one in states.values()),
    )
    product.lab.kubectl("delete", "bgpadvertisement", "all", "-n", SYSTEM)  # and now it is meant
    until("it is held", lambda: product.session("n1", "tor").get("held") == 3)
    product.told("release", "tor", "--reason", "the test means it")
    for address in addresses:
        product.routed(address, on=())


def test_a_router_gets_no_more_routes_than_it_takes_and_the_next_when_there_is_room(product: Product) -> None:
    product.bgp()
    product.patch("bgppeer", "tor", MOST, SYSTEM)
    names = [f"web-{number}" for number in range(3)]
    for name in names[:2]:
        product.service(name)
        product.routed(product.address(name))
    product.service(names[2])
    third = product.address(names[2])
    words = "1 route is not announced: a node announces 2 at most"
    until(
        "an event on the peer",
        lambda: any(words in text for text in product.events("BGPPeer", "tor", "MaximumReached")),
    )
    until("it waits", lambda: product.session("n1", "tor").get("beyond") == 1)
    product.routed(third, on=())
    product.endpoints(names[0], ())
    product.routed(third)
