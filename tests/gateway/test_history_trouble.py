"""What the history does where something is in its way: a full disk, a full queue, a kill, keys that are missing."""

from __future__ import annotations

import base64
import http.client
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.history import History
from gateway.history.opened import results_folder
from gateway.history.retention import DAY, sweep
from gateway.kept import KeptResult, NoSuchResult, ResultFolder
from gateway.sealed import KEY
from gateway.server import serve
from gateway.settings import SettingsError, load
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.plain_process import process
from tests.support.accounts import rows, store_at
from tests.support.fake_upstream import FakeUpstream

DRAW = "/api/generate/drawn"
CAT = "a cat that nobody may read of"
ASK = {"model": "chat", "messages": [{"role": "user", "content": CAT}], "seed": 3}


class Full:
    """A store on a disk that is full until it is said otherwise."""

    def __init__(self) -> None:
        self.full = True
        self.kept: dict[str, bytes] = {}

    def put(self, content: bytes, name: str | None = None) -> str:
        if self.full:
            raise OSError(28, "No space left on device: the disk is full")
        name = f"{len(self.kept):048x}"
        self.kept[name] = content
        return name

    def get(self, name: str) -> bytes:
        try:
            return self.kept[name]
        except KeyError:
            raise NoSuchResult(name) from None

    def delete(self, name: str) -> None:
        self.kept.pop(name, None)

    def list(self) -> Iterator[KeptResult]:
        yield from (KeptResult(name, len(content), 0.0) for name, content in self.kept.items())


def history(gateway: Gateway) -> list[dict[str, Any]]:
    reply = gateway.get("/api/history")
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["data"]
    return found


def test_where_the_results_have_no_room_the_work_goes_on_and_the_row_says_so(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Full()
    monkeypatch.setattr("gateway.history.opened.results_of", lambda _: store)
    with running(settings_for(fake, tmp_path)) as gateway:
        made = gateway.post(DRAW, {"seed": 1})
        assert made.status == 200
        (row,) = history(gateway)
        assert row["files"][0]["url"] is None
        assert row["files"][0]["bytes"] == len(made.body)
        gone = gateway.get(f"/api/history/{row['id']}/files/0")
        assert (gone.status, gone.json["error"]["code"]) == (410, "result_gone")
        assert "there was no room for it when it was made" in gone.json["error"]["message"]
        ready = gateway.get("/readyz")
        assert (ready.status, ready.json["results"]) == (200, "its disk is full")
        store.full = False
        assert gateway.post(DRAW, {"seed": 2}).status == 200
        assert history(gateway)[0]["files"][0]["url"] is not None
        assert gateway.get("/readyz").json["results"] == "ok"


def test_the_bound_of_the_results_is_such_a_case_too(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, history_bytes=1)) as gateway:
        assert gateway.post(DRAW, {"seed": 1}).status == 200
        assert history(gateway)[0]["files"][0]["url"] is None
        assert gateway.get("/readyz").json["results"] == "their room is used up"


def test_where_the_database_cannot_be_written_it_goes_on_until_the_queue_is_full(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post(DRAW, {"seed": 0}).status == 200
        assert len(history(gateway)) == 1
        audit = gateway.state.accounts.audit
        audit._room = 7
        with closing(sqlite3.connect(tmp_path / "gateway.db", isolation_level=None)) as other:
            other.execute("begin immediate")
            answers = [gateway.post(DRAW, {"seed": seed}) for seed in range(1, 8)]
            assert [answer.status for answer in answers] == [200, 200, 200, 503, 503, 503, 503]
            assert "nothing was begun, send the request again" in answers[3].json["error"]["message"]
            assert len(fake.asked) == 4, "the model was asked for what could not be kept"
            assert gateway.get("/readyz").status == 503
            other.execute("rollback")
        eventually(lambda: audit.flush(1), 60, "it was not written")
        assert [row["asked"]["seed"] for row in history(gateway)] == [3, 2, 1, 0]


def test_where_files_are_not_stored_fast_enough_it_is_said_before_the_work(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let, put = threading.Event(), ResultFolder.put

    def slow(self: ResultFolder, content: bytes) -> str:
        assert let.wait(60)
        return put(self, content)

    monkeypatch.setattr(ResultFolder, "put", slow)
    with running(settings_for(fake, tmp_path)) as gateway:
        gateway.state.history._room_bytes = 1
        assert gateway.post(DRAW, {"seed": 1}).status == 200
        refused = gateway.post(DRAW, {"seed": 2})
        assert refused.status == 503
        assert "bytes of answers wait to be written: nothing was begun" in refused.json["error"]["message"]
        assert gateway.get("/readyz").status == 503
        let.set()
        eventually(lambda: gateway.get("/readyz").status == 200, 60, "it is still full")
        assert [row["asked"]["seed"] for row in history(gateway)] == [1]


def keys(folder: Path, *names: str) -> Path:
    path = folder / "keys"
    path.write_text("".join(f"{name} {base64.b64encode(name.encode() * (KEY // 2)).decode()}\n" for name in names))
    path.chmod(0o600)
    return path


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in [*folder.glob("gateway.db*"), *(folder / "results").iterdir()])


def test_what_is_sealed_cannot_be_read_off_the_disk(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, encryption_keys=keys(tmp_path, "k1"))) as gateway:
        text = gateway.post("/v1/chat/completions", ASK).json["choices"][0]["message"]["content"]
        image = gateway.post(DRAW, {"seed": 1}).body
        drawn, said = history(gateway)
        assert (said["asked"]["messages"][0]["content"], said["text"]) == (CAT, text)
        assert said["receipt"]["model"] == "chat"
        assert gateway.get(drawn["files"][0]["url"]).body == image
        found = bytes_of(tmp_path)
        for secret in (CAT.encode(), text.encode(), image, b"\x89PNG"):
            assert secret not in found
        assert drawn["id"].encode() in found, "nothing was looked through"
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post("/v1/chat/completions", ASK).status == 200
        history(gateway)
        assert CAT.encode() in bytes_of(tmp_path), "without keys it is there to be read"


def test_without_its_key_a_row_tells_what_is_missing_and_others_are_shown(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, encryption_keys=keys(tmp_path, "k1"))) as gateway:
        assert gateway.post(DRAW, {"seed": 1}).status == 200
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post(DRAW, {"seed": 2}).status == 200
        plain, sealed = history(gateway)
        assert (plain["asked"], "trouble" in plain) == ({"seed": 2}, False)
        assert (sealed["asked"], sealed["receipt"]) == (None, None)
        assert "was sealed under key k1, and no file of keys is set: set encryption_keys" in sealed["trouble"]
        file = gateway.get(sealed["files"][0]["url"])
        assert (file.status, file.json["error"]["code"]) == (500, "sealed")
    with running(settings_for(fake, tmp_path, encryption_keys=keys(tmp_path, "k2", "k1"))) as gateway:
        assert [row["asked"]["seed"] for row in history(gateway)] == [2, 1], "an older key goes on opening its rows"
        assert gateway.ask("DELETE", f"/api/history/{sealed['id']}").status == 204


def test_a_file_that_is_damaged_is_never_sent(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post(DRAW, {"seed": 1}).status == 200
        (row,) = history(gateway)
        (file,) = (tmp_path / "results").iterdir()
        file.write_bytes(b"")  # as after a power cut
        damaged = gateway.get(row["files"][0]["url"])
        assert (damaged.status, damaged.json["error"]["message"]) == (
            410,
            "the file is damaged where it is kept; what was asked makes it again",
        )
        file.unlink()
        assert "is not kept any more" in gateway.get(row["files"][0]["url"]).json["error"]["message"]


def test_what_is_too_old_goes_with_its_files_and_files_without_rows_go_too(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path)) as gateway:
        for seed in range(2):
            assert gateway.post(DRAW, {"seed": seed}).status == 200
        young, old = history(gateway)
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as other, other:
        other.execute("update generations set created = created - 10 * 86400 where id = ?", (old["id"],))
    store, results = store_at(tmp_path / "gateway.db"), ResultFolder(tmp_path / "results", 1 << 20)
    orphan = results.put(b"nobody's")
    found = History(store.engine)
    (now,) = rows(tmp_path / "gateway.db", "select max(created) from generations")[0]
    stop = threading.Event()
    assert sweep(found, results, 0, stop, now=now) == (0, 0)
    assert sweep(found, results, 9, stop, now=now) == (1, 1)
    assert [row["id"] for row in found.page("anybody").rows] == [young["id"]]
    assert orphan in {kept.name for kept in results.list()}, "its row may still come"
    assert sweep(found, results, 9, stop, now=now + 2 * 3600) == (0, 1)
    assert len(list(results.list())) == 1
    stop.set()
    assert sweep(found, results, 9, stop, now=now + 100 * DAY) == (0, 0)
    store.engine.dispose()


def test_a_start_sweeps(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post(DRAW, {"seed": 1}).status == 200
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as other, other:
        other.execute("update generations set created = created - 100 * 86400")
    with running(settings_for(fake, tmp_path)) as gateway:
        eventually(lambda: history(gateway) == [], 60, "it is still there after 100 days")
        eventually(lambda: not list((tmp_path / "results").iterdir()), 60, "its file is still there")


def test_a_kill_with_rows_waiting_tears_nothing(fake: FakeUpstream, tmp_path: Path) -> None:
    """A real process, killed in the middle of it: every row that is there has its file, whole."""
    with process(tmp_path, upstream=fake.address, models=list(fake.models), port=0, spool=str(tmp_path / "s")) as made:
        gateway = Gateway(made.port, settings_for(fake, tmp_path), None)
        eventually(lambda: gateway.get("/readyz").status == 200, 60, "it is not ready")
        answered = []

        def ask(first: int) -> None:
            for seed in range(first, first + 1000):
                try:
                    answered.append(gateway.post(DRAW, {"seed": seed}).status)
                except (OSError, http.client.HTTPException):  # an answer may be cut in the middle
                    return

        callers = [threading.Thread(target=ask, args=(1000 * number,)) for number in range(4)]
        for caller in callers:
            caller.start()
        count = "select count(*) from generations"
        eventually(lambda: rows(tmp_path / "gateway.db", count)[0][0] > 20, 60, "nothing was written")
        made.process.kill()
        for caller in callers:
            caller.join(60)
    database = tmp_path / "gateway.db"
    assert rows(database, "pragma integrity_check") == [("ok",)]
    kept = rows(database, count)[0][0]
    assert 0 < kept <= len(answered) + 4
    with running(settings_for(fake, tmp_path)) as again:
        after, seen = "", 0
        while True:
            page = again.get(f"/api/history?limit=100{after}").json
            for row in page["data"]:
                assert again.get(row["files"][0]["url"]).status == 200, "a row without its file, or half of it"
            seen += len(page["data"])
            if not page["more"]:
                break
            after = f"&after={page['data'][-1]['id']}"
        assert seen == kept
        assert not list((tmp_path / "results").glob("*.part"))


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("history", "maybe", "setting history is 'maybe', wanted: 'on' or 'off'"),
        ("retention_days", "-1", "setting retention_days is '-1', wanted: greater than or equal to 0"),
        ("history_bytes", "much", "setting history_bytes is 'much', wanted: a whole number"),
        ("remove_personal_data", "perhaps", "setting remove_personal_data is 'perhaps', wanted: true or false"),
    ],
)
def test_a_wrong_setting_is_told(setting: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(None, {f"ATELIER_GATEWAY_{setting.upper()}": value})
    assert said in str(error.value)


def test_a_start_with_what_cannot_be_used_ends_with_the_reason(fake: FakeUpstream, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"setting results: .*file.* cannot be used"):
        serve(settings_for(fake, tmp_path, results=str(tmp_path / "file")))
    with pytest.raises(SettingsError, match=r"setting encryption_keys: keys .*none cannot be read"):
        serve(settings_for(fake, tmp_path, encryption_keys=tmp_path / "none"))


def test_results_lie_beside_the_database() -> None:
    assert results_folder("sqlite:////var/lib/atelier/a.db") == Path("/var/lib/atelier/results")
    assert results_folder("sqlite:///artifacts/gateway/gateway.db") == Path("artifacts/gateway/results")
    assert results_folder("mysql+pymysql://u:p@h/name") == Path("artifacts/gateway/results")


def test_what_was_asked_is_json_however_it_is_kept(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post("/v1/chat/completions", ASK).status == 200
        history(gateway)
    ((asked,),) = rows(tmp_path / "gateway.db", "select asked from generations")
    assert json.loads(asked)["messages"][0]["content"] == CAT
