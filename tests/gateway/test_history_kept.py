"""What is made is kept, for whoever asked for it, as it was sent; read and deleted through the routes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from gateway.accounts.store import Store
from gateway.kept import ResultFolder
from tests.gateway.conftest import Gateway, Reply, eventually, running, settings_for
from tests.support.accounts import rows, store_at
from tests.support.fake_upstream import FakeUpstream, refused
from tests.support.pictures import encoded, gradient


def history(gateway: Gateway, **options: Any) -> list[dict[str, Any]]:
    reply = gateway.get("/api/history", **options)
    assert reply.status == 200, reply.body
    found: list[dict[str, Any]] = reply.json["data"]
    return found


def results(folder: Path) -> list[Path]:
    return sorted((folder / "results").iterdir())


def test_an_image_is_kept_with_what_makes_it_again(gateway: Gateway, tmp_path: Path) -> None:
    made = gateway.post("/api/generate/drawn", {"seed": 7})
    assert made.status == 200
    (row,) = history(gateway)
    assert (row["model"], row["medium"], row["status"], row["job"]) == ("drawn", "image", "done", None)
    assert row["route"] == "/api/generate/{name}"
    assert row["asked"] == {"seed": 7}
    assert row["receipt"]["params"]["seed"] == 7
    digest = hashlib.sha256(made.body).hexdigest()
    url = f"/api/history/{row['id']}/files/0"
    assert row["files"] == [
        {"index": 0, "content_type": "image/png", "bytes": len(made.body), "sha256": digest, "url": url}
    ]
    assert "text" not in row
    assert gateway.get(f"/api/history/{row['id']}").json == row
    file = gateway.get(url)
    assert (file.status, file.body) == (200, made.body)
    assert file.headers["content-type"] == "image/png"
    assert file.headers["content-disposition"] == "attachment"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in file.headers["content-security-policy"]
    assert "no-store" in file.headers["cache-control"]
    assert len(results(tmp_path)) == 1


def test_each_image_of_several_is_a_file(gateway: Gateway) -> None:
    made = gateway.post("/v1/images/generations", {"model": "drawn", "prompt": "", "n": 3, "seed": 7})
    assert made.status == 200
    (row,) = history(gateway)
    assert row["route"] == "/v1/images/generations"
    assert [file["index"] for file in row["files"]] == [0, 1, 2]
    assert len({gateway.get(file["url"]).body for file in row["files"]}) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_is_kept_whole_or_streamed(gateway: Gateway, stream: bool) -> None:
    ask = {"model": "told", "prompt": "The ", "seed": 3, "stream": stream}
    assert gateway.post("/v1/completions", ask).status == 200
    (row,) = history(gateway)
    assert (row["medium"], row["status"]) == ("text", "done")
    assert row["asked"]["prompt"] == "The "
    whole = gateway.post("/v1/completions", {**ask, "stream": False}).json["choices"][0]["text"]
    assert row["text"] == whole
    assert "files" not in row
    assert row["receipt"]["model"] == "told"


def test_a_text_of_the_native_route_and_a_dialogue(gateway: Gateway) -> None:
    assert gateway.post("/api/generate/told", {"prompt": "a", "stream": True}).status == 200
    messages = [{"role": "user", "content": "<script>alert(1)</script>"}]
    assert gateway.post("/v1/chat/completions", {"model": "chat", "messages": messages, "stream": True}).status == 200
    said, written = history(gateway)
    assert (said["asked"]["messages"], said["route"]) == (messages, "/v1/chat/completions")
    assert said["text"]
    assert written["text"]
    reply = gateway.get(f"/api/history/{said['id']}")
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_short_sound_is_kept_also_of_a_stream(gateway: Gateway) -> None:
    whole = gateway.post("/api/generate/digits", {"label": "7", "seed": 1})
    streamed = gateway.post("/api/generate/digits", {"label": "7", "seed": 1, "stream": True})
    rows_ = history(gateway)
    assert [gateway.get(row["files"][0]["url"]).body for row in rows_] == [streamed.body, whole.body]


def test_a_long_sound_of_a_stream_is_a_row_without_a_file(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.history.keeper.MAX_SOUND", 1000)
    assert gateway.post("/api/generate/digits", {"label": "7", "stream": True}).status == 200
    (row,) = history(gateway)
    assert (row["files"], row["status"], row["asked"]["label"]) == ([], "done", "7")


def test_what_was_refused_is_no_generation(gateway: Gateway, fake: FakeUpstream) -> None:
    assert gateway.post("/api/generate/drawn", {"seed": -1}).status == 400
    fake.models["drawn"].reply = lambda _: refused(503, "busy")
    assert gateway.post("/api/generate/drawn", {"seed": 1}).status == 503
    assert history(gateway) == []
    assert gateway.state.history._audit._taken_bytes == 0, "its room was not given back"


def test_a_stream_that_breaks_off_is_told_as_failed(gateway: Gateway, fake: FakeUpstream) -> None:
    usual = gateway.post("/api/generate/told", {"prompt": "a"}).json["choices"][0]["text"]
    fake.hold()
    ask = {"model": "told", "prompt": "a", "stream": True}
    told: list[Reply] = []
    caller = threading.Thread(target=lambda: told.append(gateway.post("/v1/completions", ask)))
    caller.start()
    eventually(lambda: fake.running == 1, 30, "it was not asked")
    fake.die()
    caller.join(60)
    assert b'"error"' in told[0].body
    row = history(gateway)[0]
    assert row["status"] == "failed"
    assert usual.startswith(row["text"])


@pytest.fixture
def keyed(fake: FakeUpstream, tmp_path: Path) -> Iterator[tuple[Gateway, list[dict[str, str]]]]:
    """A gateway that wants keys, and the headers of two callers."""
    store = store_at(tmp_path / "gateway.db")
    keys = [{"Authorization": f"Bearer {store.create(name)[0]}"} for name in ("a", "b")]
    with running(settings_for(fake, tmp_path, keys="required")) as made:
        yield made, keys
    store.engine.dispose()


def test_nobody_reaches_what_is_anothers(keyed: tuple[Gateway, list[dict[str, str]]]) -> None:
    gateway, (mine, other) = keyed
    assert gateway.get("/api/history").status == 401
    assert gateway.post("/api/generate/drawn", {"seed": 7}, headers=mine).status == 200
    (row,) = history(gateway, headers=mine)
    assert history(gateway, headers=other) == []
    for method, path in (
        ("GET", f"/api/history/{row['id']}"),
        ("DELETE", f"/api/history/{row['id']}"),
        ("GET", row["files"][0]["url"]),
        ("GET", f"/api/history?after={row['id']}"),
    ):
        reply = gateway.ask(method, path, headers=other)
        assert (reply.status, reply.json["error"]["message"]) == (
            404,
            f"your history has no generation '{row['id']}': it was deleted, or never was",
        )
    confirmed = {"confirm": "delete everything"}
    assert gateway.ask("DELETE", "/api/history", confirmed, headers=other).json == {"deleted": 0}
    assert gateway.get(row["files"][0]["url"], headers=mine).status == 200


@pytest.mark.parametrize(
    "path", ["/api/history/{}/files/..%2f..%2fgateway.db", "/api/history/{}/files/-1", "/api/history/{}/files/0x0"]
)
def test_a_name_that_is_none_reaches_no_file(gateway: Gateway, path: str) -> None:
    assert gateway.post("/api/generate/drawn", {"seed": 7}).status == 200
    (row,) = history(gateway)
    assert gateway.get(path.format(row["id"])).status in (400, 404)
    for other in ("..", "..%2f..%2fetc%2fpasswd", "%00", "a" * 1000):
        assert gateway.get(path.format(other)).status in (400, 404)
    assert gateway.get(f"/api/history/{row['id']}/files/1").json["error"]["message"] == (
        "this generation has 1 files, counted from 0"
    )


def test_a_page_at_a_time(gateway: Gateway) -> None:
    for seed in range(3):
        assert gateway.post("/api/generate/drawn", {"seed": seed}).status == 200
    first = gateway.get("/api/history?limit=2").json
    assert ([row["asked"]["seed"] for row in first["data"]], first["more"]) == ([2, 1], True)
    second = gateway.get(f"/api/history?limit=2&after={first['data'][-1]['id']}").json
    assert ([row["asked"]["seed"] for row in second["data"]], second["more"]) == ([0], False)
    for limit, said in (("0", "limit is 0, wanted 1 to 100"), ("x", "limit is 'x', wanted a whole number")):
        reply = gateway.get(f"/api/history?limit={limit}")
        assert (reply.status, reply.json["error"]["message"]) == (400, said)


def test_one_is_deleted_with_its_file(gateway: Gateway, tmp_path: Path) -> None:
    for seed in range(2):
        assert gateway.post("/api/generate/drawn", {"seed": seed}).status == 200
    new, old = history(gateway)
    assert gateway.ask("DELETE", f"/api/history/{old['id']}").status == 204
    assert gateway.ask("DELETE", f"/api/history/{old['id']}").status == 404
    assert gateway.get(old["files"][0]["url"]).status == 404
    assert history(gateway) == [new]
    assert len(results(tmp_path)) == 1
    assert len(rows(tmp_path / "gateway.db", "select * from files")) == 1


def test_all_are_deleted_by_whoever_says_so(gateway: Gateway, tmp_path: Path) -> None:
    for seed in range(3):
        assert gateway.post("/api/generate/drawn", {"seed": seed}).status == 200
    for body in ({}, {"confirm": "yes"}, {"confirm": "delete everything", "more": 1}):
        reply = gateway.ask("DELETE", "/api/history", body)
        assert (reply.status, reply.json["error"]["param"]) == (400, "confirm")
    assert len(history(gateway)) == 3
    assert gateway.ask("DELETE", "/api/history", {"confirm": "delete everything"}).json == {"deleted": 3}
    assert history(gateway) == []
    assert results(tmp_path) == []
    assert rows(tmp_path / "gateway.db", "select * from files") == []


def test_where_it_is_off_nothing_more_is_kept(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post("/api/generate/drawn", {"seed": 1}).status == 200
        assert len(history(gateway)) == 1
    with running(settings_for(fake, tmp_path, history="off")) as gateway:
        assert gateway.post("/api/generate/drawn", {"seed": 2}).status == 200
        assert gateway.post("/v1/completions", {"model": "told", "prompt": "a", "stream": True}).status == 200
        assert [row["asked"] for row in history(gateway)] == [{"seed": 1}], "what was kept is still its owner's"
    assert len(results(tmp_path)) == 1


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """What is said to a database, and by which thread."""
    said: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *_: said.append(threading.current_thread().name))
    yield said


def test_a_request_waits_for_no_sql_and_no_file(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is held and the store does not return, and answers come all the same."""
    let = threading.Event()

    put = ResultFolder.put

    def slow(self: ResultFolder, content: bytes) -> str:
        assert let.wait(60)
        return put(self, content)

    monkeypatch.setattr(ResultFolder, "put", slow)
    with running(settings_for(fake, tmp_path)) as gateway, statements(gateway.state.accounts.store) as said:
        for seed in range(10):
            assert gateway.post("/api/generate/drawn", {"seed": seed}).status == 200
        assert set(said) <= {"audit", "accounts_0"}, "SQL was said in the way of a request"
        let.set()
        assert len(history(gateway)) == 10


def test_personal_data_goes_before_anything_is_kept(fake: FakeUpstream, tmp_path: Path) -> None:
    prompt = "write to bob@example.com"
    ask = {"model": "chat", "messages": [{"role": "user", "content": prompt}]}
    with running(settings_for(fake, tmp_path)) as gateway:
        assert gateway.post("/v1/chat/completions", ask).status == 200
        assert fake.asked[-1].params["messages"][0]["content"] == prompt, "the model gets what was asked"
        assert history(gateway)[0]["asked"]["messages"][0]["content"] == "write to [email]"
    assert b"bob@example.com" not in raw(tmp_path)
    with running(settings_for(fake, tmp_path, remove_personal_data=False)) as gateway:
        assert gateway.post("/v1/chat/completions", ask).status == 200
        assert history(gateway)[0]["asked"]["messages"][0]["content"] == prompt


def raw(folder: Path) -> bytes:
    """Every byte of the database."""
    return b"".join(path.read_bytes() for path in folder.glob("gateway.db*"))


def test_a_job_is_in_the_history_however_it_ended(gateway: Gateway, fake: FakeUpstream) -> None:
    done = gateway.post("/api/jobs/drawn", {"seed": 1}).json["id"]
    eventually(lambda: gateway.get(f"/api/jobs/{done}").json["status"] == "done", 60, "it did not end")
    failed = gateway.post("/api/jobs/drawn", {"seed": -1}).json["id"]
    eventually(lambda: gateway.get(f"/api/jobs/{failed}").json["status"] == "failed", 60, "it did not fail")
    fake.hold()
    cancelled = [gateway.post("/api/jobs/drawn", {"seed": seed}).json["id"] for seed in (3, 4, 5)]
    eventually(lambda: fake.running == 2, 60, "they did not begin")
    for job in cancelled[::-1]:  # the third waits, and is cancelled before it begins
        assert gateway.ask("DELETE", f"/api/jobs/{job}").status == 200
    fake.release()
    found = {row["job"]: row for row in history(gateway)}
    assert {job: row["status"] for job, row in found.items()} == {
        done: "done",
        failed: "failed",
        **dict.fromkeys(cancelled, "cancelled"),
    }
    assert (len(found[done]["files"]), found[failed]["files"]) == (1, [])
    assert gateway.get(found[done]["files"][0]["url"]).body == gateway.get(f"/api/jobs/{done}/result").body
    assert found[failed]["asked"] == {"seed": -1}
    assert gateway.state.history._audit._taken_bytes == 0


def test_jobs_that_wait_at_a_stop_are_told_as_cancelled(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, drain_seconds=0)) as gateway:
        fake.hold()
        for seed in range(3):
            gateway.post("/api/jobs/drawn", {"seed": seed})
    fake.release()
    with running(settings_for(fake, tmp_path)) as gateway:
        assert [(row["status"], row["asked"]["seed"]) for row in history(gateway)] == [
            ("cancelled", seed) for seed in (2, 1, 0)
        ]


def test_an_image_that_came_with_a_request_is_not_kept(gateway: Gateway) -> None:
    picture = encoded(gradient(32, 32), "PNG")
    boundary = "x"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()
        + picture
        + f"\r\n--{boundary}--\r\n".encode()
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    made = gateway.ask("POST", "/api/generate/altered", body=body, headers=kind)
    assert made.status == 200, made.body
    (row,) = history(gateway)
    assert row["asked"]["image"] == {"omitted": "an image that came with the request; the history does not keep it"}
    assert "spooled" not in json.dumps(row["asked"])
