"""Which addresses Services show, change by change, and which of them show one that they do not share. Pure.

In:  heard(Service, its sharing key, its addresses), in the API server's order; only(Services that there are).
Out: heard()'s answer in words.

A key that a Service had at any time since it got the address counts: while somebody joins it the user may
take the key away, or exchange it, and then one of the two has to go, which is not the same moment.
"""

from collections.abc import Collection


class Shown:
    def __init__(self) -> None:
        self._shown: dict[str, dict[str, set[str]]] = {}  # Service → address → its keys since then

    def only(self, names: Collection[str]) -> None:
        for name in self._shown.keys() - set(names):
            del self._shown[name]

    def heard(self, name: str, key: str, addresses: Collection[str]) -> list[str]:
        before = self._shown.pop(name, {})
        now = {address: {*before.get(address, ()), key} - {""} for address in addresses}
        found = [
            f"{address} is given to {name}, and {other} has it"
            for address in now.keys() - before.keys()
            for other, shown in self._shown.items()
            if address in shown and not now[address] & shown[address]
        ]
        self._shown[name] = now
        return found
