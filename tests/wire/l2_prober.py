"""python l2_prober.py INTERFACE MAC IPV4 IPV6: asks for addresses every 20 ms and writes down who answers.

In:  on stdin a line of addresses, as often as one likes: what to ask for from now on.
Out: on stdout a line a sighting, [seconds, kind, address, MAC]; kind q: our question left; a: somebody
     answered it; g: somebody told everybody (the first of half a second). The seconds are the kernel's, of
     the frame, by the wall clock.
A process of its own with a realtime class: what the tests do meanwhile must not move a question.
"""

import json
import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any, Final

INTERVAL: Final = 0.02
QUIET: Final = 0.5  # 10,000 addresses are told five times in two forms: once is enough to know
_OUTGOING: Final = 4
_BROADCAST: Final = b"\xff" * 6
_Sighting = tuple[float, str, str, str]


def packed(written: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in written else socket.AF_INET, written)


def written(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def checksum(source: bytes, target: bytes, message: bytes) -> int:
    """RFC 1071, word by word."""
    data = source + target + struct.pack("!II", len(message), 58) + message
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Prober:
    """One station on one segment."""

    def __init__(self, interface: str, mac: str, ipv4: str, ipv6: str) -> None:
        self._mac = bytes.fromhex(mac.replace(":", ""))
        self._sender = {4: packed(ipv4), 16: packed(ipv6)}
        self._questions: list[bytes] = []
        self._told: dict[tuple[bytes, bytes], float] = {}
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE
        self._socket.bind((interface, 3))  # ETH_P_ALL: what another socket sends comes here with its time
        self._socket.setblocking(False)
        self._sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sending.bind((interface, 0))

    def run(self) -> None:
        """Until stdin ends."""
        due = time.monotonic()
        heard = b""
        while True:
            ready, _, _ = select.select([self._socket.fileno(), 0], [], [], max(0.0, due - time.monotonic()))
            if 0 in ready:
                received = os.read(0, 1 << 20)
                if not received:
                    return
                *lines, heard = (heard + received).split(b"\n")
                for line in lines:
                    self._questions = [self._question(packed(each)) for each in line.decode().split()]
            if self._socket.fileno() in ready:
                self._write(self._drain())
            if time.monotonic() >= due:
                due = max(due + INTERVAL, time.monotonic())
                for question in self._questions:
                    self._sending.send(question)

    def _question(self, target: bytes) -> bytes:
        sender = self._sender[len(target)]
        if len(target) == 4:
            body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + self._mac + sender + bytes(6) + target
            return _BROADCAST + self._mac + b"\x08\x06" + body
        group = bytes.fromhex("ff0200000000000000000001ff") + target[13:]
        rest = bytes(4) + target + b"\x01\x01" + self._mac
        code = checksum(sender, group, b"\x87\0\0\0" + rest)
        message = b"\x87\0" + struct.pack("!H", code) + rest
        head = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + sender + group
        return b"\x33\x33" + group[12:] + self._mac + b"\x86\xdd" + head + message

    def _drain(self) -> list[_Sighting]:
        seen = []
        for _ in range(500):
            try:
                frame, ancillary, _, source = self._socket.recvmsg(2048, 64)
            except OSError:
                break
            stamp = next(data for _, kind, data in ancillary if kind == 35)
            seconds, nanoseconds = struct.unpack("ll", stamp)
            sighting = self._sighting(frame, seconds + nanoseconds * 1e-9, source[2] == _OUTGOING)
            if sighting is not None:
                seen.append(sighting)
        return seen

    def _sighting(self, frame: bytes, at: float, ours: bool) -> _Sighting | None:
        if frame[12:14] == b"\x08\x06":
            operation, mac, sender, target = frame[21], frame[22:28], frame[28:32], frame[38:42]
            if ours:
                return at, "q", written(target), mac.hex(":")
            if operation == 2 and frame[:6] == self._mac:
                return at, "a", written(sender), mac.hex(":")
            if sender == target:
                return self._gratuitous(at, sender, mac)
        if frame[12:14] == b"\x86\xdd" and frame[20] == 58:
            target = frame[62:78]
            if ours:
                return (at, "q", written(target), frame[6:12].hex(":")) if frame[54] == 135 else None
            if frame[54] == 136:
                mac = frame[80:86]
                if frame[:6] == self._mac:
                    return at, "a", written(target), mac.hex(":")
                return self._gratuitous(at, target, mac)
        return None

    def _gratuitous(self, at: float, address: bytes, mac: bytes) -> _Sighting | None:
        before = self._told.get((address, mac), 0.0)
        self._told[address, mac] = at
        return (at, "g", written(address), mac.hex(":")) if at - before > QUIET else None

    def _write(self, seen: list[_Sighting]) -> None:
        if seen:
            sys.stdout.write("".join(json.dumps(each) + "\n" for each in seen))
            sys.stdout.flush()


def main(*words: Any) -> None:
    with suppress(OSError):  # where that is refused, a busy machine delays questions
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(20))
    Prober(*words).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
