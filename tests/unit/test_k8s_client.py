"""The client against servers that misbehave in ways a real one cannot be made to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from kube_ovn.k8s.client import Client, KubeError
from kube_ovn.k8s.credentials import (
    Anonymous,
    Authorization,
    Credentials,
    CredentialsError,
    TokenFile,
    load_credentials,
)
from kube_ovn.k8s.decode import Changed
from kube_ovn.model.resource import IPPOOLS, PODS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, authorization: Authorization | None = None) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with Client(Credentials(url, None, authorization or Anonymous(), "default")) as client:
            yield client
    finally:
        await runner.cleanup()


def pod(name: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "5"}}


async def test_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    seen: list[str] = []
    token = tmp_path / "token"
    token.write_text("old\n")

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response(pod("a")) if seen[-1] == "Bearer new" else web.Response(status=401)

    async with serving(handler, TokenFile(token)) as client:
        with pytest.raises(KubeError) as refused:
            await client.get(PODS, "n", "a")
        assert refused.value.status == 401
        token.write_text("new\n")
        await client.get(PODS, "n", "a")
    assert seen == ["Bearer old", "Bearer old", "Bearer old", "Bearer new"]


async def test_a_missing_token_is_a_sentence(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(pod("a"))

    async with serving(handler, TokenFile(tmp_path / "token")) as client:
        with pytest.raises(KubeError, match="No such file") as refused:
            await client.get(PODS, "n", "a")
    assert refused.value.reason == "Credentials"


async def test_a_silent_server_is_given_up() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(handler) as client:
        with pytest.raises(KubeError) as silent:
            await client.request("GET", "/api/v1/pods", deadline=0.1)
    assert (silent.value.status, silent.value.reason) == (0, "Timeout")


async def test_no_server() -> None:
    async with Client(Credentials("http://127.0.0.1:1", None, Anonymous(), "default")) as client:
        with pytest.raises(KubeError) as nobody:
            await client.list(PODS)
    assert (nobody.value.status, nobody.value.reason) == (0, "Unreachable")


async def test_a_proxy_that_talks_html() -> None:
    async def handler(request: web.Request) -> web.Response:
        status = 502 if request.method == "GET" else 200
        return web.Response(status=status, text="<html>", content_type="text/html")

    async with serving(handler) as client:
        with pytest.raises(KubeError, match="/api/v1/pods: <html>") as bad:
            await client.list(PODS)
        assert bad.value.status == 502
        with pytest.raises(KubeError, match="not understood"):
            await client.create(PODS, "n", {})


async def test_a_watch_in_awkward_pieces() -> None:
    lines = b"".join(json.dumps({"type": "ADDED", "object": pod(name)}).encode() + b"\n" for name in ("a", "b", "c"))

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(lines), 7):
            await response.write(lines[start : start + 7])
            await asyncio.sleep(0)
        return response

    async with serving(handler) as client:
        events = [event async for event in client.watch(PODS, "1")]
    assert [event.object.metadata.name for event in events if isinstance(event, Changed)] == ["a", "b", "c"]


async def test_a_watch_cut_in_the_middle() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "ADDED", "obj')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(handler) as client:
        with pytest.raises(KubeError) as cut:
            _ = [event async for event in client.watch(PODS, "1")]
    assert cut.value.reason == "Unreachable"


async def test_a_watch_that_should_have_ended_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube_ovn.k8s.client.GRACE", 0.05)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(60)
        return response

    async with serving(handler) as client:
        with pytest.raises(KubeError) as silent:
            _ = [event async for event in client.watch(PODS, "1", seconds=0.05)]
    assert silent.value.reason == "Timeout"


async def test_an_expired_watch() -> None:
    status = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=json.dumps(status).encode() + b"\n")

    async with serving(handler) as client:
        with pytest.raises(KubeError, match="pods: too old") as old:
            _ = [event async for event in client.watch(PODS, "1")]
    assert old.value.expired


def test_a_service_account_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kube_ovn.k8s.credentials.SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("kube-system")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    with pytest.raises(CredentialsError, match="service account"):
        load_credentials(environ=environ)
    (tmp_path / "ca.crt").write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    credentials = load_credentials(environ=environ)
    assert (credentials.server, credentials.namespace) == ("https://[fd00::1]:6443", "kube-system")


async def test_a_kubeconfig(tmp_path: Path) -> None:
    path = tmp_path / "config"
    script = tmp_path / "plugin"
    script.write_text(
        '#!/bin/sh\necho x >> "$0.calls"\necho \'{"status": {"token": "from-plugin-\'$(wc -l < "$0.calls")\'"}}\'\n'
    )
    script.chmod(0o755)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": str(script)}
    config = {
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1/"}}],
        "users": [{"name": "u", "user": {"exec": plugin}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "mine"}}],
    }
    path.write_text(json.dumps(config))
    credentials = load_credentials(str(path))
    assert (credentials.server, credentials.namespace) == ("http://127.0.0.1:1", "mine")
    assert await credentials.authorization.header(False) == "Bearer from-plugin-1"
    assert await credentials.authorization.header(False) == "Bearer from-plugin-1"
    assert await credentials.authorization.header(True) == "Bearer from-plugin-2"


@pytest.mark.parametrize("text", ["", "[]", "a: b", "clusters: [{}]\ncontexts: []", "\tno yaml"])
def test_a_bad_kubeconfig_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(CredentialsError, match=str(path)):
        load_credentials(str(path))
    with pytest.raises(CredentialsError, match="No such file"):
        load_credentials(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("status", "answer", "lacks"),
    [
        (200, {"resources": [{"name": "subnets"}, {"name": "subnets/status"}]}, True),
        (200, {"resources": [{"name": "subnets"}, {"name": "ippools"}]}, False),
        (200, {"kind": "Status"}, False),
        (404, {}, False),
        (403, {}, False),
    ],
)
async def test_a_kind_is_lacking_when_the_list_of_kinds_says_so(
    status: int, answer: dict[str, object], lacks: bool
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/apis":
            return web.json_response({}, status=500)
        assert request.path == "/apis/kubeovn.io/v1"
        return web.json_response(answer, status=status)

    async with serving(handler) as client:
        assert await client.lacks(IPPOOLS) == lacks


@pytest.mark.parametrize(
    ("status", "answer", "lacks"),
    [
        (200, {"groups": [{"name": "apps", "versions": [{"groupVersion": "apps/v1"}]}]}, True),
        (200, {"groups": [{"name": "kubeovn.io", "versions": [{"groupVersion": "kubeovn.io/v2"}]}]}, True),
        (200, {"groups": [{"name": "kubeovn.io", "versions": [{"groupVersion": "kubeovn.io/v1"}]}]}, False),
        (200, {"kind": "Status"}, False),
        (503, {}, False),
    ],
)
async def test_a_kind_is_lacking_when_its_group_is_not_among_all_groups(
    status: int, answer: dict[str, object], lacks: bool
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/apis":
            return web.json_response(answer, status=status)
        assert request.path == "/apis/kubeovn.io/v1"
        return web.json_response({}, status=404)

    async with serving(handler) as client:
        assert await client.lacks(IPPOOLS) == lacks
