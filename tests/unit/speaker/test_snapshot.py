"""The snapshot on disk: what is written is what is found, and what is not as it should be is not believed."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from metalbgp.config import compiled, virtualip
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer
from metalbgp.model.services import Node
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.speaker import agent
from metalbgp.speaker import snapshot as module
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.snapshot import FORMAT, Clocks, Snapshots
from tests.values import node, pool

NS, DAY = "metallb-system", 86400.0
CONFIGURATION = Configuration(
    installation=NS,
    sequence=4,
    pools=(pool("p", "198.51.100.0-198.51.100.255"),),
    peers=(Peer(name="tor", my_asn=64513, peer_asn=64512, address="10.0.0.1"),),
    bgp_advertisements=(BGPAdvertisement(name="all", pools=("p",)),),
)
VIP = VirtualIP(
    address="198.51.100.7",
    pool="p",
    configuration=4,
    holders={"web/s": Holder(uid="u", bgp=("all",), serving=True)},
)


class Time:
    """Of a machine: its wall clock, and what nobody sets."""

    def __init__(self) -> None:
        self.wall, self.up, self.boot = 1_700_000_000.0, 5000.0, "one"

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall, lambda: self.up, lambda: self.boot)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


class Disk:
    """One run directory, and the speakers that find it one after the other."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "snapshot.json"
        self.time = Time()

    def speaker(self, name: str = "n1", installation: str = NS, **options: Any) -> Snapshots:
        return Snapshots(self.file, name, installation, clocks=self.time.clocks(), **options)

    def write(self, *vips: VirtualIP, heard: float = 0.0) -> None:
        """`heard`: so many seconds ago."""
        assert self.speaker().save(known(*vips or (VIP,)), heard) is None

    def found(self, **options: Any) -> tuple[Announcer, Snapshots]:
        made, empty = self.speaker(**options), Announcer()
        made.look()
        assert made.restore(empty) is (made.refused is None)
        return empty, made

    def refusal(self, **options: Any) -> str:
        empty, made = self.found(**options)
        assert not empty.vips and empty.configuration is None
        assert made.refused is not None and made.refused.explain() and made.refused.remedy()
        assert made.problems() == (f"{made.refused.explain()}; {made.refused.remedy()}",)
        return made.refused.name


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def known(*vips: VirtualIP) -> Announcer:
    made = Announcer()
    made.set_node(node("n1", rack="a"))
    made.set_configuration(CONFIGURATION)
    made.set_passwords({"tor": "c2VjcmV0"})
    made.heartbeat_key = b"k" * 32
    for one in vips:
        made.set_vip(one.address, one)
    return made


def test_what_was_written_is_what_is_found(disk: Disk) -> None:
    disk.write()
    found, _ = disk.found()
    before = known(VIP)
    assert found.wanted() == before.wanted() != {}
    assert (found.node, found.configuration) == (before.node, before.configuration)
    assert (found.passwords, found.heartbeat_key) == (before.passwords, before.heartbeat_key)
    assert stat.S_IMODE(disk.file.stat().st_mode) == 0o600
    assert [*disk.file.parent.iterdir()] == [disk.file]


def test_without_a_file_nothing_is_known_and_nothing_is_wrong(disk: Disk) -> None:
    speaker = disk.speaker()
    speaker.look()
    assert speaker.refused is None and not speaker.restore(Announcer()) and not speaker.problems()


@given(data=st.data())
def test_a_snapshot_with_any_byte_changed_or_any_end_missing_is_not_believed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    disk = Disk(tmp_path_factory.mktemp("run"))
    disk.write()
    whole = bytearray(disk.file.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] ^= data.draw(st.integers(1, 255))
    disk.file.write_bytes(whole)
    # The number of the format itself may have become a larger one; then it is that which is said.
    assert disk.refusal() in ("SnapshotDamaged", "SnapshotNewer")


@pytest.mark.parametrize(
    "content", [b"", b"null", b"{}", b"[1]", b"\xff\xfe", b'{"time": 1}', b"[" * 100_000, b'{"format": 2}']
)
def test_what_is_no_snapshot_at_all_is_not_believed(disk: Disk, content: bytes) -> None:
    disk.file.write_bytes(content)
    assert disk.refusal() == "SnapshotDamaged"


def test_a_directory_in_its_place_is_damage_as_well(disk: Disk) -> None:
    disk.file.mkdir()
    assert disk.refusal() == "SnapshotDamaged"


def test_a_snapshot_of_another_node_or_installation_is_not_believed(disk: Disk) -> None:
    disk.write()
    assert disk.refusal(name="n2") == "SnapshotForeign"
    assert disk.refusal(installation="edge") == "SnapshotForeign"


def test_a_snapshot_counts_for_three_days_or_as_long_as_is_said(disk: Disk) -> None:
    disk.write()
    disk.time.passes(3 * DAY - 1)
    assert disk.found()[1].age == 3 * DAY - 1
    disk.time.passes(2)
    assert disk.refusal() == "SnapshotTooOld"
    assert disk.found(limit=4 * DAY)[1].refused is None


def test_the_age_is_that_of_the_last_word_of_the_api_server_and_not_of_the_last_write(disk: Disk) -> None:
    disk.write(heard=2 * DAY)
    disk.time.passes(DAY / 2)
    assert disk.found()[1].age == 2.5 * DAY
    disk.time.passes(DAY)
    assert disk.refusal() == "SnapshotTooOld"


@pytest.mark.parametrize("jump", [-400 * DAY, -1.0, 1.0, 400 * DAY])
def test_a_wall_clock_that_jumps_makes_no_snapshot_older_or_younger(disk: Disk, jump: float) -> None:
    disk.write()
    disk.time.passes(60)
    disk.time.wall += jump
    assert disk.found()[1].age == 60


def test_over_a_boot_the_wall_clock_counts_and_an_age_is_never_negative(disk: Disk) -> None:
    disk.write()
    disk.time.boot, disk.time.up = "two", 10.0
    disk.time.wall += 600
    assert disk.found()[1].age == 600
    disk.time.wall -= DAY
    assert disk.found()[1].age == 0


def test_a_newer_format_is_recognised_before_anything_else_of_it_is_read(disk: Disk) -> None:
    disk.file.write_bytes(msgspec.json.encode({"format": FORMAT + 1, "vips": "kept elsewhere"}))
    assert disk.refusal() == "SnapshotNewer"


def test_one_object_that_cannot_be_read_is_damage_for_it_would_be_one_to_withdraw(disk: Disk) -> None:
    odd = virtualip.encode(VIP)
    odd["spec"]["phase"] = "levitating"
    made = disk.speaker()
    content = made._content(known(VIP), disk.time.up)

    def with_odd_one() -> Any:
        file = content()
        file.vips.append(Raw(msgspec.json.encode(odd)))
        return file

    assert made.write(with_odd_one) is None
    speaker, empty = disk.speaker(), Announcer()
    speaker.look()
    assert not speaker.restore(empty) and not empty.vips
    assert speaker.refused is not None and speaker.refused.name == "SnapshotDamaged"


def test_how_long_a_snapshot_counts_is_said_in_the_environment_and_a_mistake_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent.parse(["--node-name", "n1"]).snapshot_max_age == 72 * 3600
    monkeypatch.setenv("METALBGP_SNAPSHOT_MAX_AGE", "90m")
    assert agent.parse(["--node-name", "n1"]).snapshot_max_age == 5400
    monkeypatch.setenv("METALBGP_SNAPSHOT_MAX_AGE", "3 days")
    with pytest.raises(SystemExit):
        agent.parse(["--node-name", "n1"])
    assert '"3 days" is not a duration; write it as' in capsys.readouterr().err


# ---------------------------------------------------------------- v0.1.0


class Old(Struct):
    """The file of v0.1.0, word for word."""

    time: float
    node: Node | None
    passwords: dict[str, str]
    heartbeat_key: bytes
    configuration: Raw
    vips: list[Raw]


def test_the_first_release_reads_our_file(disk: Disk) -> None:
    disk.write()
    found = msgspec.json.decode(disk.file.read_bytes(), type=Old)
    assert found.time == disk.time.wall and found.node == known().node
    assert compiled.decode(found.configuration) == CONFIGURATION
    assert [virtualip.decode(one).address for one in found.vips] == [VIP.address]


def old(disk: Disk) -> None:
    made = Old(
        time=disk.time.wall,
        node=node("n1"),
        passwords={},
        heartbeat_key=b"",
        configuration=Raw(msgspec.json.encode(compiled.encode(CONFIGURATION, ""))),
        vips=[Raw(msgspec.json.encode(virtualip.encode(VIP)))],
    )
    disk.file.write_bytes(msgspec.json.encode(made))


def test_we_read_the_file_of_the_first_release_which_no_quiet_week_makes_too_old(disk: Disk) -> None:
    old(disk)
    disk.time.passes(7 * DAY)
    found, speaker = disk.found()
    assert found.wanted() == known(VIP).wanted() and speaker.age == 7 * DAY
    assert disk.refusal(name="n2") == disk.refusal(installation="edge") == "SnapshotForeign"


def test_half_a_file_of_the_first_release_is_not_believed(disk: Disk) -> None:
    old(disk)
    whole = disk.file.read_bytes()
    disk.file.write_bytes(whole[: len(whole) // 2])
    assert disk.refusal() == "SnapshotDamaged"


# ---------------------------------------------------------------- keeping it


class Keeping:
    """A speaker's snapshots, kept while the test goes on."""

    def __init__(self, disk: Disk) -> None:
        self.snapshots, self.announcer, self.age, self.said = disk.speaker(), known(VIP), 0.0, 0
        self._task = asyncio.create_task(self.snapshots.keep(self.announcer, lambda: self.age, self._failed))

    def _failed(self) -> None:
        self.said += 1

    async def end(self) -> None:
        assert not self._task.done()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # a file, which tells nobody
            await asyncio.sleep(0.002)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACE", "REFRESH", "RETRY"):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(module, "SHARE", 0)


async def test_a_full_disk_leaves_the_old_file_says_so_and_is_tried_again(disk: Disk, quick: None) -> None:
    disk.write()
    before = disk.file.read_bytes()
    disk.file.with_suffix(".new").symlink_to("/dev/full")
    disk.time.passes(1)
    held = Keeping(disk)
    held.snapshots.due()
    await until(lambda: held.snapshots.unwritten)
    assert held.snapshots.unwritten is not None
    assert "No space left" in held.snapshots.unwritten.explain() and held.snapshots.unwritten.remedy()
    assert disk.file.read_bytes() == before
    await until(lambda: held.snapshots.unwritten is None)  # the link went with the attempt
    assert disk.file.read_bytes() != before and held.said == 2 and not held.snapshots.problems()
    await held.end()


async def test_a_disk_that_takes_nothing_is_no_reason_to_stop_and_when_it_does_again_the_file_is_there(
    disk: Disk, quick: None
) -> None:
    blocked = disk.file.with_suffix(".new")
    blocked.mkdir()
    held = Keeping(disk)
    held.snapshots.due()
    await until(held.snapshots.problems)
    blocked.rmdir()
    await until(disk.file.exists)
    await held.end()
    assert disk.found()[0].wanted() == held.announcer.wanted()


async def test_an_unchanged_view_is_written_again_while_it_holds_and_not_when_the_server_is_away(
    disk: Disk, quick: None
) -> None:
    held = Keeping(disk)
    held.snapshots.due()
    await until(disk.file.exists)
    first = disk.file.read_bytes()
    disk.time.passes(60)
    await until(lambda: disk.file.read_bytes() != first)
    assert disk.found()[1].age == 0
    held.age = 0.0
    second = disk.file.read_bytes()
    for _ in range(10):  # the server is away, and time goes by
        disk.time.passes(60)
        held.age += 60
        await asyncio.sleep(0.03)  # time for what must not come
    assert disk.file.read_bytes() == second and disk.found()[1].age == 600
    held.snapshots.due()  # a change by something else than the API server does not make the view younger
    await until(lambda: disk.file.read_bytes() != second)
    assert disk.found()[1].age == 600
    await held.end()


async def test_what_was_never_heard_from_an_api_server_is_not_written(disk: Disk, quick: None) -> None:
    held = Keeping(disk)
    held.age = float("inf")
    held.snapshots.due()
    await asyncio.sleep(0.1)  # time for what must not come
    assert not disk.file.exists()
    await held.end()
