"""Results in a real S3 server: whole or not at all, bounded, and what is wrong with the server is said."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.kept import NoRoom, NoSuchResult, ResultFolder, sweep
from gateway.objects import ObjectsError, ResultObjects, open_results
from tests.support.s3 import S3, VARIABLES, s3

pytestmark = pytest.mark.db


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3(tmp_path_factory.mktemp("s3")) as made:
        yield made


@pytest.fixture
def bucket(server: S3, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of this test's own, which the variables lead to."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**VARIABLES, "AWS_ENDPOINT_URL": server.endpoint}.items():
        monkeypatch.setenv(name, value)
    made = f"b{os.urandom(8).hex()}"
    server.ask("PUT", made)
    return made


@pytest.fixture
def results(bucket: str) -> ResultObjects:
    return ResultObjects(f"s3://{bucket}/made/here", max_bytes=100)


def test_what_was_put_comes_back_to_another_process(results: ResultObjects, server: S3, bucket: str) -> None:
    name = results.put(b"picture")
    again = open_results(results.url, max_bytes=100)
    assert again.get(name) == b"picture"
    assert [(found.name, found.size) for found in again.list()] == [(name, 7)]
    assert server.ask("GET", f"{bucket}/made/here/{name}") == b"picture"


def test_an_empty_result_and_equal_ones_are_kept_each(results: ResultObjects) -> None:
    first, second, empty = results.put(b"a"), results.put(b"a"), results.put(b"")
    results.delete(first)
    results.delete(first)
    assert (results.get(second), results.get(empty)) == (b"a", b"")
    with pytest.raises(NoSuchResult, match="deleted, or it never was"):
        results.get(first)


def test_room_is_bounded_and_given_back(results: ResultObjects) -> None:
    name = results.put(b"x" * 60)
    with pytest.raises(NoRoom, match="1 objects with 60 bytes are kept, and 41 more bytes do not fit"):
        results.put(b"x" * 41)
    with pytest.raises(NoRoom, match="at most 100000 objects and 60 bytes"):
        ResultObjects(results.url, max_bytes=60).put(b"x")
    with pytest.raises(NoRoom, match="at most 1 objects"):
        ResultObjects(results.url, max_bytes=100, max_files=1).put(b"x")
    results.delete(name)
    results.put(b"x" * 100)


def test_more_objects_than_a_page_of_the_list_are_all_found(results: ResultObjects, server: S3, bucket: str) -> None:
    names = {f"{number:048x}" for number in range(1001)}
    for name in names:
        server.ask("PUT", f"{bucket}/made/here/{name}", b"1")
    assert {found.name for found in results.list()} == names
    with pytest.raises(NoRoom, match="1001 objects with 1001 bytes are kept"):
        ResultObjects(results.url, max_bytes=1001).put(b"x")


def test_one_that_is_longer_than_all_that_may_be_kept_is_not_read(
    results: ResultObjects, server: S3, bucket: str
) -> None:
    name = "a" * 48
    server.ask("PUT", f"{bucket}/made/here/{name}", b"x" * 101)
    with pytest.raises(ObjectsError, match=f"{name} has 101 bytes, at most 100 are kept"):
        results.get(name)


@pytest.mark.parametrize("name", ["../secret", "secret", "/secret", "", "a" * 47, "A" * 48, "a" * 48 + "/../../secret"])
def test_a_name_that_is_none_of_ours_reaches_no_object(
    results: ResultObjects, server: S3, bucket: str, name: str
) -> None:
    for place in ("secret", "made/secret", "made/here/secret"):
        server.ask("PUT", f"{bucket}/{place}", b"secret")
    for call in (results.get, results.delete, lambda name: results.put(b"", name)):
        with pytest.raises(NoSuchResult, match="no result is kept as"):
            call(name)
    assert list(results.list()) == []
    for place in ("secret", "made/secret", "made/here/secret"):
        assert server.ask("GET", f"{bucket}/{place}") == b"secret"


def test_what_is_old_is_swept(results: ResultObjects) -> None:
    name = results.put(b"a")
    (kept,) = results.list()
    assert sweep(results, before=kept.at) == []
    assert sweep(results, before=kept.at + 1) == [name]
    assert list(results.list()) == []


def test_a_bucket_that_is_gone_is_said_and_its_return_noticed(results: ResultObjects, server: S3, bucket: str) -> None:
    name = results.put(b"a")
    server.ask("DELETE", f"{bucket}/made/here/{name}")
    server.ask("DELETE", bucket)
    said = "there is no such bucket at http://127.0.0.1:.*make it, or name another one"
    for call in (lambda: results.put(b"b"), lambda: list(results.list()), lambda: results.get(name)):
        with pytest.raises(ObjectsError, match=said):
            call()
    with pytest.raises(ObjectsError, match=said):
        ResultObjects(results.url, max_bytes=100)
    server.ask("PUT", bucket)
    assert results.get(results.put(b"x" * 99)) == b"x" * 99  # the room of what failed was given back


def test_a_server_that_is_gone_is_said(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3(tmp_path) as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.endpoint)
        other.ask("PUT", bucket)
        results = ResultObjects(f"s3://{bucket}", max_bytes=100)
        name = results.put(b"a")
        other.end()
        for call in (lambda: results.put(b"b"), lambda: results.get(name), lambda: results.delete(name)):
            with pytest.raises(ObjectsError, match=r"at http://127.0.0.1:\d+: .*look at the server, and at AWS_END"):
                call()


@pytest.mark.parametrize(
    "url", ["s3://", "s3:bucket", "s3://Bucket", "s3://bucket/../other", "s3://bucket/a b", "s3://user:key@bucket"]
)
def test_a_place_that_is_none_is_said(url: str) -> None:
    with pytest.raises(ValueError, match=r"is no place in S3; wanted s3://BUCKET or s3://BUCKET/PREFIX"):
        open_results(url, max_bytes=1)


def test_a_place_without_a_scheme_is_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_results(tmp_path / "kept", max_bytes=1), ResultFolder)
