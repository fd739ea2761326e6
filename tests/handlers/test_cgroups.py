"""Limits of control groups, both versions: read from trees of files as Linux lays them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handlers import cgroups
from handlers.engine.priority import go_first
from handlers.runtimes.device import thread_count

GB = 2**30
V2 = "30 23 0:26 {shown} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "3{i} 31 0:3{i} {shown} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def tree(root: Path, own: str, mounts: list[str], **files: str) -> Path:
    """A root with /proc/self and the files of groups; in their names `__` stands for `/`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    (root / "proc/self/mountinfo").write_text("\n".join(["23 1 8:1 / / rw - ext4 /dev/vda rw", *mounts]) + "\n")
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(root: Path, own: str = "/", **files: str) -> Path:
    return tree(root, f"0::{own}\n", [V2.format(shown="/")], **files)


def v1(root: Path, own: str, shown: str = "/", **files: str) -> Path:
    lines = [f"4:memory:{own}", f"3:cpu,cpuacct:{own}", "9:name=systemd:/else", "0::/"]
    mounts = [V1.format(i=i, name=name, shown=shown) for i, name in enumerate(("memory", "cpu", "cpuset"))]
    unified = "39 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    return tree(root, "\n".join(lines) + "\n", [*mounts, unified], **files)


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("max 100000", 4), ("150000 100000", 1), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)],
)
def test_threads_are_the_whole_processors_of_a_quota(quota: str, threads: int, tmp_path: Path) -> None:
    assert cgroups.threads(v2(tmp_path, cpu_dot_max=f"{quota}\n")) == threads


@pytest.mark.parametrize(("quota", "threads"), [("-1", 4), ("150000", 1), ("300000", 3), ("20000", 1)])
def test_version_1_writes_quota_and_period_apart(quota: str, threads: int, tmp_path: Path) -> None:
    files = {"cpu__box__cpu_dot_cfs_quota_us": f"{quota}\n", "cpu__box__cpu_dot_cfs_period_us": "100000\n"}
    assert cgroups.threads(v1(tmp_path, "/box", **files)) == threads


def test_the_cores_a_process_is_bound_to_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    root = v2(tmp_path, cpu_dot_max="300000 100000")
    assert cgroups.threads(root) == 1
    assert cgroups.limits(root) == "limited to 1 of 4 cores, a quota of 3 processors (/sys/fs/cgroup/cpu.max)"


def test_an_engine_takes_what_its_quota_pays_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "cpu_quota", lambda _: cgroups.CpuQuota(2.5, "cpu.max"))
    assert (thread_count(0), thread_count(3)) == (2, 3)  # a number that is asked for is kept


def test_the_tightest_of_nested_groups_holds(tmp_path: Path) -> None:
    root = v2(
        tmp_path,
        "/a.slice/b.scope",
        a_dot_slice__cpu_dot_max="120000 100000",
        a_dot_slice__b_dot_scope__cpu_dot_max="max 100000",
        a_dot_slice__memory_dot_max=str(GB),
        a_dot_slice__memory_dot_current=str(GB // 4),
        a_dot_slice__memory_dot_stat="anon 5\n",
        a_dot_slice__b_dot_scope__memory_dot_max=str(2 * GB),
        a_dot_slice__b_dot_scope__memory_dot_current="0",
    )
    found = cgroups.memory_limit(root)
    assert found is not None
    assert (found.limit, found.left, found.group) == (GB, GB - GB // 4, "/sys/fs/cgroup/a.slice/memory.max")
    assert cgroups.limits(root) == (
        "limited to a quota of 1.2 processors (/sys/fs/cgroup/a.slice/cpu.max), "
        "a limit of memory of 1024 MB (/sys/fs/cgroup/a.slice/memory.max)"
    )


def test_the_group_under_which_the_least_is_left_holds(tmp_path: Path) -> None:
    root = v1(
        tmp_path,
        "/pods/one",
        memory__memory_dot_limit_in_bytes="9223372036854771712",
        memory__memory_dot_usage_in_bytes=str(9 * GB),
        memory__pods__memory_dot_limit_in_bytes=str(4 * GB),
        memory__pods__memory_dot_usage_in_bytes=str(3 * GB + GB // 2),
        memory__pods__one__memory_dot_limit_in_bytes=str(2 * GB),
        memory__pods__one__memory_dot_usage_in_bytes=str(GB),
    )
    found = cgroups.memory_limit(root)
    assert found is not None
    assert (found.limit, found.left) == (4 * GB, GB // 2)
    assert str(found) == "4096 MB (/sys/fs/cgroup/memory/pods/memory.limit_in_bytes)"


def test_page_cache_is_free(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    cache = f"cache 1\ninactive_file 1\ntotal_inactive_file {GB // 2}\ntotal_active_file {GB // 4}\n"
    files = {"limit_in_bytes": str(GB), "usage_in_bytes": str(GB), "stat": cache}
    found = cgroups.memory_limit(v1(one, "/", **{f"memory__memory_dot_{name}": text for name, text in files.items()}))
    assert found is not None
    assert found.left == GB * 3 // 4
    cache = f"anon 3\nfile 4\ninactive_file {GB // 2}\nactive_file {GB // 4}\n"
    files = {"max": str(GB), "current": str(GB), "stat": cache}
    found = cgroups.memory_limit(v2(two, **{f"memory_dot_{name}": text for name, text in files.items()}))
    assert found is not None
    assert found.left == GB * 3 // 4


@pytest.mark.parametrize(
    ("own", "shown"),
    [
        ("/docker/abc", "/docker/abc"),  # the mount shows the container's group alone
        ("/docker/abc/inner", "/docker/abc"),
        ("/docker/abc", "/"),  # the path is the host's, the mount the container's
        ("/", "/"),
        ("/../other", "/"),  # a group outside of what the namespace shows
    ],
)
def test_a_container_finds_its_group(own: str, shown: str, tmp_path: Path) -> None:
    files = {"memory__memory_dot_limit_in_bytes": str(GB), "memory__memory_dot_usage_in_bytes": "0"}
    found = cgroups.memory_limit(v1(tmp_path, own, shown, **files))
    assert found is not None
    assert found.limit == GB


def test_without_groups_there_are_no_limits(tmp_path: Path) -> None:
    for root in (tmp_path, v1(tmp_path / "empty", "/"), v2(tmp_path / "torn", cpu_dot_max="", memory_dot_max="max\n")):
        assert (cgroups.threads(root), cgroups.memory_limit(root), cgroups.limits(root)) == (4, None, None)


def test_a_mount_point_with_a_blank(tmp_path: Path) -> None:
    mount = V2.format(shown="/").replace("/sys/fs/cgroup", r"/sys/fs/c\040group")
    root = tree(tmp_path, "0::/\n", [mount])
    (root / "sys/fs/c group").mkdir(parents=True)
    (root / "sys/fs/c group/cpu.max").write_text("100000 100000")
    assert cgroups.threads(root) == 1


@pytest.mark.parametrize(("before", "after"), [("0", "500"), ("-100", "400"), ("900", "1000")])
def test_an_engine_goes_before_those_that_nobody_replaces(before: str, after: str, tmp_path: Path) -> None:
    own = tmp_path / "oom_score_adj"
    own.write_text(f"{before}\n")
    go_first(own)
    assert own.read_text() == after


def test_an_engine_without_proc_serves_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    go_first(tmp_path / "nowhere" / "oom_score_adj")
    assert "the engine does not go first when memory runs out: [Errno 2]" in caplog.text
