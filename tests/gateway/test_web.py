"""The web page through a real server: languages, headers, its files, and nothing else of the disk."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.web.bridge import THREADS
from gateway.web.language import dictionaries
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.raw import connected
from tests.support.fake_upstream import FakeUpstream, fake_upstream


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(settings_for(upstream, tmp_path_factory.mktemp("gw"))) as made:
        yield made


def policy(headers: Any) -> dict[str, list[str]]:
    """Directive -> sources."""
    parts = [part.split() for part in headers["content-security-policy"].split(";")]
    return {name: sources for name, *sources in parts}


def test_the_page_has_a_strict_policy_and_a_nonce_of_its_own(door: Gateway) -> None:
    replies = [door.get("/") for _ in range(2)]
    found = [policy(reply.headers) for reply in replies]
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].headers["content-type"] == "text/html; charset=utf-8"
    for one in found:
        assert one["default-src"] == ["'none'"]
        assert one["script-src"] == ["'self'"], "nothing inline, no eval"
        assert one["frame-ancestors"] == one["base-uri"] == one["form-action"] == ["'none'"]
        assert "unsafe" not in str(one)
    assert found[0]["style-src"] != found[1]["style-src"]


def test_the_page_has_the_headers_of_every_answer(door: Gateway) -> None:
    headers = door.get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert len(headers["x-request-id"]) == 32


def test_nothing_stands_in_the_page_that_the_policy_would_refuse(door: Gateway) -> None:
    text = door.get("/").body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|x-html", text)
    for tag in re.findall(r"<script[^>]*>", text):
        assert 'src="/web/static/' in tag
    for address in re.findall(r'\s(?:href|src)="([^"]*)"', text):
        assert address.startswith(("/", "#")) or address == "data:,", "nothing comes from elsewhere"


@pytest.mark.parametrize(
    ("query", "accept", "language"),
    [
        ("", None, "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "en;q=0.2, ZH-Hant;q=0.7", "zh"),
        ("", "fr-FR, fr;q=0.9", "en"),
        ("", "fr, zh;q=0.1", "zh"),
        ("?lang=zh", "en", "zh"),
        ("?lang=en", "zh", "en"),
        ("?lang=../en", "zh", "zh"),
        ("?lang=%3Cscript%3E", None, "en"),
    ],
)
def test_a_reader_gets_the_language_that_was_asked_for(
    door: Gateway, query: str, accept: str | None, language: str
) -> None:
    reply = door.get(f"/{query}", headers={"Accept-Language": accept} if accept else {})
    text = reply.body.decode()
    assert reply.status == 200
    assert f'<html lang="{language}"' in text
    assert re.findall(r'<a href="/\?lang=(\w+)"[^>]*aria-current="true"', text) == [language]
    assert reply.headers["vary"] == "Accept-Language"
    assert "<script>" not in text


def test_dictionaries_have_the_same_keys_and_places() -> None:
    words = dictionaries()
    assert set(words) == {"en", "zh"}
    assert list(words["zh"]) == list(words["en"])
    for key, text in words["en"].items():
        other = words["zh"][key]
        assert not hasattr(dict, key), f"a template that says words.{key} would get a method"
        assert text.strip()
        assert other.strip()
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", other)), key


def test_every_word_of_the_page_is_in_the_dictionary_and_used() -> None:
    folder = Path(__file__).parents[2] / "gateway/web"
    sources = [*folder.glob("templates/*.html"), *folder.glob("static/*.js")]
    text = "\n".join(path.read_text() for path in sources)
    used = set(re.findall(r"\bwords\.(\w+)", text)) | {"language"}
    assert used == set(dictionaries()["en"])


@pytest.mark.parametrize(
    "path",
    [
        "/web/static/../pages.py",
        "/web/static/..%2fpages.py",
        "/web/static/%2e%2e/pages.py",
        "/web/static/..%5cpages.py",
        "/web/static/%2fetc/passwd",
        "/web/static//etc/passwd",
        "/web/static/%00",
        "/web/static/",
        "/web/static/nothing.js",
        "/web/templates/page.html",
        "/web/",
        "/web/static/.%2e/.%2e/.%2e/.%2e/.%2e/.%2e/etc/passwd",
    ],
)
def test_nothing_else_of_the_disk_is_served(door: Gateway, path: str) -> None:
    reply = door.get(path)
    assert reply.status == 404, reply.body[:100]
    assert b"from __future__" not in reply.body
    assert b"root:" not in reply.body
    assert b"the page is at /, its files are below /web/static/" in reply.body


def test_what_is_no_path_of_the_page_is_answered_as_before(door: Gateway) -> None:
    assert door.get("/nothing").json["error"]["message"].startswith("there is nothing at this path")
    assert door.get("/webs").status == 404
    assert door.get("/v1/chat/completions").status == 405, "the page's routes hide no other"


def test_other_methods_are_refused(door: Gateway) -> None:
    reply = door.post("/", {})
    assert (reply.status, set(reply.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    head = door.ask("HEAD", "/")
    assert (head.status, head.body) == (200, b"")


def test_a_query_that_is_no_ascii_is_refused(door: Gateway) -> None:
    with connected(door.port) as connection:
        connection.sendall(b"GET /?lang=\xe4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_the_page_is_there_while_no_model_is(upstream: FakeUpstream, tmp_path: Path) -> None:
    settings = settings_for(upstream, tmp_path, keys="required")
    upstream.stop()
    try:
        with running(settings) as gateway:
            assert gateway.get("/").status == 200, "it needs neither a model nor a key"
    finally:
        upstream.start()


def test_where_keys_are_wanted_the_page_asks_for_one(upstream: FakeUpstream, tmp_path: Path, door: Gateway) -> None:
    with running(settings_for(upstream, tmp_path, keys="required")) as gateway:
        text = gateway.get("/").body.decode()
        assert 'data-keys="required"' in text
        assert '<input id="key" type="password" autocomplete="off" required' in text
        assert gateway.get("/web/static/studio.js").status == 200
        assert gateway.get("/api/models").status == 401, "what it asks for needs one"
    text = door.get("/").body.decode()
    assert 'data-keys="none"' in text
    assert 'type="password"' not in text


def test_the_page_carries_the_words_of_its_scripts(door: Gateway) -> None:
    found = re.search(r'data-words="([^"]*)"', door.get("/?lang=zh").body.decode())
    assert found is not None
    assert json.loads(html.unescape(found[1])) == dictionaries()["zh"]


def test_another_host_gets_no_page(door: Gateway) -> None:
    assert door.get("/", headers={"Host": "evil.example"}).status == 403


def test_the_threads_end_with_the_gateway(upstream: FakeUpstream, tmp_path: Path) -> None:
    before = set(threading.enumerate())

    def threads() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one not in before and one.name.startswith("WSGI")]

    with running(settings_for(upstream, tmp_path)) as gateway:
        for _ in range(3 * THREADS):
            assert gateway.get("/").status == 200
        assert 1 <= len(threads()) <= THREADS
    eventually(lambda: not threads(), 30, "threads of the page are left")
