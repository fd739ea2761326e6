"""Archives from strangers: each is refused by name, whatever is wrong with it, and the one beside it is served."""

from __future__ import annotations

import json
import lzma
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.archive import read_archive, unpack
from handlers.identity import Identity, digest_of, read_handlers
from handlers.manifest import BundleError
from handlers.zip_members import MAX_MEMBERS
from serving import store as stores
from serving.store import Store
from tests.conftest import Tiny

LIMIT = 33554432
Members = list[tuple[str, bytes]]


def members_of(path: Path) -> Members:
    with zipfile.ZipFile(path) as file:
        return [(name, file.read(name)) for name in file.namelist()]


def write(path: Path, members: Members, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)


def changed(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Change one member, and nothing else."""
    write(path, [(member, change(data) if member == name else data) for member, data in members_of(path)])


def with_json(path: Path, name: str, change: Callable[[Any], Any]) -> None:
    changed(path, name, lambda data: json.dumps(change(json.loads(data))).encode())


def read(folder: Path) -> Store:
    with tempfile.TemporaryDirectory(dir=folder.parent) as into:
        return stores.read(folder, LIMIT, Path(into))


@pytest.fixture
def hostile(tiny: Tiny, tiny_text: Tiny, tmp_path: Path) -> Path:
    """An archive of `tiny`, called bad.mar, to be changed; beside it lies a whole one of `text`."""
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(tiny_text.archive, store)
    return Path(shutil.copy(tiny.archive, store / "bad.mar"))


def refusal(hostile: Path) -> str:
    """Why bad.mar is refused; the other one is served."""
    found = read(hostile.parent)
    assert [model.manifest.name for model in found.models] == ["text"]
    assert list(found.refused) == ["bad.mar"]
    return found.refused["bad.mar"]


def test_a_whole_one_is_served(hostile: Path) -> None:
    assert sorted(model.manifest.name for model in read(hostile.parent).models) == ["text", "tiny"]


def test_an_archive_glued_behind_another_is_refused(hostile: Path, tiny_text: Tiny) -> None:
    """Python reads the list at the end of the file, TorchServe streamed from its beginning: two archives."""
    hostile.write_bytes(tiny_text.archive.read_bytes() + hostile.read_bytes())
    assert "another file was put in front of it" in refusal(hostile)


def test_a_glued_archive_with_mended_places_is_refused(hostile: Path, tiny_text: Tiny) -> None:
    front = tiny_text.archive.read_bytes()
    members = members_of(hostile)
    hostile.write_bytes(front)
    with zipfile.ZipFile(hostile, "a") as file:  # "a" on a file that is no zip writes places from its beginning
        file.start_dir = len(front)
        file.filelist.clear()
        file.NameToInfo.clear()
        for name, data in members:
            file.writestr(name, data)
    assert f"begins at byte {len(front)}, wanted 0" in refusal(hostile)


def test_two_members_of_one_name_are_refused(hostile: Path) -> None:
    with zipfile.ZipFile(hostile, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("torchserve_handler.py", b"print('other')")
    assert "two members called torchserve_handler.py" in refusal(hostile)


def restated(path: Path) -> None:
    """State the version of what it holds now: a digest that an archive states about itself tells of damage alone."""
    members = dict(members_of(path))
    handlers = {n.removeprefix("handlers/"): data for n, data in members.items() if n.startswith("handlers/")}
    bundle = json.loads(members["bundle/manifest.json"])["digest"]
    version = Identity(bundle, digest_of(handlers)).version

    def state(document: Any) -> Any:
        document["model"]["modelVersion"] = version
        return document

    with_json(path, "MAR-INF/MANIFEST.json", state)


@pytest.mark.parametrize("added", ["handlers/sampling/philox.py", "handlers/extra.py"])
def test_handlers_that_are_not_ours_are_refused(hostile: Path, added: str) -> None:
    members = dict(members_of(hostile))
    members[added] = members.get(added, b"") + b"\nprint('CHANGED')\n"
    write(hostile, list(members.items()))
    restated(hostile)
    assert "bad.mar holds other handlers (" in refusal(hostile)
    assert "archive it again with `python -m export archive`, or name the folder" in refusal(hostile)


def test_handlers_that_are_named_are_those_that_serve(hostile: Path, tmp_path: Path) -> None:
    """With --handlers the same archive is served, with the bytes of that folder."""
    home = tmp_path / "handlers"
    for name, data in read_handlers().items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(data + b"# another\n" if name == "sampling/philox.py" else data)
    changed(hostile, "handlers/sampling/philox.py", lambda data: data + b"# another\n")
    restated(hostile)
    into = tmp_path / "into"
    into.mkdir()
    found = stores.read(hostile.parent, LIMIT, into, home)
    assert [model.manifest.name for model in found.models] == ["tiny"]
    assert (into / "tiny/handlers/sampling/philox.py").read_bytes().endswith(b"# another\n")
    bundle = json.loads((into / "tiny/bundle/manifest.json").read_text())["digest"]
    assert found.models[0].version == Identity(bundle, digest_of(read_handlers(home))).version


@pytest.mark.parametrize("name", ["numpy.py", "sitecustomize.py", "yaml/__init__.py", "MAR-INF/x.py"])
def test_a_module_more_is_refused(hostile: Path, name: str) -> None:
    write(hostile, [*members_of(hostile), (name, b"print('CHANGED')")])
    assert f"holds {name}, which `export archive` does not write" in refusal(hostile)


def test_a_changed_entry_point_is_refused(hostile: Path) -> None:
    changed(hostile, "torchserve_handler.py", lambda data: data + b"\nprint('CHANGED')\n")
    assert "torchserve_handler.py is not the one of its handlers/proxy" in refusal(hostile)


@pytest.mark.parametrize(
    ("name", "more"), [("model-config.yaml", b"minWorkers: 9\n"), ("torch.py", b"print('CHANGED')\n")]
)
def test_changed_settings_and_a_changed_stub_are_refused(hostile: Path, name: str, more: bytes) -> None:
    changed(hostile, name, lambda data: data + more)
    assert f"{name} is not what `export archive` writes" in refusal(hostile)


STATEMENTS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("a list", lambda _: [], "is no whole archive (list indices"),
    ("a number", lambda _: 7, "is no whole archive ("),
    ("no model", lambda _: {}, "is no whole archive ('model')"),
    ("model is a list", lambda _: {"model": []}, "says model is [], wanted an object"),
    ("name is a list", lambda d: {"model": {**d["model"], "modelName": ["tiny"]}}, "says it is ['tiny'] "),
    (
        "another handler",
        lambda d: {**d, "model": {**d["model"], "handler": "evil.py"}},
        "says handler is 'evil.py', wanted",
    ),
    ("a venv", lambda d: {**d, "model": {**d["model"], "useVenv": True}}, "says useVenv is True, wanted None"),
    (
        "packages",
        lambda d: {**d, "model": {**d["model"], "requirementsFile": "r.txt"}},
        "says requirementsFile is 'r.txt'",
    ),
    ("Java's runtime", lambda d: {**d, "runtime": "LSP"}, "says runtime is 'LSP', wanted 'python'"),
]


@pytest.mark.parametrize(("change", "wanted"), [s[1:] for s in STATEMENTS], ids=[s[0] for s in STATEMENTS])
def test_what_an_archive_says_of_itself_is_checked(hostile: Path, change: Callable[[Any], Any], wanted: str) -> None:
    with_json(hostile, "MAR-INF/MANIFEST.json", change)
    assert wanted in refusal(hostile)


def signed(raw: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the digest that fits: whoever makes an archive can do that."""
    import hashlib

    raw = {key: value for key, value in raw.items() if key != "digest"}
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {**raw, "digest": hashlib.sha256(canonical.encode()).hexdigest()}


FIELDS: list[tuple[str, Any, str]] = [
    ("files", [], "manifest.json.files is '[]' (list), wanted an object"),
    ("files", {"generator-fp32": None}, "files.generator-fp32 is 'None'"),
    ("files", {"generator-fp32": {"path": 7, "sha256": "x"}}, "generator-fp32.path is '7' (int), wanted str"),
    ("graphs", {"generator": {"inputs": 7, "outputs": []}}, "graphs.generator.inputs is '7' (int), wanted a list"),
    ("graphs", {"generator": []}, "graphs.generator is '[]' (list), wanted an object"),
    ("choice", {"avx2": [["x"]]}, "choice.avx2[0] is"),
    ("candidates", [7], "candidates[0] is '7' (int), wanted an object"),
    ("limits", {"max_tile": "1"}, "limits"),
    ("name", "../evil", "name is '../evil', wanted letters, digits"),
    ("name", "a,b\nmodel_store=/tmp", "wanted letters, digits"),
    ("certificate", {"path": "/etc/passwd", "sha256": "0"}, "path '/etc/passwd' leaves the bundle"),
    ("params", {"a": 1}, "manifest.json.params is"),
    ("resources", {"lane": "batch", "threads": -1, "memory_mb": 1, "workers": 1, "batch_size": 1}, "threads is -1"),
]


@pytest.mark.parametrize(("field", "value", "wanted"), FIELDS)
def test_fields_of_another_type_are_refused(hostile: Path, field: str, value: Any, wanted: str) -> None:
    with_json(hostile, "bundle/manifest.json", lambda raw: signed({**raw, field: value}))
    assert wanted in refusal(hostile)


def test_a_model_that_this_machine_cannot_carry_stops_no_other(hostile: Path) -> None:
    with_json(
        hostile,
        "bundle/manifest.json",
        lambda raw: signed({**raw, "resources": {**raw["resources"], "memory_mb": 10**9}}),
    )
    restated(hostile)
    assert "it wants 1000000000 MB of memory, this machine has " in refusal(hostile)


def test_a_body_that_the_front_end_cannot_keep_stops_no_other(hostile: Path) -> None:
    """The largest of all models becomes a setting of TorchServe's, which takes no number of its kind."""
    with_json(
        hostile,
        "bundle/manifest.json",
        lambda raw: signed({**raw, "limits": {**raw["limits"], "max_request_bytes": 10**12}}),
    )
    restated(hostile)
    assert "it takes bodies of 1000000000000 bytes, an engine at most" in refusal(hostile)


@pytest.mark.parametrize("name", ["MAR-INF/MANIFEST.json", "bundle/manifest.json", "bundle/certificate.json"])
def test_json_in_json_in_json_is_refused(hostile: Path, name: str) -> None:
    changed(hostile, name, lambda _: b"[" * 200_000)
    assert name.removeprefix("bundle/") in refusal(hostile) or "no whole archive" in refusal(hostile)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "bundle/../../evil",
        "bundle\\evil",
        "bundle/a b",
        "bundle//x",
        f"bundle/{'x' * 200}",
        f"bundle/{'x/' * 9}x",
        "bundle/.hidden",
        "bundle/",
        "bundle/a\nb",
        "bundle/ü",
    ],
)
def test_names_that_lead_elsewhere_are_refused(hostile: Path, name: str) -> None:
    write(hostile, [*members_of(hostile), (name, b"x")])
    assert "has no name of 8 parts at most" in refusal(hostile)


def test_a_member_that_is_file_and_folder_is_refused(hostile: Path) -> None:
    write(hostile, [*members_of(hostile), ("bundle/a", b"x"), ("bundle/a/b", b"x")])
    assert "bundle/a is a file and the folder of bundle/a/b" in refusal(hostile)


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o060644])
def test_links_and_devices_are_refused(hostile: Path, mode: int) -> None:
    members = members_of(hostile)
    with zipfile.ZipFile(hostile, "w") as file:
        for name, data in members:
            file.writestr(name, data)
        info = zipfile.ZipInfo("bundle/assets/x")
        info.external_attr = mode << 16
        file.writestr(info, "/etc/passwd")
    assert "bundle/assets/x is no plain file" in refusal(hostile)


def test_a_bomb_is_refused_before_it_is_unpacked(hostile: Path) -> None:
    write(hostile, [*members_of(hostile), ("bundle/assets/x", bytes(100 << 20))])
    assert "it unpacks to " in refusal(hostile)
    assert "times its own" in refusal(hostile)


def test_more_than_the_disk_has_is_refused(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda path: real(path)._replace(free=1000))
    found: dict[str, str] = {}
    with pytest.raises(stores.StoreError, match=r"unpacks to \d+ bytes, .* has 1000 free: make room there"):
        found = read(hostile.parent).refused
    assert not found


def test_a_list_of_too_many_members_is_refused_before_it_is_read(hostile: Path) -> None:
    write(hostile, [*members_of(hostile), *((f"bundle/{i}", b"") for i in range(MAX_MEMBERS))])
    assert f"wanted at most {MAX_MEMBERS} in" in refusal(hostile)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_packing_are_refused(hostile: Path, method: int) -> None:
    write(hostile, members_of(hostile), method)
    assert f"is packed by method {method}, wanted 0 or 8" in refusal(hostile)


def local_headers(path: Path) -> list[int]:
    with zipfile.ZipFile(path) as file:
        return [info.header_offset for info in file.infolist()]


def patched(path: Path, at: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[at : at + len(data)] = data
    path.write_bytes(bytes(whole))


def directory_of(path: Path) -> int:
    return int(struct.unpack("<I", path.read_bytes()[-6:-2])[0])


def test_an_encrypted_member_is_refused(hostile: Path) -> None:
    patched(hostile, directory_of(hostile) + 8, b"\x01\x00")
    assert "is encrypted" in refusal(hostile)


@pytest.mark.parametrize("at", [16, 20, 24, 28, 30, 42])
@pytest.mark.parametrize("value", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\x00\x00"])
def test_a_list_that_lies_is_refused(hostile: Path, at: int, value: bytes) -> None:
    """Checksum, sizes, lengths and place of a member: any other value, those that announce zip64 among them."""
    write(hostile, members_of(hostile), zipfile.ZIP_STORED)
    begin = directory_of(hostile)
    if hostile.read_bytes()[begin + at : begin + at + 4] != value:
        patched(hostile, begin + at, value)
        found = read(hostile.parent)
        assert [model.manifest.name for model in found.models if model.manifest.name != "tiny"] == ["text"]
        assert not found.refused or list(found.refused) == ["bad.mar"]


@pytest.mark.parametrize("tail", [b"x", b"PK\5\6" + bytes(18), b"\0" * 100])
def test_bytes_behind_the_end_are_refused(hostile: Path, tail: bytes) -> None:
    hostile.write_bytes(hostile.read_bytes() + tail)
    assert "bad.mar is no whole archive" in refusal(hostile)


@pytest.mark.parametrize("step", range(7))
def test_a_cut_archive_is_refused(hostile: Path, step: int) -> None:
    whole = hostile.read_bytes()
    hostile.write_bytes(whole[: len(whole) * step // 7])
    assert "bad.mar is no whole archive" in refusal(hostile)


def test_members_in_one_another_are_refused(hostile: Path) -> None:
    """The place of the second member in the list is that of the first."""
    with zipfile.ZipFile(hostile) as file:
        second = file.infolist()[1]
        skip = 46 + len(file.infolist()[0].filename) + len(file.infolist()[0].extra)
        assert second.header_offset > 0
    patched(hostile, directory_of(hostile) + skip + 42, bytes(4))
    assert "members lie in one another" in refusal(hostile)


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("deep"), lzma.LZMAError("bad"), struct.error("short")])
def test_whatever_an_archive_raises_is_its_own_refusal(
    hostile: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:

    def raising(file: Any, path: Path, *more: Any) -> Any:
        if path.name == "bad.mar":
            raise error
        return unpack(file, path, *more)

    monkeypatch.setattr(stores, "unpack", raising)
    assert refusal(hostile) == (str(error) or "MemoryError")


@pytest.mark.parametrize("kind", ["folder", "pipe", "nowhere"])
def test_what_is_no_file_is_refused(hostile: Path, kind: str) -> None:
    hostile.unlink()
    if kind == "folder":
        hostile.mkdir()
    elif kind == "pipe":
        os.mkfifo(hostile)
    else:
        hostile.symlink_to("absent")
    wanted = "No such file" if kind == "nowhere" else "bad.mar is no file (mode "
    assert wanted in refusal(hostile)


@pytest.mark.parametrize("name", ["a,b.mar", "a\nload_models=all.mar", "ü.mar", "a b.mar", "\udcff.mar"])
def test_names_of_archives_are_plain(hostile: Path, name: str) -> None:
    hostile.rename(hostile.parent / name)
    found = read(hostile.parent)
    assert found.refused == {ascii(name): "its name is not made of letters, digits, dots, - and _ alone: rename it"}
    assert [model.manifest.name for model in found.models] == ["text"]


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o622])
def test_an_archive_that_others_may_change_is_refused(hostile: Path, mode: int) -> None:
    hostile.chmod(mode)
    assert refusal(hostile) == (
        f"others may write to {hostile} (mode {mode:04o}), wanted its owner alone: chmod go-w '{hostile}'"
    )


def test_a_link_is_looked_at_where_it_leads(hostile: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    hostile.rename(elsewhere / "real.mar")
    hostile.symlink_to(elsewhere / "real.mar")
    assert len(read(hostile.parent).models) == 2
    elsewhere.chmod(0o777)
    assert f"others may write to {elsewhere} (mode 0777)" in refusal(hostile)


@pytest.mark.parametrize("which", ["store", "above"])
def test_a_store_that_others_may_change_is_not_served(hostile: Path, tmp_path: Path, which: str) -> None:
    folder = hostile.parent if which == "store" else tmp_path
    folder.chmod(0o777)
    with pytest.raises(stores.StoreError, match=rf"is served: others may write to {folder} \(mode 0777\).*chmod go-w"):
        read(hostile.parent)
    folder.chmod(0o1777)  # names are safe there, as in /tmp
    if which == "above":
        assert len(read(hostile.parent).models) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("which", ["archive", "store", "above"])
def test_what_belongs_to_somebody_else_is_refused(hostile: Path, tmp_path: Path, which: str) -> None:
    place = {"archive": hostile, "store": hostile.parent, "above": tmp_path}[which]
    os.chown(place, 12345, -1)
    try:
        if which == "archive":
            assert (
                f"{hostile} belongs to user 12345, wanted this one (0), root or the owner of this code (0)"
                in refusal(hostile)
            )
        else:
            with pytest.raises(stores.StoreError, match=f"{place} belongs to user 12345"):
                read(hostile.parent)
    finally:
        os.chown(place, 0, -1)


@pytest.mark.parametrize(
    "word", ["\ud800", "\x1b[2J", "\nready", "x" * 100_000], ids=["half", "screen", "line", "long"]
)
def test_words_of_an_archive_cannot_be_lines_of_the_log(hostile: Path, word: str) -> None:
    with_json(hostile, "bundle/manifest.json", lambda raw: signed({**raw, "files": {word: None}}))
    told = refusal(hostile)
    assert told.isprintable()
    assert len(told) <= stores.MAX_REASON + 3
    assert "manifest.json.files." in told


CHANGES = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8), st.booleans()), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, at_end=st.booleans())
def test_changed_bytes_are_refused_or_change_nothing(
    tiny: Tiny, tmp_path: Path, changes: list[tuple[float, bytes, bool]], at_end: bool
) -> None:
    """Anywhere in the file, or in the list at its end, where each byte says something about all the others."""
    data = bytearray(tiny.archive.read_bytes())
    begin = directory_of(tiny.archive) if at_end else 0
    for place, new, longer in changes:
        at = begin + int(place * (len(data) - begin - 1))
        data[at : at if longer else at + len(new)] = new
    path = tmp_path / "changed.mar"
    path.write_bytes(data)
    told, found = str(path), Identity(tiny.bundle.digest, digest_of(read_handlers()))
    try:
        found = read_archive(path).identity
    except BundleError as error:
        told = str(error)
    assert str(path) in told
    assert found == Identity(tiny.bundle.digest, digest_of(read_handlers()))
