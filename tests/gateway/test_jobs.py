"""Jobs: work that goes on while nobody waits for it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.caller import ANYBODY, Caller
from gateway.native import jobs as jobs_module
from tests.gateway.conftest import Gateway, eventually
from tests.gateway.media import Media, error, media, picture, receipt
from tests.gateway.test_native import form
from tests.support.fake_upstream import refused


async def by_name(headers: Any, changes: bool = False) -> Caller:
    """The word after Bearer is a caller's name."""
    name = headers.get("authorization", "").removeprefix("Bearer ")
    return Caller(name, name) if name else ANYBODY


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Media]:
    with media(tmp_path) as made:
        monkeypatch.setattr(made.gateway.state.accounts, "caller", by_name)
        yield made


def began(gateway: Gateway, model: str, params: Any, **options: Any) -> str:
    reply = gateway.post(f"/api/jobs/{model}", params, **options)
    assert reply.status == 202, reply.body
    assert reply.headers["location"] == f"/api/jobs/{reply.json['id']}"
    assert reply.json["status"] in ("queued", "running")
    return str(reply.json["id"])


def ended(gateway: Gateway, job: str, **options: Any) -> dict[str, Any]:
    """A job once it is over, as its events tell."""
    body = gateway.get(f"/api/jobs/{job}/events", **options).body.decode()
    events = [event for event in body.split("\n\n") if event.startswith("event: job")]
    last: dict[str, Any] = json.loads(events[-1].partition("data: ")[2])
    return last


def state(gateway: Gateway, job: str) -> str:
    return str(gateway.get(f"/api/jobs/{job}").json["status"])


def test_a_job_ends_with_its_result_and_receipt(served: Media) -> None:
    job = began(served.gateway, "drawn", {"seed": 7, "n": 2})
    assert ended(served.gateway, job)["status"] == "done"
    reply = served.gateway.get(f"/api/jobs/{job}/result")
    assert [item["seed"] for item in reply.json["data"]] == [7, 8]
    assert receipt(reply)["params"] == {"seed": 7, "n": 2}
    found = served.gateway.get(f"/api/jobs/{job}").json
    assert found["bytes"] == len(reply.body)
    assert found["content_type"] == "application/json"
    assert found["created_at"] <= found["started_at"] <= found["ended_at"]
    again = served.gateway.get(f"/api/jobs/{job}/result")
    assert again.body == reply.body


def test_progress_comes_while_it_is_made(served: Media) -> None:
    served.fake.hold()
    job = began(served.gateway, "digits", {"label": "7", "format": "pcm", "stream": True})
    connection = http.client.HTTPConnection("127.0.0.1", served.gateway.port, timeout=30)
    try:
        connection.request("GET", f"/api/jobs/{job}/events")
        answer = connection.getresponse()
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["bytes"] < 1000:
            line = answer.readline()
            assert line, "the events ended before the job"
            if line.startswith(b"data: "):
                seen.append(json.loads(line.removeprefix(b"data: ")))
        assert seen[-1]["status"] == "running"
        reply = served.gateway.get(f"/api/jobs/{job}/result")
        assert error(reply) == (409, None, "the job is running; ask again when it is done")
        assert reply.headers["x-should-retry"] == "false"
        served.fake.release()
        rest = answer.read().decode()
        assert '"status": "done"' in rest.split("\n\n")[-2]
    finally:
        served.fake.release()
        connection.close()


def test_cancelling_ends_the_work_and_then_forgets(served: Media) -> None:
    served.fake.hold()
    try:
        job = began(served.gateway, "drawn", {"seed": 1})
        eventually(lambda: len(served.fake.asked) == 1, 20, "the job does not begin")
        assert served.gateway.ask("DELETE", f"/api/jobs/{job}").json["status"] == "cancelled"
        eventually(lambda: len(served.fake.cancelled) == 1, 20, "nobody told the model")
    finally:
        served.fake.release()
    assert error(served.gateway.get(f"/api/jobs/{job}/result")) == (409, None, "the job was cancelled")
    assert served.gateway.ask("DELETE", f"/api/jobs/{job}").status == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events")):
        status, param, message = error(served.gateway.ask(method, f"/api/jobs/{job}{path}"))
        assert (status, param) == (404, "id")
        assert message.startswith("there is no such job")


def test_another_s_job_is_as_one_that_never_was(served: Media) -> None:
    mine, other = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
    job = began(served.gateway, "drawn", {"seed": 1}, headers=mine)
    assert ended(served.gateway, job, headers=mine)["status"] == "done"
    never = f"job_{'0' * 32}"
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/result"), ("GET", "/events")):
        foreign = served.gateway.ask(method, f"/api/jobs/{job}{path}", headers=other)
        assert error(foreign) == error(served.gateway.ask(method, f"/api/jobs/{never}{path}", headers=other))
        assert foreign.status == 404
    assert served.gateway.get("/api/jobs", headers=other).json["data"] == []
    assert [found["id"] for found in served.gateway.get("/api/jobs", headers=mine).json["data"]] == [job]
    assert served.gateway.get(f"/api/jobs/{job}/result", headers=mine).status == 200


def test_what_the_model_refuses_is_told_by_the_job(served: Media) -> None:
    model = served.fake.models["drawn"]
    model.reply = lambda _asked: refused(400, "truncation is too far", "truncation")
    try:
        job = began(served.gateway, "drawn", {"truncation": 1})
        found = ended(served.gateway, job)
    finally:
        model.reply = None
    assert found["status"] == "failed"
    assert found["error"]["param"] == "truncation"
    assert error(served.gateway.get(f"/api/jobs/{job}/result"))[:2] == (400, "truncation")
    assert error(served.gateway.post("/api/jobs/drawn", {"sed": 1}))[:2] == (400, "sed")
    assert error(served.gateway.post("/api/jobs/nothing", {}))[0] == 404


@pytest.mark.parametrize(
    ("model", "params", "param", "said"),
    [
        ("drawn", {"truncation": 9}, "truncation", "truncation is 9, wanted a number at least 0, at most 1"),
        ("drawn", {"truncation": True}, "truncation", "wanted a number"),
        ("drawn", {"n": 1.5}, "n", "n is 1.5, wanted an integer at least 1, at most 16"),
        ("drawn", {"n": 10**400}, "n", "wanted an integer"),
        ("drawn", {"grid": 1}, "grid", "grid is 1, wanted true or false"),
        ("drawn", {"format": "gif"}, "format", "format is 'gif', wanted one of png, jpeg, webp"),
        ("drawn", {"format": 7}, "format", "format is 7, wanted one of png"),
        ("chat", {}, "messages", "messages is missing; model chat answers it"),
        ("chat", {"messages": []}, "messages", "wanted a list of objects with role and content"),
        ("summary", {"text": None}, "text", "text is missing"),
        ("summary", {"text": "long", "stop": [7]}, "stop", "wanted a string or a list of strings"),
    ],
)
def test_what_cannot_be_right_begins_no_job(
    served: Media, model: str, params: dict[str, Any], param: str, said: str
) -> None:
    status, named, message = error(served.gateway.post(f"/api/jobs/{model}", params))
    assert (status, named, said in message) == (400, param, True), message


@pytest.mark.parametrize("params", [{"n": 2.0, "seed": None}, {"format": "JPG"}, {"truncation": 1}])
def test_what_a_model_takes_begins_a_job(served: Media, params: dict[str, Any]) -> None:
    assert ended(served.gateway, began(served.gateway, "drawn", params))["status"] == "done"


def test_a_busy_model_is_asked_again(served: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_PAUSE", 0.01)
    model = served.fake.models["drawn"]
    left = [refused(503, "as many requests as the model takes are waiting"), refused(503, "again")]

    def reply(asked: Any) -> Any:
        if left:
            return left.pop()
        model.reply = None
        return served.fake._reply(model, asked)

    model.reply = reply
    found = ended(served.gateway, began(served.gateway, "drawn", {"seed": 3}))
    assert (found["status"], found["tries"]) == ("done", 3)
    monkeypatch.setattr(jobs_module, "MAX_TRIES", 2)
    model.reply = lambda _: refused(503, "busy for ever")
    found = ended(served.gateway, began(served.gateway, "drawn", {"seed": 3}))
    assert (found["status"], found["tries"], found["error"]["code"]) == ("failed", 2, "overloaded")
    assert found["error"]["message"] == "busy for ever"


def test_a_caller_has_so_many_at_once_and_others_come_in_turn(served: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_QUEUED", 4)
    monkeypatch.setattr(jobs_module, "MAX_AT_WORK", 3)
    ann, bob = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
    served.fake.hold()
    try:
        jobs = [began(served.gateway, "drawn", {"seed": number}, headers=ann) for number in range(4)]
        reply = served.gateway.post("/api/jobs/drawn", {"seed": 9}, headers=ann)
        assert (reply.status, reply.json["error"]["code"]) == (429, "too_many_jobs")
        assert "4 of your jobs have not ended" in reply.json["error"]["message"]
        began(served.gateway, "drawn", {"seed": 20}, headers=bob)
        last = began(served.gateway, "drawn", {"seed": 21}, headers=bob)
        eventually(lambda: len(served.fake.asked) == 3, 20, "three are not at work")
        told = {asked.params["seed"] for asked in served.fake.asked}
        assert told == {0, 1, 20}  # two of a caller, three in all
        assert served.gateway.ask("DELETE", f"/api/jobs/{last}", headers=bob).json["status"] == "cancelled"
    finally:
        served.fake.release()
    for job in jobs:
        assert ended(served.gateway, job, headers=ann)["status"] == "done"
    assert {asked.params["seed"] for asked in served.fake.asked} == {0, 1, 2, 3, 20}


def test_all_together_are_bounded(served: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_UNFINISHED", 1)
    served.fake.hold()
    try:
        began(served.gateway, "drawn", {"seed": 1}, headers={"Authorization": "Bearer ann"})
        reply = served.gateway.post("/api/jobs/drawn", {"seed": 1})
        assert (reply.status, reply.json["error"]["code"]) == (503, "overloaded")
        assert int(reply.headers["retry-after"]) >= 5
    finally:
        served.fake.release()


def test_the_oldest_ended_jobs_of_a_caller_are_forgotten(served: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_ENDED", 2)
    jobs = []
    for number in range(3):
        jobs.append(began(served.gateway, "drawn", {"seed": number}))
        ended(served.gateway, jobs[-1])
    eventually(lambda: served.gateway.get(f"/api/jobs/{jobs[0]}").status == 404, 20, "the first is still there")
    assert [state(served.gateway, job) for job in jobs[1:]] == ["done", "done"]
    assert served.gateway.state.results.bytes == sum(
        served.gateway.get(f"/api/jobs/{job}").json["bytes"] for job in jobs[1:]
    )


def test_all_jobs_together_are_so_many(served: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MAX_KEPT", 2)
    jobs = []
    for name in ("ann", "bob", "cat"):
        headers = {"Authorization": f"Bearer {name}"}
        jobs.append(began(served.gateway, "drawn", {"seed": 1}, headers=headers))
        ended(served.gateway, jobs[-1], headers=headers)
    state = served.gateway.state.jobs
    eventually(lambda: list(state._jobs) == jobs[1:], 20, "the first is still there")
    assert set(state._ends) == set(jobs[1:])


def test_jobs_are_gone_after_their_time(tmp_path: Path) -> None:
    with media(tmp_path, results_seconds=0.2) as served:
        job = began(served.gateway, "drawn", {"seed": 1})
        eventually(lambda: served.gateway.get(f"/api/jobs/{job}").status == 404, 20, "the job is still there")
        assert served.gateway.state.results.bytes == 0


def test_an_upload_stays_until_its_job_has_ended(served: Media) -> None:
    served.fake.hold()
    body, headers = form(image=picture(), seed="3")
    try:
        reply = served.gateway.post("/api/jobs/altered", body=body, headers=headers)
        assert reply.status == 202
        eventually(lambda: len(served.fake.asked) == 1, 20, "the job does not begin")
        assert served.gateway.state.spool.files == 1
    finally:
        served.fake.release()
    assert ended(served.gateway, reply.json["id"])["status"] == "done"
    eventually(lambda: served.gateway.state.spool.files == 0, 20, "the upload is still there")


def test_a_result_that_made_room_for_others_is_gone_and_said_to_be(served: Media) -> None:
    job = began(served.gateway, "drawn", {"seed": 1})
    ended(served.gateway, job)
    results = served.gateway.state.results
    results._seconds, results._max_total = 3600, results.bytes  # no room beside it
    other = began(served.gateway, "drawn", {"seed": 2})
    assert ended(served.gateway, other)["status"] == "done"
    status, _, message = error(served.gateway.get(f"/api/jobs/{job}/result"))
    assert status == 410
    assert "begin the job again" in message


def test_stopping_ends_jobs_and_leaves_nothing(tmp_path: Path) -> None:
    with media(tmp_path) as served:
        served.fake.hold()
        for number in range(3):
            began(served.gateway, "drawn", {"seed": number})
        eventually(lambda: len(served.fake.asked) == 2, 20, "the jobs do not begin")
    assert [file for file in (tmp_path / "spool").rglob("*") if file.is_file()] == []


def test_what_a_job_uses_is_counted_for_its_caller(tmp_path: Path) -> None:
    with media(tmp_path, limits={"images_a_day": 1}) as served:
        assert ended(served.gateway, began(served.gateway, "drawn", {"seed": 1}))["status"] == "done"
        found = ended(served.gateway, began(served.gateway, "drawn", {"seed": 1}))
        assert (found["status"], found["error"]["code"]) == ("failed", "insufficient_quota")


def test_methods_are_told_of_a_job_and_of_a_model(served: Media) -> None:
    for path, methods in (("job_7", {"GET", "HEAD", "DELETE"}), ("drawn", {"POST"})):
        reply = served.gateway.ask("PUT", f"/api/jobs/{path}")
        assert reply.status == 405
        assert {word.strip() for word in reply.headers["allow"].split(",")} == methods
    assert served.gateway.post("/api/jobs/job_7", {}).status == 405
