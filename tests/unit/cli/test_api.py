"""The way to the API server: what is wrong with a kubeconfig is one line, and so is a refusal."""

from pathlib import Path

import pytest
import yaml

from metalbgp.cli.api import Connection, connect, refusal
from metalbgp.cli.errors import Absent, CliError, NotAllowed, Refused, Usage


def kubeconfig(folder: Path, user: dict[str, object], **context: str) -> str:
    file = folder / "config"
    about = {"cluster": "c", "user": "u", **context}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "lab", "context": about}],
    }
    file.write_text(yaml.safe_dump(document))
    return str(file)


async def test_the_context_gives_server_and_namespace(tmp_path: Path) -> None:
    api = await connect(Connection(kubeconfig=kubeconfig(tmp_path, {"token": "x"}, namespace="web")))
    assert (api.server, api.namespace) == ("https://127.0.0.1:1", "web")
    with pytest.raises(CliError, match=r"https://127\.0\.0\.1:1 does not answer: "):
        await api.request("GET", "/api")
    await api.close()


async def test_no_kubeconfig_at_all() -> None:
    with pytest.raises(CliError, match="there is no kubeconfig at /none; name one with --kubeconfig"):
        await connect(Connection(kubeconfig="/none"))


async def test_a_context_that_is_not_in_it_is_usage(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r'there is no context "lap"; did you mean "lab"\?'):
        await connect(Connection(kubeconfig=kubeconfig(tmp_path, {"token": "x"}), context="lap"))


async def test_an_exec_plugin_gives_the_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    credential = (
        '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"t"}}'
    )
    plugin.write_text(f"#!/bin/sh\necho '{credential}'\n")
    plugin.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}}
    api = await connect(Connection(kubeconfig=kubeconfig(tmp_path, user)))
    assert (await api._headers())["authorization"] == "Bearer t"  # type: ignore[attr-defined]  # of OfficialApi
    await api.close()


async def test_an_exec_plugin_that_fails_is_said_and_not_taken_for_a_missing_right(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/none"}}
    with pytest.raises(CliError, match=r"kubeconfig: no credentials: .*/none"):
        await connect(Connection(kubeconfig=kubeconfig(tmp_path, user)))


@pytest.mark.parametrize("text", ["", "[", "a: 1"])
async def test_a_broken_kubeconfig_is_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(CliError) as caught:
        await connect(Connection(kubeconfig=str(file)))
    assert str(caught.value).startswith("kubeconfig")
    assert "\n" not in str(caught.value)


def test_refusals_carry_the_servers_own_words() -> None:
    found = refusal(403, b'{"kind": "Status", "message": "pods is\\nforbidden"}', "GET /x")
    assert isinstance(found, NotAllowed)
    assert str(found) == "pods is forbidden"
    assert isinstance(refusal(404, b"<html>", "GET /x"), Absent)
    assert str(refusal(502, b"<html>", "GET /x")) == "GET /x: the API server answered 502"
    assert type(refusal(401, b"", "GET /x")) is Refused
