"""A MariaDB that is killed, or hangs, under a gateway at work: who is known goes on, no row is lost, none is torn."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conftest import Gateway, Reply, eventually, running, settings_for
from tests.support.accounts import InUse, rows, sound, store_at
from tests.support.fake_upstream import FakeUpstream
from tests.support.mariadb import MariaDB, mariadb

# PyMySQL leaves a unix socket to the collector where nobody listens.
pytestmark = [pytest.mark.db, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
CALLERS = 4


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Iterator[MariaDB]:
    with mariadb() as made:
        monkeypatch.setattr(InUse, "server", made)
        yield made


def draw(gateway: Gateway, key: str) -> Reply:
    """One image of one caller."""
    asked = {"model": "drawn", "prompt": ""}
    return gateway.post("/v1/images/generations", asked, headers={"Authorization": f"Bearer {key}"})


class Callers:
    """Callers who draw without a pause until they are told to stop."""

    def __init__(self, gateway: Gateway, key: str) -> None:
        self.answers: list[Reply] = []
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(gateway, key)) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        wanted = len(self.answers) + count
        eventually(lambda: len(self.answers) >= wanted, 120, "the callers are not answered any more")

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _work(self, gateway: Gateway, key: str) -> None:
        while not self._stopped.is_set():
            self.answers.append(draw(gateway, key))


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_who_is_known_goes_on_and_no_row_is_lost(
    fake: FakeUpstream, tmp_path: Path, database: MariaDB, how: str
) -> None:
    path = tmp_path / "gateway.db"
    store = store_at(path)
    key, _ = store.create("known")
    other, _ = store.create("other")
    store.engine.dispose()
    with running(settings_for(fake, tmp_path, keys="required")) as gateway:
        assert draw(gateway, key).status == 200
        callers = Callers(gateway, key)
        try:
            callers.more(20)  # so that a transaction may be under way
            database.end(signal.SIGKILL) if how == "killed" else database.stop()
            callers.more(40)
            eventually(lambda: gateway.get("/readyz").json["database"] != "ok", 60, "nobody noticed")
            callers.more(40)
            assert gateway.get("/readyz").status == 200, "who is known is served"
            refused = draw(gateway, other)
            assert (refused.status, refused.json["error"]["code"]) == (503, "database_unavailable")
            assert "the database of keys does not answer" in refused.json["error"]["message"]
            assert "send the request again" in refused.json["error"]["message"]
            assert int(refused.headers["retry-after"]) >= 1
            database.start() if how == "killed" else database.go_on()
            eventually(lambda: draw(gateway, other).status == 200, 120, "it does not recover without a restart")
            callers.more(20)
        finally:
            callers.stop()
        assert {answer.status for answer in callers.answers} == {200}, "a caller who is known was refused"
        eventually(lambda: gateway.get("/readyz").json["database"] == "ok", 60, "it stays in trouble")
    drawn = len(callers.answers) + 2  # the first, and the other's
    assert rows(path, "select count(*), count(distinct id) from audit where status = 200") == [(drawn, drawn)]
    assert rows(path, "select sum(amount) from used") == [(drawn,)], "rows and quotas are written together"
    kept = "select count(*), count(distinct id) from generations"
    assert rows(path, kept) == [(drawn, drawn)], "what was made is in the history, each once"
    lost = "select count(*) from generations left join files on files.generation = generations.id where sha256 is null"
    assert rows(path, lost) == [(0,)], "a generation without its file is torn"
    assert sound(path)
