"""The bundle directory: a flipped byte anywhere is found and named; a switch leaves the old or the new, never half."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from handlers import bundle as bundles
from handlers.archive import read_archive
from handlers.manifest import BundleError, FileSpec, file_spec
from tests.conftest import ROOT, Tiny


@pytest.fixture
def bundle_path(tiny: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.bundle.directory, tmp_path / "tiny"))


def files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


def test_reading_gives_what_was_built(tiny: Tiny, bundle_path: Path) -> None:
    bundle = bundles.read(bundle_path)
    assert bundle.manifest == tiny.bundle.manifest
    assert bundle.digest == tiny.bundle.digest
    assert bundle.version == bundle.digest[:12]
    assert bundle.certificate.format == "atelier-certificate/1"
    assert len(bundle.read_file("generator-fp32")) > 10_000


def test_one_flipped_byte_in_any_file_is_found(bundle_path: Path) -> None:
    everything = files(bundle_path)
    assert len(everything) == 3
    for path in everything:
        original = path.read_bytes()
        for at in (0, len(original) // 3, len(original) // 2, len(original) - 3):
            path.write_bytes(original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :])
            with pytest.raises(BundleError, match=path.name):
                bundles.read(bundle_path)
        path.write_bytes(original)
    bundles.read(bundle_path)


def test_missing_and_foreign_files_are_named(bundle_path: Path) -> None:
    (bundle_path / "files" / "extra.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"extra\.onnx is not named in manifest\.json"):
        bundles.read(bundle_path)
    (bundle_path / "files" / "extra.onnx").unlink()
    (bundle_path / "certificate.json").unlink()
    with pytest.raises(BundleError, match=r"certificate\.json is missing"):
        bundles.read(bundle_path)
    with pytest.raises(BundleError, match=r"manifest\.json is missing; it comes from `python -m export build absent`"):
        bundles.read(bundle_path.parent / "absent")


@pytest.mark.parametrize("name", ["manifest.json", "certificate.json"])
def test_json_that_is_too_large_is_not_read(bundle_path: Path, name: str) -> None:
    os.truncate(bundle_path / name, bundles.MAX_JSON_BYTES + 1)
    with pytest.raises(BundleError, match=rf"{name} has over 8388608 bytes, wanted fewer; build the bundle again"):
        bundles.read(bundle_path)


def test_an_unknown_format_is_refused(bundle_path: Path) -> None:
    file = bundle_path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": "atelier-bundle/7"}))
    with pytest.raises(BundleError, match="format 'atelier-bundle/7', this version reads 'atelier-bundle/2'"):
        bundles.read(bundle_path)


def test_only_references_and_passed_candidates_can_be_chosen(tiny: Tiny) -> None:
    manifest = tiny.bundle.manifest
    candidate = dataclasses.replace(manifest.candidates[0], id="slow", verdict="rejected")
    with pytest.raises(ValueError, match="names 'slow', whose verdict is rejected"):
        dataclasses.replace(
            manifest, candidates=(*manifest.candidates, candidate), choice={"avx2": ({"generator": "slow"},)}
        )
    with pytest.raises(ValueError, match="names 'absent', which is no candidate for role 'generator'"):
        dataclasses.replace(manifest, choice={"avx2": ({"generator": "absent"},)})
    with pytest.raises(ValueError, match="role 'generator' has no reference candidate"):
        dataclasses.replace(manifest, candidates=(), choice={})


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "files/../../x", ""])
def test_paths_stay_inside(path: str) -> None:
    with pytest.raises(ValueError, match="leaves the bundle"):
        FileSpec(path, "0" * 64)


def test_writing_switches_in_one_step(tiny: Tiny, bundle_path: Path) -> None:
    contents = {str(p.relative_to(bundle_path)): p.read_bytes() for p in files(bundle_path)}
    del contents["manifest.json"]
    manifest = dataclasses.replace(tiny.bundle.manifest, scope="image:other")
    written = bundles.write(bundle_path, manifest, contents)
    assert bundles.read(bundle_path) == written
    assert written.digest != tiny.bundle.digest
    assert [p.name for p in bundle_path.parent.iterdir()] == ["tiny"]  # no stage, no old one


def test_contents_that_do_not_fit_change_nothing(tiny: Tiny, bundle_path: Path) -> None:
    with pytest.raises(BundleError, match=r"generator-fp32\.onnx is damaged"):
        bundles.write(
            bundle_path,
            tiny.bundle.manifest,
            {"files/generator-fp32.onnx": b"other", "certificate.json": b"{}"},
        )
    assert bundles.read(bundle_path).digest == tiny.bundle.digest
    assert [p.name for p in bundle_path.parent.iterdir()] == ["tiny"]


def test_a_certificate_of_another_format_is_refused(tiny: Tiny, bundle_path: Path) -> None:
    contents = {
        str(p.relative_to(bundle_path)): p.read_bytes() for p in files(bundle_path) if p.name != "manifest.json"
    }
    data = contents["certificate.json"].replace(b"atelier-certificate/1", b"atelier-certificate/7")
    manifest = dataclasses.replace(tiny.bundle.manifest, certificate=file_spec("certificate.json", data))
    with pytest.raises(BundleError, match=r"certificate\.json has format 'atelier-certificate/7', this version reads"):
        bundles.write(bundle_path, manifest, {**contents, "certificate.json": data})
    assert bundles.read(bundle_path).digest == tiny.bundle.digest


def test_a_full_disk_leaves_the_old_bundle(tiny: Tiny, bundle_path: Path) -> None:
    """A real write error from the kernel: files over 20 kB cannot be written."""
    program = f"""
import resource, pathlib
from handlers import bundle
path = pathlib.Path({str(bundle_path)!r})
old = bundle.read(path)
contents = {{name: (path / name).read_bytes() for name in ("files/generator-fp32.onnx", "certificate.json")}}
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    bundle.write(path, old.manifest, contents)
except OSError as error:
    print(error)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "(File too large); nothing was changed" in answer.stdout
    assert bundles.read(bundle_path).digest == tiny.bundle.digest
    assert [p.name for p in bundle_path.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("kernel", ["none", "refuses"])
def test_where_two_names_cannot_be_exchanged_the_old_bundle_is_moved_aside(
    tiny: Tiny, bundle_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: str
) -> None:
    """A C library without renameat2, or a file system that does not exchange (NFS): two renames, nothing is left."""
    library = SimpleNamespace() if kernel == "none" else SimpleNamespace(renameat2=lambda *_: -1)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: library)
    contents = {str(p.relative_to(bundle_path)): p.read_bytes() for p in files(bundle_path)}
    del contents["manifest.json"]
    bundles.write(bundle_path, dataclasses.replace(tiny.bundle.manifest, scope="image:other"), contents)
    assert bundles.read(bundle_path).manifest.scope == "image:other"
    assert [p.name for p in bundle_path.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_broken_archive_is_named(tiny: Tiny, tmp_path: Path, damage: str) -> None:
    data = tiny.archive.read_bytes()
    path = tmp_path / "broken.mar"
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"no zip"}[damage])
    with pytest.raises(BundleError, match=r"broken\.mar is no whole archive"):
        read_archive(path)
