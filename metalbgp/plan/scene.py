"""What a plan is made against: the configuration, the nodes, and where speakers live."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import Orders
from metalbgp.model.services import Node


class Scene(Struct, frozen=True):
    configuration: Configuration
    nodes: Mapping[str, Node] = {}
    live: Collection[str] = frozenset()  # names of nodes with a live speaker
    firsts: Mapping[str, str] = {}  # first address of a Service → node, where they are spread (spread.py)
    orders: Mapping[str, Orders] = {}  # by node, those that it obeys now
    ended: Mapping[str, Collection[tuple[str, str]]] = {}  # by node, (address, Service) without a Pod there
