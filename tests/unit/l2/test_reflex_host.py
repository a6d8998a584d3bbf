"""What the doctor learns of a node's kernel, from files as Linux writes them."""

from pathlib import Path

from metalbgp.reflex import host

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth4\t00000000\t010300C0\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth2\t00000000\t010200C0\t0002\t0\t0\t0\t00000000\t0\t0\t0
eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth3\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0
"""


def test_the_default_route_is_the_one_of_no_length_that_is_up_and_has_the_lowest_metric() -> None:
    assert host.default_routes(ROUTES) == ["eth0"]
    assert host.default_routes("") == []


def test_settings_by_interface_and_what_is_missing_is_left_out(tmp_path: Path) -> None:
    conf = tmp_path / "sys/net/ipv4/conf"
    (conf / "all").mkdir(parents=True)
    (conf / "all/arp_ignore").write_text("1\n")
    (conf / "all/rp_filter").write_text("no number\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("Name:\tx\nCapEff:\t0000000000802000\n")
    found = host.facts(tmp_path)
    assert found["ipv4"] == {"all": {"arp_ignore": 1}}
    assert (found["forward"], found["default"], found["links"]) == (None, [], [])
    assert found["capabilities"] == "0000000000802000"


def test_the_kernels_own_addresses_come_with_their_interface() -> None:
    assert ["127.0.0.1", "lo"] in list(host.addresses())
