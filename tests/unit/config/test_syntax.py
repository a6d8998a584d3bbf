"""One syntax each: ranges, durations, communities, selectors."""

import pytest

from metalbgp.config import communities, durations, ranges, selectors
from metalbgp.config.mistakes import Findings, Mistake
from metalbgp.config.objects import LabelRequirement, LabelSelector

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.252.252.100/30", "10.252.252.100-10.252.252.103"),
        ("198.51.100.10/24", "198.51.100.0-198.51.100.255"),
        ("198.18.1.7/32", "198.18.1.7-198.18.1.7"),
        ("198.18.1.1-198.18.1.9", "198.18.1.1-198.18.1.9"),
        ("198.18.1.1 - 198.18.1.9", "198.18.1.1-198.18.1.9"),
        ("  198.18.1.1 -198.18.1.1", "198.18.1.1-198.18.1.1"),
        ("2001:db8::5/126", "2001:db8::4-2001:db8::7"),
        ("2001:DB8::1-2001:db8::ffff", "2001:db8::1-2001:db8::ffff"),
        ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
    ],
)
def test_a_cidr_masks_its_host_bits_and_a_range_allows_blanks_around_the_dash(text: str, shown: str) -> None:
    assert str(ranges.read(text)) == shown


@pytest.mark.parametrize(
    ("text", "why", "fix"),
    [
        ("198.18.1.7", "one address", "write 198.18.1.7/32"),
        ("2001:db8::7", "one address", "write 2001:db8::7/128"),
        ("198.18.1.0/255.255.255.0", "not a prefix length", "write 198.18.1.0/24"),
        ("198.18.1.0/0.0.0.255", "not a prefix length", "write 198.18.1.0/24"),
        ("198.18.1.0/33", "not a prefix length", "from 0 to 32"),
        ("198.18.1.0/", "not a prefix length", "from 0 to 32"),
        ("198.18.1.0/-1", "mixes a range", ""),
        ("198.18.1.0/ 24", "has blanks", "198.18.1.0/24"),
        (" 198.18.1.0/24", "has blanks", "198.18.1.0/24"),
        ("198.18.1.9-198.18.1.1", "198.18.1.9 is after 198.18.1.1", "198.18.1.1-198.18.1.9"),
        ("198.18.1.1-2001:db8::1", "two families", "one range a family"),
        ("198.18.1.1-9", '"9" is not an IP address', ""),
        ("::ffff:198.18.1.0/120", "IPv4 written as IPv6", ""),
        ("::ffff:198.18.1.1-::ffff:198.18.1.9", "IPv4 written as IPv6", ""),
        ("::fffe:0:0/95", "ends in IPv4 written as IPv6", ""),
        ("198.18.01.0/24", "not an IP address", ""),
        ("fe80::1%eth0/64", "carries a zone", ""),
        ("198.18.1.0/24-198.18.2.0/24", "mixes a range with a CIDR", ""),
        ("banana", "neither a CIDR nor a range", ""),
        ("", "neither a CIDR nor a range", ""),
    ],
)
def test_what_is_no_range_is_refused_with_its_remedy(text: str, why: str, fix: str) -> None:
    with pytest.raises(Mistake) as caught:
        ranges.read(text)
    assert why in caught.value.why
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("text", "length"),
    [("192.168.0.0/24", 24), ("3.3.3.2-3.3.3.254", 26), ("10.0.0.1-10.0.0.1", 32), ("2001:db8::/64", 64)],
)
def test_the_widest_cidr_of_an_entry_is_what_an_aggregate_is_measured_by(text: str, length: int) -> None:
    assert ranges.widest(ranges.read(text)) == length


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("90s", 90 * SECOND),
        ("1m30s", 90 * SECOND),
        ("500ms", SECOND // 2),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("1h0m0s", 3600 * SECOND),
        ("0", 0),
        ("0s", 0),
        ("-3s", -3 * SECOND),
        ("+3s", 3 * SECOND),
        ("10us", 10_000),
        ("10µs", 10_000),
        ("7ns", 7),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, nanos: int) -> None:
    assert durations.nanoseconds(text) == nanos


@pytest.mark.parametrize("text", ["", "90", "s", "1.s2", "1 s", "1d", "٣s", "1e3s", "-", "9223372037s"])
def test_what_go_does_not_read_is_no_duration(text: str) -> None:
    with pytest.raises(Mistake):
        durations.nanoseconds(text)


def test_a_number_without_unit_is_told_its_unit() -> None:
    with pytest.raises(Mistake) as caught:
        durations.nanoseconds("90")
    assert caught.value.fix == 'write "90s"'


@pytest.mark.parametrize(
    ("text", "value"),
    [("65000:100", (65000, 100)), ("large:4200000000:1:2", (4200000000, 1, 2)), ("0:0", (0, 0))],
)
def test_communities_are_two_short_or_three_long_numbers(text: str, value: tuple[int, ...]) -> None:
    assert communities.read(text) == value


@pytest.mark.parametrize(
    "text",
    ["65536:1", "1", "1:2:3", "large:1:2", "large:1:2:4294967296", "-1:2", "a:b", "1:", "1: 2", "0x1:2"],
)
def test_what_does_not_fit_is_no_community(text: str) -> None:
    with pytest.raises(Mistake):
        communities.read(text)


def selector(*expressions: tuple[str, str, list[str]], **labels: str) -> LabelSelector:
    wishes = [
        LabelRequirement(key=key, operator=operator, values=values) for key, operator, values in expressions
    ]
    return LabelSelector(match_labels=labels or None, match_expressions=wishes or None)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([selector(a="b"), selector(a="b")], "stands there twice"),
        ([selector(("a", "In", ["x", "y"])), selector(("a", "In", ["y", "x"]))], "stands there twice"),
        ([selector(("a", "In", ["x", "x"]))], '"x" stands there twice'),
        ([selector(("a", "In", ["x"]), ("a", "In", ["x"]))], "stands there twice"),
        ([selector(("a", "In", []))], "In needs values"),
        ([selector(("a", "Exists", ["x"]))], "Exists takes no values"),
        ([selector(("a", "Near", ["x"]))], 'operator "Near" is not one of'),
        ([selector(("", "Exists", []))], '"" is not a label key'),
        ([selector(("-a", "Exists", []))], "is not a label key"),
        ([selector(("Example.com/a", "Exists", []))], "is not a label key"),
        ([selector(a="not a value")], '"not a value" is not a label value'),
    ],
)
def test_a_selector_that_kubernetes_or_metallb_refuses_is_refused(
    found: list[LabelSelector], why: str
) -> None:
    findings = Findings("BGPPeer", "tor")
    selectors.read_all(findings, "spec.nodeSelectors", found)
    assert why in findings.found[0].why


def test_a_good_selector_matches_as_kubernetes_does() -> None:
    findings = Findings("BGPPeer", "tor")
    (found,) = selectors.read_all(
        findings, "spec.nodeSelectors", [selector(("example.com/rack", "NotIn", ["b"]), zone="a")]
    )
    assert not findings.found
    assert found.matches({"zone": "a"})
    assert not found.matches({"zone": "a", "example.com/rack": "b"})


@pytest.mark.parametrize(
    ("left", "right", "meet"),
    [
        ([], [selector(rack="a")], True),
        ([selector(rack="a")], [selector(rack="b")], False),
        ([selector(rack="a")], [selector(zone="b")], True),
        ([selector(("rack", "In", ["a", "b"]))], [selector(("rack", "In", ["c"]))], False),
        ([selector(("rack", "In", ["a", "b"]))], [selector(("rack", "NotIn", ["a", "b"]))], False),
        ([selector(("rack", "In", ["a", "b"]))], [selector(("rack", "NotIn", ["a"]))], True),
        ([selector(("rack", "Exists", []))], [selector(("rack", "DoesNotExist", []))], False),
        ([selector(rack="a")], [selector(("rack", "DoesNotExist", []))], False),
        ([selector(rack="a"), selector(rack="b")], [selector(rack="b")], True),
        ([selector()], [selector(rack="b")], True),
    ],
)
def test_selectors_cannot_meet_only_if_they_exclude_each_other(
    left: list[LabelSelector], right: list[LabelSelector], meet: bool
) -> None:
    findings = Findings("BGPPeer", "tor")
    one = selectors.read_all(findings, "spec.nodeSelectors", left)
    other = selectors.read_all(findings, "spec.nodeSelectors", right)
    assert selectors.may_meet(one, other) is meet
    assert selectors.may_meet(other, one) is meet
