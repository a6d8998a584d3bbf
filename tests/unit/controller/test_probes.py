"""What a probe decides: nobody answered, somebody did, nobody could ask. On a clock of its own."""

from metalbgp.controller.probes import GRACE, PATIENCE, Asking, Free, Probes, Unasked
from metalbgp.model.reasons import AddressAnswers
from metalbgp.model.report import ProbeReport
from metalbgp.model.virtualips import VirtualIP
from tests.values import holder, vip

ADDRESS = "10.252.252.100"


def claim(uid: str = "u1", *, l2: bool = True) -> VirtualIP:
    names = ("layer2",) if l2 else ()
    return vip(ADDRESS, {"web/nginx": holder(l2=names)}, phase="probing", uid=uid, candidates=("n1",))


def said(uid: str = "u1", **fields: object) -> ProbeReport:
    return ProbeReport(address=ADDRESS, uid=uid, **fields)  # type: ignore[arg-type]  # its own fields


def test_silence_to_the_end_is_free_and_until_then_it_asks() -> None:
    probes = Probes()
    assert probes.judge(claim(), 0.0) == Asking(PATIENCE)
    assert probes.heard("n1", [said()]) == frozenset()
    assert isinstance(probes.judge(claim(), 1.0), Asking)
    assert probes.heard("n1", [said(done=True)]) == {ADDRESS}
    assert probes.heard("n1", [said(done=True)]) == frozenset()  # nothing new wakes nobody
    assert probes.judge(claim(), 2.0) == Free()


def test_an_answer_names_who_where_and_who_asked() -> None:
    probes = Probes()
    probes.heard("n1", [said(done=True, mac="02:00:00:00:00:20", interface="eth0")])
    found = probes.judge(claim(), 0.0)
    assert found == AddressAnswers(address=ADDRESS, mac="02:00:00:00:00:20", node="n1", interface="eth0")
    assert "02:00:00:00:00:20 answered a probe from n1 on eth0" in found.explain()


def test_what_was_found_for_an_earlier_claim_of_the_address_says_nothing_of_this_one() -> None:
    probes = Probes()
    probes.heard("n1", [said("old", done=True), said("older", done=True, mac="02:00:00:00:00:20")])
    assert isinstance(probes.judge(claim("new"), 0.0), Asking)


def test_nobody_who_can_ask_is_waited_for_with_an_end() -> None:
    probes = Probes()
    # An L2Advertisement of the same moment may be seen a little later than the Service.
    assert probes.judge(claim(l2=False), 0.0) == Asking(GRACE)
    assert isinstance(probes.judge(claim(l2=False), GRACE), Unasked)
    probes.forget(ADDRESS)
    probes.heard("n1", [said(done=True, failed="no fit interface")])
    assert isinstance(probes.judge(claim(), 0.0), Asking)  # another node may become the first
    assert probes.judge(claim(), PATIENCE) == Unasked("n1: no fit interface")
    probes.gone("n1")
    assert probes.judge(claim(), PATIENCE) == Unasked("n1 did not say")
    probes.forget(ADDRESS)
    assert probes.judge(claim(), PATIENCE) == Asking(PATIENCE)
