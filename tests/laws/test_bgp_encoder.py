"""Whatever a user writes, ExaBGP's file holds the same words in the same places, and none of a value's own.

In:  neighbours whose texts are anything, as they would be if every check before this one were missing.
Elsewhere: the line protocol's commands are tests/unit/bgp/test_wire.py.
"""

import base64
import re
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from metalbgp.bgp.config_file import render
from metalbgp.bgp.values import BadNeighbor, Neighbor, check

PLAIN = Neighbor(address="192.0.2.1", local_as=65001, peer_as=65101, router_id="192.0.2.10", name="tor")
HARMLESS: dict[str, Any] = {
    "address": "192.0.2.1",
    "router_id": "192.0.2.10",
    "local_address": "192.0.2.10",
    "interface": "eth0",
    "password_base64": "eA==",
    "name": "tor",
}
NASTY = st.text(st.sampled_from(list("\"'{};#\\\n\r\t\0 %,[]()$-_.@=/") + list("aeiot019") + ["é", "\u2028"]))
ADDRESSES = st.sampled_from(["192.0.2.1", "2001:db8::1", "fe80::1", "0.0.0.0", "::", "::ffff:1.2.3.4"])
SECRETS = st.binary(max_size=90).map(lambda secret: base64.b64encode(secret).decode())
TEXTS = st.one_of(NASTY, st.text(max_size=20), ADDRESSES, st.builds(str.__add__, ADDRESSES, NASTY), SECRETS)
VALUE = re.compile(r"[A-Za-z0-9:.+/=@_-]+")  # no quote, brace, semicolon, blank or line end


def words(neighbor: Neighbor) -> list[list[str]]:
    """The file, word by word; quotes, braces and semicolons are words of their own."""
    return [re.findall(r'["{};]|[^\s"{};]+', line) for line in render([neighbor], "true", 1).split("\n")]


@given(st.dictionaries(st.sampled_from(sorted(HARMLESS)), TEXTS, min_size=1))
@example({"address": "192.0.2.1 { } neighbor 192.0.2.2"})
@example({"interface": "eth0;\nrun"})
@example({"password_base64": base64.b64encode(b'";\nshutdown').decode()})
@example({"name": 'tor";\n}\nprocess x { run /bin/sh; }'})
def test_a_text_is_refused_or_stands_as_one_word_where_a_harmless_one_would(texts: dict[str, str]) -> None:
    try:
        good = check(replace(PLAIN, **texts))
    except BadNeighbor:
        return
    harmless = {name: HARMLESS[name] if getattr(good, name) else getattr(good, name) for name in texts}
    found, model = words(good), words(replace(PLAIN, **harmless, families=good.families))
    assert [len(line) for line in found] == [len(line) for line in model]
    for line, like in zip(found, model, strict=True):
        for word, other in zip(line, like, strict=True):
            assert word == other or VALUE.fullmatch(word)
