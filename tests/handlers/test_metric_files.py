"""Files of counters: whole from the start, private, bounded in number, and nothing counted is lost or counted twice."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from handlers import metric_files
from handlers.metric_files import ENDED, MetricFiles, identity
from tests.conftest import ROOT

NO_PROCESS = 1 << 23  # above every pid_max


def counter(folder: Path, name: str, value: float, reason: str = "busy") -> Path:
    """A file as a process leaves it: a counter and a bucket of a histogram."""
    for kind, family, sample, labels in (
        ("counter", "a_rejections", "a_rejections_total", {"reason": reason}),
        ("histogram", "a_seconds", "a_seconds_bucket", {"le": "0.5"}),
        ("histogram", "a_seconds", "a_seconds_bucket", {"le": "+Inf"}),
        ("histogram", "a_seconds", "a_seconds_sum", {}),
        ("gauge_livemax", "a_variant_info", "a_variant_info", {"candidate": name}),
    ):
        file = MmapedDict(str(folder / f"{kind}_{name}.db"))  # type: ignore[no-untyped-call]
        key = mmap_key(family, sample, list(labels), list(labels.values()), "help")
        file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]
    return folder / f"counter_{name}.db"


def collected(files: MetricFiles) -> dict[str, float]:
    return {
        " ".join([sample.name, *(v for k, v in sorted(sample.labels.items()))]): sample.value
        for family in files.collect()
        for sample in family.samples
    }


def test_what_hundreds_of_ended_processes_counted_becomes_one_file_a_kind(tmp_path: Path) -> None:
    files, seen = MetricFiles(tmp_path), 0.0
    counter(tmp_path, identity(), 5)
    for round_of in range(4):
        for i in range(100):
            counter(tmp_path, f"{NO_PROCESS + i}-{round_of}", 2)
        samples = collected(files)
        total = samples["a_rejections_total busy"]
        assert total == 5 + 200 * (round_of + 1) > seen
        seen = total
        assert samples["a_seconds_bucket 0.5"] == total
        assert samples["a_seconds_bucket +Inf"] == samples["a_seconds_count"] == 2 * total
        assert samples["a_seconds_sum"] == total
        assert [name for name in samples if name.startswith("a_variant")] == [f"a_variant_info {identity()}"]
        assert len(list(tmp_path.iterdir())) == 5
    assert collected(files) == samples  # nothing is counted twice
    assert files.skipped == 0
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob(f"*_{ENDED}.db")} == {0o600}


def test_tidying_needs_no_scrape(tmp_path: Path) -> None:
    for i in range(3):
        counter(tmp_path, f"{NO_PROCESS + i}-7", 1)
    files = MetricFiles(tmp_path)
    files.tidy()
    assert {path.name for path in tmp_path.iterdir()} == {f"counter_{ENDED}.db", f"histogram_{ENDED}.db"}
    assert collected(files)["a_rejections_total busy"] == 3


def test_another_process_of_the_same_number_does_not_count_on_in_a_file(tmp_path: Path) -> None:
    counter(tmp_path, f"{os.getpid()}-1", 3)  # of this number, but begun at another time
    counter(tmp_path, identity(), 4)
    assert collected(MetricFiles(tmp_path))["a_rejections_total busy"] == 7
    assert not (tmp_path / f"counter_{os.getpid()}-1.db").exists()
    assert (tmp_path / f"counter_{identity()}.db").exists()


def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert identity(child.pid).startswith(f"{child.pid}-")
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError, match=f"process {child.pid} has ended"):
            identity(child.pid)


@pytest.mark.parametrize(
    "torn",
    [
        b"",
        b"\x01",
        struct.pack("ii", 4096, 0) + struct.pack("i", 9000) + b"x" * 100,
        struct.pack("ii", 100, 0) + b"\xff" * 92,
        struct.pack("ii", 48, 0) + struct.pack("i", 12) + b"not the JSON" + bytes(24),
    ],
    ids=["empty", "a byte", "a key beyond its end", "no lengths", "a key that is no JSON"],
)
def test_a_torn_file_is_left_out_and_counted_once(
    torn: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counter(tmp_path, identity(), 5)
    (tmp_path / f"histogram_{identity()}.db").write_bytes(torn)
    (tmp_path / f"counter_{NO_PROCESS}-1.db").write_bytes(torn)
    files = MetricFiles(tmp_path)
    for _ in range(3):
        assert collected(files)["a_rejections_total busy"] == 5
        assert files.skipped == 2
    assert f"metrics: histogram_{identity()}.db is not whole, it is left out" in caplog.text
    assert not (tmp_path / f"counter_{NO_PROCESS}-1.db").exists()


def test_what_stands_before_the_tear_of_an_ended_process_is_kept(tmp_path: Path) -> None:
    path = counter(tmp_path, f"{NO_PROCESS}-1", 5)
    data = bytearray(path.read_bytes())
    (used,) = struct.unpack("i", data[:4])
    data[:4] = struct.pack("i", used + 4096)  # it says more than was written
    data[used : used + 4] = struct.pack("i", 1 << 20)
    path.write_bytes(data)
    files = MetricFiles(tmp_path)
    assert collected(files)["a_rejections_total busy"] == 5
    assert files.skipped == 1


def test_foreign_files_harm_nobody(tmp_path: Path) -> None:
    counter(tmp_path, identity(), 5)
    (tmp_path / "notes.db").write_bytes(b"x" * 100)
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert collected(MetricFiles(tmp_path))["a_rejections_total busy"] == 5
    assert (tmp_path / "notes.db").exists()


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*"
    folder.mkdir()
    counter(folder, identity(), 5)
    assert collected(MetricFiles(folder))["a_rejections_total busy"] == 5
    assert collected(MetricFiles(tmp_path / "nowhere")) == {}


def test_on_a_full_disk_all_stays_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter(tmp_path, f"{NO_PROCESS}-1", 5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    files = MetricFiles(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space left"):
            files.tidy()
        assert collected(files)["a_rejections_total busy"] == 5
    assert (tmp_path / f"counter_{NO_PROCESS}-1.db").exists()
    assert collected(files)["a_rejections_total busy"] == 5
    assert not (tmp_path / f"counter_{NO_PROCESS}-1.db").exists()


def test_a_process_takes_its_room_on_disk_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metric_files.VARIABLE, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    assert metric_files.reserve()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{kind}_{identity()}.db" for kind in ("counter", "histogram", "gauge_livesum", "gauge_livemax")
    }
    for path in tmp_path.iterdir():
        assert path.stat().st_blocks * 512 >= metric_files.SIZE
        assert path.stat().st_mode & 0o777 == 0o600
    files = MetricFiles(tmp_path)
    assert collected(files) == {}  # as they are before the library has opened them
    assert files.skipped == 0


def test_a_file_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape in the middle of a process's start, or a kill there, meets no empty file."""
    take, seen = os.posix_fallocate, []

    def looked_at(descriptor: int, offset: int, length: int) -> None:
        seen.append(list(tmp_path.glob("*.db")))
        assert collected(MetricFiles(tmp_path)) == {}
        take(descriptor, offset, length)

    monkeypatch.setenv(metric_files.VARIABLE, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setattr(os, "posix_fallocate", looked_at)
    assert metric_files.reserve()
    assert [len(paths) for paths in seen] == [0, 1, 2, 3]
    (tmp_path / f"counter_{NO_PROCESS}-1.new").write_bytes(b"")  # killed before the rename
    MetricFiles(tmp_path).tidy()
    assert not (tmp_path / f"counter_{NO_PROCESS}-1.new").exists()


def test_without_room_on_disk_it_counts_in_its_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(metric_files.VARIABLE, str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not metric_files.reserve()
    assert metric_files.VARIABLE not in os.environ
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(metric_files.VARIABLE, raising=False)
    assert not metric_files.reserve()


COUNT = "from handlers import metrics; metrics.RESTARTS.labels('m').inc(); metrics.IN_FLIGHT.labels('m').set(7)"


def test_what_a_process_counted_outlives_it_and_its_gauges_do_not(tmp_path: Path) -> None:
    environment = {**os.environ, metric_files.VARIABLE: str(tmp_path)}
    for _ in range(3):
        subprocess.run([sys.executable, "-c", COUNT], cwd=ROOT, env=environment, check=True)
    assert collected(MetricFiles(tmp_path)) == {"atelier_engine_restarts_total m": 3}
