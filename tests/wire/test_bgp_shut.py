"""A session that somebody shuts: its routes go first, its router reads why, the others notice nothing."""

import pytest

from tests.wire.bgp_lab import Lab, routes, two_routers
from tests.wire.doing import wait_for

WHY = "new line card: is shutdown json for tor-b"  # words that ExaBGP would obey in a command


@pytest.mark.parametrize("restart", [0, 60], ids=["plain", "graceful"])
def test_a_shut_session_withdraws_and_says_why_and_comes_back_whole(lab: Lab, restart: int) -> None:
    agent, stays, goes = two_routers(lab, graceful_restart=restart)
    one, two = lab.routers[1], lab.routers[2]
    wants = routes(one.v4, 20) | routes(two.v4, 20)
    agent.want(wants)
    agent.say({"synced": True})
    agent.settled(wants)
    lab.equal(wants)

    agent.say({"neighbors": [stays], "farewells": {two.v4: WHY}})
    agent.want({key: None for key in wants if key[0] == two.v4})
    wait_for(lambda: two.table() == {}, "the routes of the shut session to go", limit=5)
    agent.until(lambda: agent.sessions[two.v4]["state"] == "Removed", "its removal")
    heard = two.session()
    assert heard["lastNotificationReason"] == "Cease/Administrative Shutdown"
    assert heard["lastShutdownDescription"] == WHY
    assert heard["bgpState"] != "Established"
    assert one.session()["connectionsDropped"] == 0
    lab.equal({key: value for key, value in wants.items() if key[0] == one.v4})

    agent.neighbors(stays, goes)
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)
    assert one.session()["connectionsDropped"] == 0


def test_a_peer_that_only_leaves_the_list_gets_no_word(lab: Lab) -> None:
    """Another local AS, say, is the same router a moment later: a Cease would end its graceful restart."""
    one = lab.router(1)
    one.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(one.neighbor(graceful_restart=60))
    agent.established(one.v4)
    agent.neighbors()
    agent.until(lambda: agent.sessions[one.v4]["state"] == "Removed", "its removal")
    assert "lastShutdownDescription" not in one.session()
