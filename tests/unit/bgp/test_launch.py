"""The mends of exabgp-conf/launch.py, each in a process of its own: they change ExaBGP's modules."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONF = Path(__file__).resolve().parents[3] / "exabgp-conf"


def python(code: str) -> str:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(CONF)!r})\nimport launch\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("jump", [86400, -86400])
def test_a_step_of_the_wall_clock_expires_no_session_and_stops_no_keepalive(jump: int) -> None:
    """Trap 8: hold, keepalive and reconnect timers read time.time()."""
    code = f"""
launch.mend()
import time
from exabgp.logger import log
log.debug = lambda *_, **__: None
from exabgp.bgp.timer import ReceiveTimer, SendTimer
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.reactor.delay import Delay
receive, send, delay = ReceiveTimer(lambda: "s", 9, 4, 0), SendTimer(lambda: "s", HoldTime(9)), Delay()
real, steady, ahead = time.time, time.monotonic, [0]
time.time = lambda: real() + {jump}
receive.check_ka_timer()
print(send.need_ka(), delay.backoff())
time.monotonic = lambda: steady() + 4
print(send.need_ka(), delay.backoff())
"""
    assert python(code).splitlines() == ["False False", "True False"]


ROUTES = """
from exabgp.protocol.family import AFI, SAFI
from exabgp.rib.outgoing import OutgoingRIB
from exabgp.bgp.message import Action
from exabgp.rib.change import Change
from exabgp.bgp.message.update.nlri.inet import INET
from exabgp.bgp.message.update.nlri.cidr import CIDR
from exabgp.bgp.message.update.attribute import Attributes, MED
from exabgp.protocol.ip import IP
from exabgp.logger import log
log.debug = lambda *_, **__: None
family = (AFI.ipv4, SAFI.unicast)
def change(prefix, med, action=Action.ANNOUNCE):
    nlri = INET(*family, action)
    nlri.cidr = CIDR(IP.pton(prefix), 32)
    nlri.nexthop = IP.create("10.0.0.2")
    attributes = Attributes()
    attributes.add(MED(med))
    return Change(nlri, attributes)
def last(rib, prefix):
    updates = [(str(n.cidr), str(u.attributes)) for u in rib.updates(True) for n in u.nlris]
    return [attributes for sent, attributes in updates if sent == prefix + "/32"][-1]
rib = OutgoingRIB(True, {family})
rib.add_to_rib(change("192.0.2.2", 1))
rib.add_to_rib(change("192.0.2.1", 2))
rib.add_to_rib(change("192.0.2.1", 1))
print(last(rib, "192.0.2.1"))
"""


def test_of_two_commands_for_one_prefix_the_last_one_wins_in_exabgp_itself() -> None:
    """Trap 1, in the short form that was measured: `B med 1; A med 2; A med 1` left A with med 2."""
    assert "med 2" in python(ROUTES), "ExaBGP mended this itself: the patch may go"
    assert "med 1" in python("launch.mend()" + ROUTES)


def test_another_version_is_refused() -> None:
    code = "launch.VERSION = '5.0.14'\nprint(launch.main())"
    assert python(code) == "3"


@pytest.mark.parametrize(("mended", "said"), [("launch.mend()", "True False"), ("pass", "ProcessError True")])
def test_a_line_that_no_helper_reads_any_more_ends_no_session(mended: str, said: str) -> None:
    code = f"""
{mended}
from exabgp.logger import log
log.debug = lambda *_, **__: None
from exabgp.reactor.api.processes import ProcessError, Processes
class Gone:
    @property
    def stdin(self): return self
    def write(self, data): raise BrokenPipeError(32, "gone")
ones = Processes.__new__(Processes)
ones._process, ones._broken, ones._configuration = {{"helper": Gone()}}, [], {{"helper": {{}}}}
try:
    answer = ones.write("helper", "a line")
except ProcessError:
    answer = "ProcessError"
print(answer, ones.broken(None))
"""
    assert python(code) == said


TIMERS = """
launch.mend()
from types import SimpleNamespace
from exabgp.logger import log
log.debug = lambda *_, **__: None
from exabgp.bgp.message.open.holdtime import HoldTime
from exabgp.reactor.keepalive import KA
from exabgp.reactor.peer import Peer
neighbor = {"description": "metalbgp 1"}
class Neighbor(dict):
    uid, api, rib, generated = 1, {"neighbor-changes": False}, None, False
    def __getitem__(self, key):
        return self.get(key, 0)
neighbor = Neighbor(description="metalbgp 1")
peer = Peer(neighbor, SimpleNamespace(processes=None))
negotiated = SimpleNamespace(holdtime=HoldTime(90))
proto = SimpleNamespace(peer=peer, negotiated=negotiated, connection=SimpleNamespace())
"""


@pytest.mark.parametrize(
    ("description", "seconds"),
    [("metalbgp 1", 30), ("metalbgp 7 keepalive 5", 5), ("metalbgp 7 keepalive 60", 30), ("metalbgp 71", 30)],
)
def test_keepalives_come_as_the_peer_asks_and_never_later_than_a_third(
    description: str, seconds: int
) -> None:
    code = f"""{TIMERS}
send = KA(lambda: "s", proto).send_timer
neighbor["description"] = {description!r}
send.need_ka()
print(send.keepalive)
"""
    assert python(code) == str(seconds)


def test_a_hold_time_of_zero_has_no_keepalives_whatever_was_asked() -> None:
    code = f"""{TIMERS}
proto.negotiated.holdtime = HoldTime(0)
neighbor["description"] = "metalbgp 1 keepalive 5"
print(KA(lambda: "s", proto).send_timer.need_ka())
"""
    assert python(code) == "False"


@pytest.mark.parametrize(
    ("description", "waits"),
    [
        ("metalbgp 1", [0, 0.1, 0.3, 1, 2, 3, 4]),
        ("metalbgp 1 connect 2", [0, 0.1, 0.3, 2, 2, 2, 2]),
        ("metalbgp 1 keepalive 9", [0, 0.1, 0.3, 1, 2, 3, 4]),
    ],
)
def test_a_connection_is_tried_again_after_the_time_that_the_peer_asks_for(
    description: str, waits: list[float]
) -> None:
    code = f"""{TIMERS}
import exabgp.reactor.delay as module
module.time.time = lambda: 1000.0
neighbor["description"] = {description!r}
waits = []
for _ in range(7):
    peer._delay.increase()
    waits.append(round(peer._delay._time - 1000, 3))
print(waits)
"""
    assert json.loads(python(code)) == waits


@pytest.mark.parametrize(
    ("mended", "said"), [("launch.mend()", "UPDATE 0"), ("pass", "UPDATE message error")]
)
def test_an_update_from_a_router_is_not_even_read(mended: str, said: str) -> None:
    """One that cannot be taken apart: ExaBGP would end the session over routes that we refuse anyway."""
    code = f"""
{mended}
from exabgp.logger import log
log.debug = lambda *_, **__: None
from exabgp.bgp.message import Message, Notify
from exabgp.bgp.message.direction import Direction
try:
    update = Message.unpack(Message.CODE.UPDATE, bytes.fromhex("ffff0000"), Direction.IN, None)
    print(Message.CODE.name(update.ID), len(update.nlris))
except Notify as error:
    print(error)
"""
    assert said in python(code)


WRITES = """
import socket
from exabgp.logger import log
log.debug = log.warning = lambda *_, **__: None
from exabgp.bgp.message import Notify
from exabgp.protocol.family import AFI
from exabgp.reactor.network.connection import Connection
ours, theirs = socket.socketpair()
ours.setblocking(False)
ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
connection = Connection(AFI.ipv4, "192.0.2.1", "192.0.2.2")
connection.io = ours
update = connection.writer(b"u" * 100000)
print(next(update))
keepalive = connection.writer(b"k" * 19)
print(next(keepalive))
heard = b""
while len(heard) < 100019:
    heard += theirs.recv(65536)
    next(keepalive, None)
    next(update, None)
    getattr(connection, "flush", print)()
print(heard.strip(b"u") == b"k" * 19 and heard.endswith(b"k"))
"""


def test_what_a_socket_takes_in_part_is_finished_before_anything_else_is_written() -> None:
    assert python(WRITES).splitlines()[-1] == "False", "ExaBGP mended this itself: the patch may go"
    assert python("launch.mend()" + WRITES).splitlines()[-1] == "True"


DEAF = (
    """
launch.mend()
import time
from types import SimpleNamespace
"""
    + WRITES.partition("heard =")[0]
    + """
connection.patience = 18
steady = time.monotonic
time.monotonic = lambda: steady() + AFTER
try:
    print(next(keepalive))
except Notify as said:
    print(said.code, connection.io)
"""
)


@pytest.mark.parametrize(("after", "said"), [(17, "False"), (19, "8 None")])
def test_a_router_that_reads_nothing_is_given_up_after_its_time(after: int, said: str) -> None:
    assert python(DEAF.replace("AFTER", str(after))).splitlines()[-1] == said


HEADER = """
from types import SimpleNamespace
from exabgp.reactor.api.processes import Processes
written = []
it = SimpleNamespace(silence=False, _notify=lambda *_: ["p"], write=lambda *words: written.append(words[1]),
                     _encoder={"p": SimpleNamespace(notification=lambda *_: "line")})
neighbor = SimpleNamespace()
try:
    Processes.notification(it, neighbor, "receive", 1, 2, "text", None, b"", b"")
    Processes.notification(it, neighbor, "send", 1, 2, b"", b"", b"")
except TypeError:
    written.append("TypeError")
print(written)
"""


def test_a_message_that_is_none_is_reported_once_and_stops_nothing() -> None:
    assert python(HEADER) == "['TypeError']", "ExaBGP mended this itself: the patch may go"
    assert python("launch.mend()" + HEADER) == "['line']"


def test_a_session_that_shall_end_with_a_cease_says_so_and_pauses() -> None:
    code = """
from types import SimpleNamespace
from exabgp.bgp.message import Notify
from exabgp.reactor.api.command.command import Command
from exabgp.reactor.peer import ACTION, Peer
Peer._main = lambda self: iter(range(9))
launch.mend()
peer = Peer.__new__(Peer)
peer._restart, peer.generator, peer.proto = True, None, None
peer.neighbor = {"peer-address": "10.0.0.1"}
reactor = SimpleNamespace(established_peers=lambda: ["one"], _peers={"one": peer})
line = "neighbor 10.0.0.1 cease 10"
command = Command.callback["text"]["cease"]
generator = Peer._main(peer)
print(next(generator), next(generator))
command(None, reactor, "service", "neighbor 10.0.0.2 cease 10", False)
print(next(generator))
command(None, reactor, "service", line, False)
try:
    next(generator)
except Notify as notify:
    print(notify.code, notify.subcode, notify.data)
print(peer.run() == ACTION.LATER)
"""
    assert python(code).splitlines() == ["0 1", "2", "6 10 b''", "True"]
