"""`hold --local` and `unhold --local`: said to the speaker of this very node, without any API server.

In:  an address; the socket of the speaker's parent, inside its pod. Out: its answer, or why there is none.
Elsewhere: the other end is speaker/local_orders.py; the orders that everybody sees ordering.py.
"""

import json
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Final

from metalbgp.cli.errors import CliError, Unreachable, Usage
from metalbgp.cli.explain_address import address_of
from metalbgp.cli.ordering import Why, end
from metalbgp.cli.render import Answer

LIMIT: Final = 5.0  # seconds


def hold(text: str, why: Why, now: datetime) -> Answer:
    if not why.lasts:
        raise Usage("--local needs --for: nobody far away can see such a hold, nor take it back")
    address, expires = _address(text), end(why.lasts, now)
    author = why.author or f"{os.environ.get('USER', 'root')} in the pod"
    notes = _say({"address": address, "expires": expires, "reason": why.reason, "author": author})
    lines = (f"{address} is held on this node until {expires}", f"back: metalbgp unhold --local {address}")
    return Answer(kind="OrderList", items=(), names=(address,), lines=lines, notes=notes)


def unhold(text: str) -> Answer:
    address = _address(text)
    notes = _say({"address": address})
    lines = (f"{address} is no longer held on this node",)
    return Answer(kind="OrderList", items=(), names=(address,), lines=lines, notes=notes)


def _address(text: str) -> str:
    address = address_of(text)
    if not address:
        raise Usage(f'"{text}" is no address: --local asks no API server which one a Service has')
    return address


def _say(order: dict[str, str]) -> tuple[str, ...]:
    """What is to be noted about it. Raises where it was not obeyed."""
    path = Path(os.environ.get("METALBGP_RUN", "/run/metalbgp")) / "parent.sock"
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(LIMIT)
            link.connect(str(path))
            link.sendall(json.dumps({"hello": "query", "order": order}).encode() + b"\n")
            with link.makefile("rb") as lines:
                answer = json.loads(lines.readline() or b"{}").get("order", {})
    except PermissionError as error:
        raise Unreachable(f"{path}: only root may speak to the speaker") from error
    except (OSError, ValueError) as error:
        where = "run it inside the speaker's pod of that node: kubectl exec, or crictl exec on the node"
        raise Unreachable(f"no speaker answers at {path} ({error}); {where}") from error
    if answer.get("error") or "held" not in answer:
        raise CliError(answer.get("error", "the speaker closed without an answer"))
    if unwritten := answer.get("unwritten", ""):
        return (f"a restart of the speaker forgets it: it could not be written down ({unwritten})",)
    return ()
