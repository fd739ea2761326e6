"""A gateway for tests: real uvicorn on a free port, before an upstream that answers as it is told."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from benchmarks.server import eventually
from gateway.server import listen, server
from gateway.settings import Settings
from tests.conftest import Tiny
from tests.support.accounts import InUse, url_of
from tests.support.fake_upstream import FakeUpstream, fake_upstream
from tests.support.gateway_server import Front, behind_a_gateway
from tests.support.mariadb import MariaDB, mariadb
from tests.support.sabotage import renamed

# What a module has imported where its tests start a gateway or an upstream before one.
STARTERS = {"FakeUpstream", "Front", "Gateway", "Media", "fake_upstream", "media", "plainly", "process", "running"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A gateway is a server, too: such tests are none of `make test-fast`."""
    for item in items:
        if (
            isinstance(item, pytest.Function)
            and item.path.parent.name == "gateway"
            and STARTERS & vars(item.module).keys()
        ):
            item.add_marker(pytest.mark.slow)


@dataclasses.dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One that runs in a thread of this process; `state` is its app.state."""

    port: int
    settings: Settings
    state: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request over a connection of its own: a JSON document, or a body as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = dict(headers or {})
        if document is not None:
            body = json.dumps(document).encode()
            given.setdefault("Content-Type", "application/json")
        with contextlib.closing(connection):
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())

    def get(self, path: str, **options: Any) -> Reply:
        return self.ask("GET", path, **options)

    def post(self, path: str, document: Any = None, **options: Any) -> Reply:
        return self.ask("POST", path, document, **options)


@contextmanager
def running(settings: Settings) -> Iterator[Gateway]:
    """A gateway of these settings once it listens."""
    made = server(settings)
    with listen(settings) as found:
        thread = threading.Thread(target=made.run, args=([found],), daemon=True)
        thread.start()
        eventually(lambda: made.started or not thread.is_alive(), 20, "the gateway does not listen")
        assert thread.is_alive(), "the gateway did not start"
        try:
            yield Gateway(found.getsockname()[1], settings, _state(made))
        finally:
            made.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the gateway did not stop"


def _state(made: uvicorn.Server) -> Any:
    app: Any = made.config.app
    return app.state


def settings_for(fake: FakeUpstream, folder: Path, **changes: Any) -> Settings:
    """Settings of a gateway before `fake` that keeps its things in `folder`."""
    values = {
        "port": 0,
        "upstream": fake.address,
        "models": tuple(fake.models),
        "spool": folder / "spool",
        "database": url_of(folder / "gateway.db"),
        "drain_seconds": 5,
        "log_level": "error",
    }
    return Settings(**{**values, **changes})


@pytest.fixture(scope="session")
def server_of_databases() -> Iterator[MariaDB]:
    with mariadb() as made:
        yield made


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.db)])
def each_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs once on SQLite, and once (`make test-all`) on a real MariaDB."""
    if request.param == "mariadb":
        monkeypatch.setattr(InUse, "server", request.getfixturevalue("server_of_databases"))


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as made:
        yield made


@pytest.fixture
def gateway(fake: FakeUpstream, tmp_path: Path) -> Iterator[Gateway]:
    with running(settings_for(fake, tmp_path)) as made:
        yield made


@pytest.fixture(scope="session")
def front(tiny: Tiny, tiny_text: Tiny, tiny_voice: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A real server with `tiny` (images), `text` and `voice` behind the gateway, which is short of patience."""
    store = tmp_path_factory.mktemp("store")
    for model in (tiny, tiny_voice):
        shutil.copy(model.archive, store)
    renamed(tiny_text.bundle, "text", store)
    patience = dict.fromkeys(("header_seconds", "body_seconds", "send_seconds"), "2")
    with behind_a_gateway(store, tmp_path_factory.mktemp("front"), settings=patience) as made:
        yield made
        assert made.server.process.poll() is None, "the server went away during the tests"


__all__ = ["Gateway", "Reply", "eventually", "running", "settings_for"]
