"""The annotations of a Service (metallb.md 2.1, trap 4)."""

from metalbgp.config.services import ServiceRequest, annotations


def test_the_first_spelling_wins_even_when_it_is_empty() -> None:
    both = {"metallb.io/address-pool": "", "metallb.universe.tf/address-pool": "production"}
    assert annotations(both).pool == ""
    assert (
        annotations({"metallb.io/loadBalancerIPs": "", "metallb.universe.tf/loadBalancerIPs": "x"}).addresses
        == ""
    )


def test_the_old_spelling_is_in_force_and_known_as_old() -> None:
    found = annotations({"metallb.universe.tf/address-pool": "production", "other/note": "x"})
    assert found == ServiceRequest(pool="production", deprecated=("metallb.universe.tf/address-pool",))


def test_all_annotations_are_read() -> None:
    found = annotations(
        {
            "metallb.io/address-pool": "p",
            "metallb.io/loadBalancerIPs": "10.0.0.1, 10.0.0.2",
            "metallb.io/allow-shared-ip": "key",
            "metallb.io/ip-allocated-from-pool": "p",
        }
    )
    assert found == ServiceRequest("p", "10.0.0.1, 10.0.0.2", "key", (), "p")


def test_no_annotations_ask_for_nothing() -> None:
    assert annotations(None) == annotations({}) == ServiceRequest()
