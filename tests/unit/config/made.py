"""Makers of metallb.io objects for the tests of config/, from the fields of their spec."""

from typing import Any

from metalbgp.config import objects
from metalbgp.config.compile import Compiled
from metalbgp.config.compile import compile as compile_objects
from metalbgp.config.objects import AnyObject
from metalbgp.model.configuration import Configuration

NOTHING = Configuration(installation="metallb-system")


def made(kind: str, name: str, *, age: int = 0, generation: int = 1, **fields: Any) -> Any:
    """`age`: the higher, the older. `labels` and `notes` (annotations) are metadata, everything else spec."""
    document: dict[str, Any] = {
        "kind": kind,
        "metadata": {
            "name": name,
            "uid": fields.pop("uid", f"uid-{kind}-{name}"),
            "generation": generation,
            "creationTimestamp": f"2026-01-01T00:{59 - age:02}:00Z",
            "labels": fields.pop("labels", {}),
            "annotations": fields.pop("notes", {}),
        },
        "spec": fields,
    }
    return objects.from_mapping(document)


def pool(name: str, *addresses: str, **fields: Any) -> Any:
    return made("IPAddressPool", name, addresses=list(addresses), **fields)


def peer(name: str, **fields: Any) -> Any:
    whole: Any = {"myASN": 64513, "peerASN": 64512, "peerAddress": "10.0.0.1"} | fields
    return made("BGPPeer", name, **whole)


def bgp(name: str, **fields: Any) -> Any:
    return made("BGPAdvertisement", name, **fields)


def l2(name: str, **fields: Any) -> Any:
    return made("L2Advertisement", name, **fields)


def alias(name: str, **values: str) -> Any:
    return made(
        "Community", name, communities=[{"name": key, "value": value} for key, value in values.items()]
    )


def bfd(name: str, **fields: Any) -> Any:
    return made("BFDProfile", name, **fields)


def policy(name: str, *pools: str, **fields: Any) -> Any:
    return made("PoolPolicy", name, ipAddressPools=list(pools), **fields)


def reservation(name: str, *addresses: str, **fields: Any) -> Any:
    """For web/shop, unless `service` or `serviceSelector` says otherwise."""
    whose: Any = {} if fields.keys() & {"service", "serviceSelector"} else {"service": SHOP}
    return made("AddressReservation", name, addresses=list(addresses), **whose, **fields)


SHOP = {"namespace": "web", "name": "shop"}


def labelled(**labels: str) -> dict[str, Any]:
    return {"matchLabels": labels}


def expressed(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def compiled(*found: AnyObject, previous: Configuration = NOTHING) -> Compiled:
    return compile_objects(objects.gather(list(found)), previous)


def whys(result: Compiled) -> list[str]:
    return [one.explain() for one in result.invalid]
