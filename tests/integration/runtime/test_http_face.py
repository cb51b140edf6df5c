"""The HTTP face over real sockets: probes, problems, limits, and an end that drops nothing."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from litestar import get, post
from litestar.exceptions import NotAuthorizedException
from litestar.params import JSONBody

from drivewake.runtime import telemetry
from drivewake.runtime.errors import ConfigurationError
from drivewake.runtime.http import (
    HEADER_BUFFER_BYTES,
    HttpServer,
    Tls,
    application,
    problem,
    serve_http,
)
from drivewake.runtime.lifecycle import Service, Stop
from drivewake.runtime.logging import configure
from drivewake.runtime.telemetry import traceparent

PATIENCE_S = 20.0
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@get("/slow")
async def slow() -> dict[str, str]:
    """Answer after a while."""
    await asyncio.sleep(0.5)
    return {"slow": "answer"}


@get("/broken")
async def broken() -> None:
    """Fail."""
    raise ValueError("the secret of the handler")


@get("/closed")
async def closed() -> None:
    """Refuse."""
    raise NotAuthorizedException("who are you", headers={"WWW-Authenticate": "Bearer"})


@get("/full")
async def full() -> Any:  # noqa: ANN401
    """Refuse with a problem of its own."""
    return problem(503, "come back later")


@get("/trace")
async def trace() -> str:
    """Return the current trace."""
    return traceparent() or ""


@post("/body")
async def body(data: JSONBody[dict[str, Any]]) -> int:
    """Return the size of what came."""
    return len(str(data))


class Face:
    """A running server and a client of it."""

    def __init__(self, service: Service, server: HttpServer, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.server = server
        self.client = client
        self.running = asyncio.create_task(server.run(service.stop))

    async def get(self, path: str, **options: Any) -> tuple[int, str, str]:  # noqa: ANN401
        """Return status, content type and text."""
        async with self.client.get(path, **options) as answer:
            return answer.status, answer.headers["Content-Type"], await answer.text()


@contextlib.asynccontextmanager
async def face(*, public: bool = False, **checks: Callable[[], Any]) -> AsyncIterator[Face]:
    """Serve the sample handlers on a port of the system's choice."""
    service = Service("sample", shutdown_s=5)
    app = application(
        service, [slow, broken, closed, full, trace, body], checks, body_limit_bytes=1000
    )
    server = HttpServer(app, "127.0.0.1", 0, public=public)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        running = Face(service, server, client)
        try:
            yield running
        finally:
            service.stop.request()
            await running.running


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Log as JSON; calling the fixture returns the lines so far."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure("sample", "info", "json")
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    root.handlers[:], root.level = before[0], before[1]
    structlog.reset_defaults()


async def fine() -> None:
    """Pass."""


async def fails() -> None:
    """Fail with a text that is nobody's business."""
    raise OSError("password=hidden")


async def hangs() -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def test_alive_while_loops_beat() -> None:
    """/healthz is 200 while heartbeats are fresh, 503 when a loop is stuck."""
    async with face() as running:
        status, kind, text = await running.get("/healthz")
        assert (200, "application/json") == (status, kind)
        assert {"status": "ok", "service": "sample", "stale_s": {}} == json.loads(text)
        running.service.heartbeat("poll", stale_s=-1)
        status, _, text = await running.get("/healthz")
        assert (503, ["poll"]) == (status, list(json.loads(text)["stale_s"]))


async def test_ready_when_all_checks_pass() -> None:
    """/readyz is 200 with each check's answer."""
    async with face(bus=fine, store=fine) as running:
        status, _, text = await running.get("/readyz")
        assert 200 == status
        assert {"status": "ready", "checks": {"bus": "ok", "store": "ok"}} == json.loads(text)


async def test_unready_says_which_check_and_no_more() -> None:
    """A check that fails or hangs makes it 503, in bounded time, without the error's text."""
    async with face(bus=fine, store=fails, slow=hangs) as running:
        status, _, text = await running.get("/readyz")
        assert 503 == status
        assert {"bus": "ok", "store": "OSError", "slow": "no answer in 2 s"} == json.loads(text)[
            "checks"
        ]
        assert "hidden" not in text


async def test_unready_while_it_stops() -> None:
    """After SIGTERM a load balancer is told to look elsewhere."""
    async with face(bus=fine) as running:
        slow_answer = asyncio.create_task(running.get("/slow"))
        await asyncio.sleep(0.1)
        running.service.stop.request()
        assert 200 == (await slow_answer)[0]


async def test_metrics_are_prometheus_text() -> None:
    """/metrics has our samples under Prometheus' content type."""
    async with face() as running:
        await running.get("/healthz")
        status, kind, text = await running.get("/metrics")
        assert 200 == status
        assert kind.startswith("text/plain; version=")
        assert 1 == kind.count("charset")
        assert 'drivewake_http_requests_total{status="2xx"}' in text
        assert "drivewake_http_request_duration_seconds_bucket" in text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/nowhere", {"title": "Not Found", "status": 404, "detail": "Not Found"}),
        ("/broken", {"title": "Internal Server Error", "status": 500}),
        ("/closed", {"title": "Unauthorized", "status": 401, "detail": "who are you"}),
        ("/full", {"title": "Service Unavailable", "status": 503, "detail": "come back later"}),
        ("/body", {"title": "Method Not Allowed", "status": 405, "detail": "Method Not Allowed"}),
    ],
)
async def test_errors_are_problems(path: str, expected: dict[str, object]) -> None:
    """Every error is application/problem+json; an unexpected one says nothing of itself."""
    async with face() as running:
        status, kind, text = await running.get(path)
        assert (expected["status"], "application/problem+json") == (status, kind)
        assert expected == json.loads(text)


async def test_headers_of_an_error_are_kept() -> None:
    """What an exception wants to send beside its text is sent."""
    async with face() as running, running.client.get("/closed") as answer:
        assert "Bearer" == answer.headers["WWW-Authenticate"]


async def test_bodies_are_bounded() -> None:
    """A body over the limit is 413, as a problem."""
    async with face() as running:
        async with running.client.post("/body", json={"a": "b" * 2000}) as answer:
            assert (413, "application/problem+json") == (answer.status, answer.content_type)
        async with running.client.post("/body", json={"a": "b"}) as answer:
            assert 201 == answer.status


async def test_headers_are_bounded() -> None:
    """Headers over the buffer are 431, and reach no handler."""
    async with face(public=True) as running:
        status, _, _ = await running.get("/healthz", headers={"X": "y" * 10_000})
        assert 200 == status
        async with running.client.get(
            "/healthz", headers={"X": "y" * (HEADER_BUFFER_BYTES * 4)}
        ) as answer:
            assert 431 == answer.status


@pytest.mark.slow
async def test_slow_headers_are_cut() -> None:
    """A client that never ends its headers is cut off; others are served meanwhile."""
    async with face(public=True) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        await writer.drain()
        assert 200 == (await running.get("/healthz"))[0]
        async with asyncio.timeout(PATIENCE_S):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_traces_go_on_between_services_but_not_from_strangers() -> None:
    """A private face continues the caller's trace; a public one begins its own."""
    telemetry.configure("sample")
    traces = []
    for public in (False, True):
        async with face(public=public) as running:
            _, _, text = await running.get("/trace", headers={"traceparent": PARENT})
            traces.append(text[3:35])
    telemetry.shutdown()
    assert PARENT[3:35] == traces[0]
    assert traces[1] not in {"", PARENT[3:35]}


async def test_the_access_line_holds_no_header_and_no_query(
    log: Callable[[], list[dict[str, Any]]],
) -> None:
    """One line a request: method, path, status, time; quiet for probes that pass."""
    async with face() as running:
        await running.get("/healthz")
        await running.get("/full?code=hidden", headers={"Authorization": "Bearer hidden"})
        await running.get("/nowhere")
    lines = [line for line in log() if line["action"] == "http_request"]
    assert [("GET", "/full", 503), ("GET", "/nowhere", 404)] == [
        (line["method"], line["path"], line["status"]) for line in lines
    ]
    assert "hidden" not in json.dumps(lines)


async def test_a_port_in_use_is_one_line() -> None:
    """Two servers on one port: the second says which setting to change."""
    async with face() as running:
        with pytest.raises(ConfigurationError) as caught:
            await serve_http(
                application(Service("x", shutdown_s=1)), "127.0.0.1", running.server.port, Stop()
            )
        port = running.server.port
        expected = f"DRIVEWAKE_HTTP_PORT: cannot listen on 127.0.0.1:{port}: Address already in use"
        assert expected == str(caught.value)


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
async def test_a_wrong_host_is_one_line(host: str) -> None:
    """A name that does not resolve, or an address of another machine."""
    with pytest.raises(ConfigurationError, match="DRIVEWAKE_HTTP_"):
        HttpServer(application(Service("x", shutdown_s=1)), host, 0)


async def test_many_clients_at_once() -> None:
    """Requests run together; each gets its own answer."""
    async with face() as running:
        answers = await asyncio.gather(*(running.get("/slow") for _ in range(50)))
        assert [200] * 50 == [status for status, _, _ in answers]


async def test_a_port_is_free_after_the_end() -> None:
    """The address can be bound again at once."""
    async with face() as running:
        await running.get("/healthz")
        port = running.server.port
    HttpServer(application(Service("x", shutdown_s=1)), "127.0.0.1", port).close()


async def test_tls_can_end_here(tmp_path: Path) -> None:
    """With certificate and key the same face speaks TLS 1.2 and newer."""
    tls = _certificate(tmp_path)
    server = HttpServer(application(Service("face", shutdown_s=5)), "127.0.0.1", 0, tls=tls)
    stop = Stop()
    serving = asyncio.create_task(server.run(stop))
    trust = ssl.create_default_context(cafile=str(tls.certificate))
    url = f"https://127.0.0.1:{server.port}/healthz"
    async with aiohttp.ClientSession() as client, client.get(url, ssl=trust) as answer:
        status = answer.status
    stop.request()
    await serving

    assert 200 == status


async def test_a_certificate_that_cannot_serve_is_one_line(tmp_path: Path) -> None:
    """The start fails with the settings' names, not at the first client."""
    tls = _certificate(tmp_path)
    tls.key.write_text("no key")

    with pytest.raises(ConfigurationError, match="DRIVEWAKE_TLS_CERTIFICATE") as caught:
        HttpServer(application(Service("face", shutdown_s=5)), "127.0.0.1", 0, tls=tls)

    assert "\n" not in str(caught.value)


def _certificate(folder: Path) -> Tls:
    """Make a certificate for this machine's loopback address that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    tls = Tls(certificate=folder / "chain.pem", key=folder / "key.pem")
    tls.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tls.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return tls
