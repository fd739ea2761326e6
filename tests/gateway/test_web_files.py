"""The files that the page is made of: those of others are what VENDORED says, with their licences."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.web.pages import STATIC
from tests.gateway.conftest import Gateway, running, settings_for
from tests.support.fake_upstream import fake_upstream

LINES = [line for line in (STATIC / "VENDORED").read_text().splitlines() if not line.startswith("#")]
VENDORED = {name: rest for name, *rest in (line.split() for line in LINES)}
OURS = re.compile(r"[a-z_]+\.(js|css)|VENDORED")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("files")
    with fake_upstream(folder) as fake, running(settings_for(fake, folder)) as made:
        yield made


@pytest.mark.parametrize("name", sorted(VENDORED))
def test_a_file_of_others_is_the_one_that_is_listed(name: str) -> None:
    package, version, licence, path, digest = VENDORED[name]
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert licence in ("MIT", "BSD-3-Clause")
    licences = [other for other, rest in VENDORED.items() if rest[0] == package and other.endswith(".LICENSE")]
    assert len(licences) == 1, f"{package} comes with its licence"
    assert path == "-" or not Path(path).is_absolute()


def test_every_file_is_ours_or_listed() -> None:
    found = {path.name for path in STATIC.iterdir()}
    assert set(VENDORED) <= found
    assert [name for name in sorted(found - set(VENDORED)) if not OURS.fullmatch(name)] == []


@pytest.mark.parametrize("name", sorted(path.name for path in STATIC.iterdir()))
def test_a_file_is_sent_as_it_is(door: Gateway, name: str) -> None:
    reply = door.get(f"/web/static/{name}")
    assert (reply.status, reply.body) == (200, (STATIC / name).read_bytes())
    if name.endswith(".js"):
        assert reply.headers["content-type"].partition(";")[0] in ("text/javascript", "application/javascript")
    if name.endswith(".css"):
        assert reply.headers["content-type"].startswith("text/css")
    assert reply.headers["cache-control"] == "no-cache", "kept, but asked after"
    again = door.get(f"/web/static/{name}", headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert door.ask("HEAD", f"/web/static/{name}").headers["content-length"] == str(len(reply.body))


def test_no_file_loads_from_elsewhere_or_makes_html_of_text() -> None:
    for path in STATIC.glob("*.js"):
        if path.name in VENDORED:
            continue
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert all(found.startswith("./") for found in re.findall(r'\bfrom "([^"]+)"', text)), path.name
        assert "http" not in text
        assert len(text.splitlines()) <= 300
