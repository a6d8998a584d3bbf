"""Asking before using: questions byte for byte, their pace on a virtual clock, what counts as an answer."""

from typing import Any

from metalbgp.l2 import wire
from metalbgp.l2.links import Interface
from metalbgp.l2.machine import Listen, Machine, Send
from metalbgp.l2.probing import LISTEN, QUESTIONS, SPACING, Question

MAC, OTHER = bytes.fromhex("020000000010"), bytes.fromhex("020000000020")
ETH0 = Interface("eth0", 2, MAC, arp=True, ndp=True)
ETH1 = Interface("eth1", 3, bytes.fromhex("020000000011"), arp=True, ndp=False)
V4, V6 = bytes([192, 0, 2, 7]), bytes.fromhex("20010db8000000000000000000000007")
END = (QUESTIONS - 1) * SPACING + LISTEN


def machine(*interfaces: Interface) -> Machine:
    found = Machine()
    found.set_interfaces({one.name: one for one in interfaces or (ETH0,)}, 0.0)
    found.wake(0.0)
    return found


def run(found: Machine, until: float) -> list[tuple[float, Any]]:
    """Every effect with its time, as an edge would carry them out."""
    effects: list[tuple[float, Any]] = []
    now = 0.0
    while (due := found.deadline) is not None and due <= until:
        now = max(now, due)
        effects += [(now, one) for one in found.wake(now)]
    return effects


def test_the_questions_leave_nothing_in_a_neighbours_cache() -> None:
    """RFC 5227 §1.1: an all-zero sender; RFC 4862 §5.4.2: unspecified source, no link-layer option."""
    arp = wire.question(MAC, V4)
    assert arp == (b"\xff" * 6 + MAC + bytes.fromhex("08060001080006040001") + MAC + bytes(4) + bytes(6) + V4)
    ndp = wire.question(MAC, V6)
    group = bytes.fromhex("ff0200000000000000000001ff000007")
    assert ndp[:14] == bytes.fromhex("3333ff000007") + MAC + bytes.fromhex("86dd")
    assert ndp[14:54] == bytes.fromhex("6000000000183aff") + bytes(16) + group
    assert ndp[54:56] == bytes.fromhex("8700") and ndp[58:] == bytes(4) + V6
    packet = wire.decode(ndp)
    assert isinstance(packet, wire.Solicitation) and packet.target == V6  # its checksum is right


def test_three_questions_then_silence_is_free() -> None:
    found = machine()
    found.set_probes({V4: Question(None, "u1")}, 0.0)
    effects = run(found, 10.0)
    sent = [(when, one) for when, one in effects if isinstance(one, Send)]
    assert [round(when, 3) for when, _ in sent] == [0.0, SPACING, 2 * SPACING]
    assert all(one.frame == wire.question(MAC, V4) for _, one in sent)
    listens = [one for _, one in effects if isinstance(one, Listen)]
    assert listens[0].asked == (V4,) and listens[-1].asked == ()
    # It listens before it asks, or an answer could come into nothing.
    assert next(i for i, (_, one) in enumerate(effects) if isinstance(one, Listen)) == 0
    probe = found.probing.probes[V4]
    assert (probe.done, probe.answer, probe.failed) == (True, None, "")


def test_not_done_before_the_last_question_had_its_time() -> None:
    found = machine()
    found.set_probes({V4: Question(None, "u1")}, 0.0)
    run(found, END - 0.01)
    assert not found.probing.probes[V4].done
    run(found, END)
    assert found.probing.probes[V4].done


def test_whoever_says_that_the_address_is_his_is_an_answer_and_our_own_nodes_question_is_not() -> None:
    answers = (
        (V4, wire.arp_reply(OTHER, V4, MAC, bytes(4)), True),
        (V4, wire.gratuitous(OTHER, V4)[0], True),
        (
            V6,
            wire.advertisement(
                OTHER, V6, wire.multicast_mac(wire.ALL_NODES), wire.ALL_NODES, solicited=False
            ),
            True,
        ),
        (V4, wire.question(OTHER, V4), False),
        (V6, wire.question(OTHER, V6), False),
        (V4, wire.arp_reply(MAC, V4, MAC, bytes(4)), False),  # our own
        (V4, wire.arp_reply(OTHER, bytes([192, 0, 2, 8]), MAC, bytes(4)), False),
    )
    for address, frame, counts in answers:
        found = machine()
        found.set_probes({address: Question(None, "u1")}, 0.0)
        found.wake(0.0)
        assert not any(isinstance(one, Send) for one in found.frame("eth0", frame, 0.0, 0.1))
        probe = found.probing.probes[address]
        assert (probe.answer == ("eth0", OTHER)) is counts and probe.done is counts


def test_an_answer_that_lay_in_the_queue_while_we_were_stopped_still_counts() -> None:
    found = machine()
    found.set_probes({V4: Question(None, "u1")}, 0.0)
    found.wake(0.0)
    found.frame("eth0", wire.arp_reply(OTHER, V4, MAC, bytes(4)), 5.0, 5.1)
    assert found.probing.probes[V4].answer == ("eth0", OTHER)


def test_only_allowed_and_able_interfaces_ask_and_without_any_nothing_is_proved() -> None:
    found = machine(ETH0, ETH1)
    found.set_probes({V4: Question(frozenset({"eth1"}), "a"), V6: Question(None, "b")}, 0.0)
    sent = [one for _, one in run(found, 10.0) if isinstance(one, Send)]
    assert {(one.interface.name, len(one.frame) > 42) for one in sent} == {("eth1", False), ("eth0", True)}
    found.set_probes({V6: Question(frozenset({"eth1"}), "c"), V4: Question(frozenset({"gone"}), "d")}, 10.0)
    run(found, 20.0)
    assert {probe.failed for probe in found.probing.probes.values()} == {"no fit interface"}


def test_what_could_not_be_asked_is_asked_when_the_interface_comes() -> None:
    found = machine(ETH1)
    found.set_probes({V6: Question(None, "a")}, 0.0)
    run(found, 10.0)
    assert found.probing.probes[V6].failed
    found.set_interfaces({"eth0": ETH0, "eth1": ETH1}, 10.0)
    assert not found.probing.probes[V6].done
    assert len([one for _, one in run(found, 20.0) if isinstance(one, Send)]) == QUESTIONS
    assert (found.probing.probes[V6].done, found.probing.probes[V6].failed) == (True, "")


def test_the_same_question_is_not_asked_again_and_another_claim_of_the_address_is() -> None:
    found = machine()
    found.set_probes({V4: Question(None, "u1")}, 0.0)
    run(found, 10.0)
    found.set_probes({V4: Question(None, "u1")}, 10.0)
    assert run(found, 20.0) == []
    found.set_probes({V4: Question(None, "u2")}, 20.0)
    assert len([one for _, one in run(found, 30.0) if isinstance(one, Send)]) == QUESTIONS
    found.set_probes({}, 30.0)
    assert found.probing.probes == {}


def test_asking_does_not_make_it_answer() -> None:
    found = machine()
    found.set_probes({V4: Question(None, "u1")}, 0.0)
    found.wake(0.0)
    asked = wire.gratuitous(OTHER, V4)[0][:28] + bytes([192, 0, 2, 9]) + bytes(6) + V4
    assert found.frame("eth0", asked, 0.0, 0.1) == []
    assert found.holding(V4) == []
