"""Which names a request may come by, and from which pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.conftest import Gateway, running, settings_for
from tests.gateway.raw import connected, head_of, to_the_end
from tests.support.fake_upstream import FakeUpstream


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "LOCALHOST:1", "[::1]", "[::1]:8080"])
def test_names_of_this_machine_are_let_in(gateway: Gateway, host: str) -> None:
    assert gateway.get("/healthz", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
def test_other_names_are_refused_without_keys(gateway: Gateway, host: str) -> None:
    answer = gateway.get("/healthz", headers={"Host": host})
    assert answer.status == 403
    assert f"Host is {host!r}, wanted localhost" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1", 200),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://evil.example:8080@localhost", 403),
        ("null", 403),
    ],
)
def test_pages_of_others_may_not_ask_without_keys(gateway: Gateway, origin: str, status: int) -> None:
    answer = gateway.get("/healthz", headers={"Origin": origin})
    assert answer.status == status
    assert "access-control-allow-origin" not in answer.headers
    if status == 403:
        assert f"Origin is {origin!r}, which may not ask here" in answer.json["error"]["message"]


def test_a_page_that_the_operator_names_may_ask_and_read(fake: FakeUpstream, tmp_path: Path) -> None:
    page = "https://app.example"
    with running(settings_for(fake, tmp_path, origins=(page,))) as gateway:
        before = gateway.ask("OPTIONS", "/v1/models", headers={"Origin": page, "Access-Control-Request-Method": "POST"})
        assert before.status == 204
        assert before.headers["access-control-allow-origin"] == page
        assert "authorization" in before.headers["access-control-allow-headers"]
        answer = gateway.get("/healthz", headers={"Origin": page})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, page)
        assert answer.headers["vary"] == "origin"
        assert gateway.get("/healthz", headers={"Origin": f"{page}.evil"}).status == 403


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: evil.example\r\n"])
def test_a_request_has_one_host(gateway: Gateway, hosts: str) -> None:
    with connected(gateway.port) as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n".encode())
        status, _, rest = head_of(connection)
        assert status == 400
        assert b"Host headers, wanted one" in rest + to_the_end(connection)
