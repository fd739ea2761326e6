"""Lines of the proxy's and the engine's logs: text or JSON, each with the name of the request that it is about."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from handlers import logs

log = logging.getLogger("handlers.of.this.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The root logger is everybody's: its handlers are put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # else they would be closed
    yield
    root.handlers[:], root.level = handlers, level


def written(form: str, monkeypatch: pytest.MonkeyPatch, **options: object) -> str:
    """What becomes of a failure that is logged."""
    monkeypatch.setenv(logs.VARIABLE, form)
    output = io.StringIO()
    logs.configure("engine", output)
    try:
        raise RuntimeError('words of a caller\n{"level": "forged"}')
    except RuntimeError:
        log.exception("%d requests failed", 2, **options)  # type: ignore[arg-type]
    return output.getvalue()


def test_a_failure_is_one_line_of_json_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    text = written("json", monkeypatch, extra=logs.about("abc.0", "", "def.1"))
    assert text.count("\n") == 1
    line = json.loads(text)
    assert (line["level"], line["process"], line["event"]) == ("error", "engine", "2 requests failed")
    assert line["request"] == "abc.0 def.1"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith('RuntimeError: words of a caller\n{"level": "forged"}')


def test_a_line_of_text_names_process_and_request(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, rest = written("text", monkeypatch, extra=logs.about("abc.0")).partition("\n")
    assert first == "engine: 2 requests failed [abc.0]"
    assert rest.startswith("Traceback")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_about_no_request_names_none(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(form, monkeypatch)
    assert "[" not in text.splitlines()[0]
    assert '"request"' not in text


def test_of_many_requests_some_are_named() -> None:
    told = logs.about(*(f"r{number}" for number in range(11)))
    assert told == {"request": "r0 r1 r2 r3 r4 r5 r6 r7 and 3 more"}
