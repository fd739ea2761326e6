"""Sounds of directories and archives: what is read, how it becomes clips, and what is lost with which reason."""

from __future__ import annotations

import gc
import io
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT, SHARED
from training import memory
from training.checks import ConfigError
from training.data import DataError, SoundSet, Unusable, sound_clips, sound_content, sound_files, sound_store
from training.data.listing import Found
from training.data.loudness import filters, loudness
from training.data.sound_source import SoundSource
from training.data.sounds import open_sounds

RATE = 16_000


def tone(seconds: float = 0.4, rate: int = RATE, amplitude: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def encoded(wave: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def opened(
    data: Path | str, at_least: int = 1, longest: int = RATE, cache: Path | None = None, **fields: Any
) -> SoundSet:
    return open_sounds(SoundSource(data=str(data), **fields), RATE, longest, at_least, cache)


def filled(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def strongest(clip: np.ndarray, rate: int = RATE) -> float:
    """The frequency in Hz of the strongest part of a clip."""
    return float(np.abs(np.fft.rfft(clip.astype(float) * np.hanning(len(clip)), rate)).argmax())


KINDS = {
    "8 bit": ("WAV", "PCM_U8", 8_000),
    "16 bit": ("WAV", "PCM_16", 44_100),
    "24 bit": ("WAV", "PCM_24", 48_000),
    "float": ("WAV", "FLOAT", 22_050),
    "double": ("WAV", "DOUBLE", 11_025),
    "A-law": ("WAV", "ALAW", 8_000),
    "mu-law": ("WAV", "ULAW", 8_000),
    "FLAC": ("FLAC", "PCM_24", 96_000),
    "Vorbis": ("OGG", "VORBIS", 44_100),
    "Opus": ("OGG", "OPUS", 48_000),
    "MP3": ("MP3", "MPEG_LAYER_III", 44_100),
    "AIFF": ("AIFF", "PCM_16", 32_000),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_at_every_rate_becomes_the_same_tone(kind: str, tmp_path: Path) -> None:
    form, subtype, rate = KINDS[kind]
    suffix = {"WAV": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "AIFF": "aiff"}[form]
    content = encoded(tone(0.5, rate), rate, form, subtype)
    found = opened(filled(tmp_path, {f"{at}.{suffix}": content for at in range(2)}), level="as-is")
    assert found.skipped == () and len(found) == 2
    clip = found.clip(0)
    assert strongest(clip) == pytest.approx(440, abs=2)
    assert len(clip) == pytest.approx(0.5 * RATE, abs=0.06 * RATE), "MP3 and Opus may be a little longer"
    assert np.sqrt((clip[2_000:6_000] / 32768.0) ** 2).max() == pytest.approx(0.5, abs=0.05)


def test_channels_are_mixed_and_those_of_surround_weighted(tmp_path: Path) -> None:
    left, right = tone(frequency=300), tone(frequency=1_000, amplitude=0.25)
    five = np.stack([left, right, 0 * left, tone(frequency=60, amplitude=0.9), 0 * left, 0 * left], axis=1)
    stereo = np.stack([left, right], axis=1)
    found = opened(filled(tmp_path, {"a.wav": encoded(five), "b.wav": encoded(stereo)}), level="as-is")
    for at, share in ((0, 1 / (2 + 3 * 0.7071)), (1, 0.5)):
        power = np.abs(np.fft.rfft(found.clip(at)[:6_000].astype(float) / 32768, RATE)) / 3_000
        assert power[300] == pytest.approx(0.5 * share, rel=0.03)
        assert power[1_000] == pytest.approx(0.25 * share, rel=0.03)
        assert power[60] < 0.01, "the channel of low frequencies is left out"


def test_a_wrong_suffix_is_read_by_the_content(tmp_path: Path) -> None:
    flac, vorbis = encoded(tone(), form="FLAC"), encoded(tone(), form="OGG", subtype="VORBIS")
    found = opened(filled(tmp_path, {"a.wav": flac, "b.mp3": vorbis, "c.flac": encoded(tone())}))
    assert found.skipped == () and [round(strongest(found.clip(at)), -1) for at in range(3)] == [440] * 3


def _bad() -> dict[str, tuple[bytes, str]]:
    whole = encoded(tone())
    nan = tone()
    nan[4_000] = np.nan
    flac, mp3 = encoded(tone(2), form="FLAC"), encoded(tone(2), 44_100, "MP3", "MPEG_LAYER_III")
    return {
        "nan.wav": (encoded(nan, subtype="FLOAT"), "it holds values that are no numbers, the first at 0.25 s"),
        "inf.wav": (encoded(np.full(9_000, np.inf), subtype="FLOAT"), "it holds values that are no numbers"),
        "silent.wav": (encoded(np.zeros(8_000)), "it is silent: in 0.50 s it is never louder than -80 dB"),
        "constant.wav": (encoded(np.full(8_000, 0.5)), "it is silent: in 0.50 s"),
        "zero.wav": (encoded(np.zeros(0)), "it holds no sound: its length is zero"),
        "empty.wav": (b"", "it is empty"),
        "zeros.wav": (b"\0" * 5_000, "it holds nothing but zeros"),
        "slow.wav": (encoded(tone(), rate=1), "its rate is 1 Hz, wanted 2000 to 768000"),
        "short.wav": (encoded(tone(0.02)), "it is too short: 0.020 s, wanted 0.05 s of sound at least"),
        "text.wav": (b"hello, this is a text\n" * 50, "it is no sound (wanted one of WAV, "),
        "page.mp3": (b"<!DOCTYPE html><html>not found</html>", "it is a web page: get the sound itself"),
        "notes.wav": (b"MThd" + bytes(50), "it is MIDI, which holds notes and no sound"),
        "header.wav": (whole[:20] + b"\xff" * 40 + whole[60:], "it is WAV with a damaged header (Error in WAV"),
        "cut.wav": (whole[:5_000], "it is cut off: its header says 12800 bytes of sound, it holds 4956"),
        "cut.flac": (flac[: len(flac) // 2], "it is damaged (flac decoder lost sync): get it again"),
        "cut.mp3": (mp3[:300], "it is MP3 with a damaged header"),
        "voice.wav": (encoded(tone(), form="VOC"), "wanted one of WAV, WAVEX"),
    }


@pytest.mark.parametrize("name", _bad())
def test_a_bad_file_is_lost_alone_and_named(name: str, tmp_path: Path) -> None:
    content, reason = _bad()[name]
    good = {f"good/{at}.wav": encoded(tone(frequency=300 + 50 * at)) for at in range(3)}
    found = opened(filled(tmp_path, {**good, f"good/{name}": content}))
    assert len(found) == 3 and found.lost == 1 and len(found.skipped) == 1
    assert found.skipped[0].startswith(f"good/{name}: ") and reason in found.skipped[0]
    assert [round(strongest(found.clip(at)), -1) for at in range(3)] == [300, 350, 400], "the others are whole"
    assert any(f"skipped 1: good/{name}" in line for line in found.told())


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_changed_at_random_are_read_or_refused_with_a_reason(kind: str) -> None:
    """No damage to a header or to sound ends in another error than `Unusable`, or in a wave that is not finite."""
    form, subtype, rate = KINDS[kind]
    whole = encoded(tone(0.3, rate), rate, form, subtype)
    random = np.random.Generator(np.random.PCG64(7))
    reasons = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(int(random.integers(1, 10))):
            damaged[int(random.integers(min(len(whole), 120) if random.random() < 0.6 else len(whole)))] ^= 0x5A
        content = bytes(damaged[: int(random.integers(1, len(damaged)))] if random.random() < 0.2 else damaged)
        found = Found("a.wav", (len(content), 0), lambda _, content=content: content, io.BytesIO)  # type: ignore[misc]
        try:
            waves = list(sound_files.blocks(found, RATE))
        except Unusable as error:
            reasons.append(str(error))
        else:
            assert all(np.isfinite(wave).all() for wave in waves)
    assert len(reasons) > 5 and all(len(reason) > 10 for reason in reasons)


def test_a_file_that_is_bad_behind_its_first_block_leaves_no_clips(tmp_path: Path) -> None:
    long = np.tile(tone(1.0), sound_files.BLOCK + 5)
    long[-10] = np.nan
    files = {"a.wav": encoded(tone(frequency=300)), "b.wav": encoded(long, subtype="FLOAT"), "c.wav": encoded(tone())}
    found = opened(filled(tmp_path, files))
    assert len(found) == 2 and "no numbers, the first at 35.00 s" in found.skipped[0]
    assert [round(strongest(found.clip(at)), -1) for at in range(2)] == [300, 440]
    assert found.starts[-1] == len(found.samples)


def test_a_header_written_before_the_end_was_known_is_no_cut(tmp_path: Path) -> None:
    whole = bytearray(encoded(tone()))
    whole[4:8] = whole[40:44] = struct.pack("<I", 0xFFFFFFFF)
    found = opened(filled(tmp_path, {"a.wav": bytes(whole), "b.wav": encoded(tone())}))
    assert found.skipped == () and np.array_equal(found.clip(0), found.clip(1))


@pytest.mark.slow
@pytest.mark.parametrize("archive", [False, True])
def test_two_hours_are_cut_into_clips_and_never_in_memory(archive: bool, tmp_path: Path) -> None:
    rate, hours = 8_000, 2
    minute = tone(60, rate).astype(np.float32)
    path = tmp_path / "in" / "long.wav"
    path.parent.mkdir()
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for _ in range(60 * hours):
            file.write(minute)
    data = path.parent
    if archive:
        data = tmp_path / "long.zip"
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
            packed.write(path, "long.wav")
    tracemalloc.start()
    found = open_sounds(SoundSource(data=str(data)), 2_000, 20_000, 1, tmp_path / "cache")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.samples) == pytest.approx(3600 * hours * 2_000, rel=1e-4)
    assert len(found) == 3600 * hours // 10
    assert np.diff(found.starts).max() == 20_000
    decoded = 3600 * hours * rate * 4
    assert peak - found.samples.nbytes < decoded / 6, "the file, and what it decodes to, are never there as a whole"


def test_the_first_clip_alone(tmp_path: Path) -> None:
    data = filled(tmp_path, {"a.wav": encoded(tone(3.0)), "b.wav": encoded(tone(0.5))})
    assert len(opened(data)) == 4
    found = opened(data, long="first")
    assert np.diff(found.starts).tolist() == [RATE, RATE // 2]
    assert found.notes == ("2 sounds of one class: 2 clips",)


def test_silence_around_a_sound_is_left_out(tmp_path: Path) -> None:
    wave = np.concatenate([np.zeros(8_000), tone(0.4), np.zeros(4_000)]) + 1e-4
    data = filled(tmp_path, {f"{at}.wav": encoded(wave) for at in range(2)})
    assert len(opened(data).clip(0)) == pytest.approx(0.44 * RATE, abs=0.02 * RATE)
    assert len(opened(data, trim=False, longest=2 * RATE).clip(0)) == len(wave)


def test_levels(tmp_path: Path) -> None:
    files = {"a.wav": encoded(tone(amplitude=0.02, seconds=1)), "b.wav": encoded(tone(amplitude=0.9, seconds=1))}
    data = filled(tmp_path, files)
    for level, wanted in (("peak", (0.9, 0.9)), ("as-is", (0.02, 0.9))):
        found = opened(data, level=level)
        assert [abs(found.clip(at)).max() / 32767 for at in range(2)] == pytest.approx(wanted, abs=0.002)
    found = opened(data, level="loudness")
    for at in range(2):
        assert loudness((found.clip(at) / 32768.0).astype(np.float32), RATE) == pytest.approx(-23.0, abs=0.1)
    loud = filled(tmp_path / "loud", {f"{at}.wav": encoded(tone(amplitude=1.5), subtype="FLOAT") for at in range(3)})
    with pytest.raises(DataError, match=r"its peak is 1\.5 of full scale: choose --level peak"):
        opened(loud, level="as-is")
    assert len(opened(loud)) == 3


def test_the_loudness_is_that_of_the_recommendation() -> None:
    """ITU-R BS.1770-5: a full-scale sine of 997 Hz has -3.01 LUFS, and the filters of 48 kHz are its tables 1 and 2."""
    shelf, high_pass = filters(48_000)
    np.testing.assert_allclose(shelf[0], (1.53512485958697, -2.69169618940638, 1.19839281085285), atol=1e-6)
    np.testing.assert_allclose(shelf[1], (1.0, -1.69065929318241, 0.73248077421585), atol=1e-6)
    np.testing.assert_allclose(high_pass[1], (1.0, -1.99004745483398, 0.99007225036621), atol=1e-6)
    for rate in (16_000, 44_100, 48_000):
        assert loudness(tone(3.0, rate, 1.0, 997).astype(np.float32), rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(tone(3.0, RATE, 1.0, 30).astype(np.float32), RATE) < -8, "low tones are less loud"
    assert loudness(np.zeros(100, np.float32), RATE) == -np.inf


def test_labels_of_folders_patterns_and_tables(tmp_path: Path) -> None:
    names = ["data/ten/1_a.wav", "data/two/2_b.wav", "data/two/10_c.wav", "data/ten/1_d.wav"]
    data = filled(tmp_path, {name: encoded(tone()) for name in names})
    found = opened(data)
    assert found.classes == ("ten", "two") and found.labels.tolist() == [0, 0, 1, 1]
    found = opened(data, label_pattern=r"(\d+)_")
    assert found.classes == ("1", "2", "10"), "in the order of the numbers"
    assert found.labels.tolist() == [0, 0, 2, 1]
    (data / "data/labels.csv").write_text("file;label;who\n1_a.wav;x;p\ndata/two/2_b.wav;y;q\n10_c;x;p\n1_d.wav;y;q\n")
    assert opened(data, labels="labels.csv").labels.tolist() == [0, 1, 0, 1]
    assert opened(data, labels=str(data / "data/labels.csv"), label_column="who").classes == ("p", "q")


def test_files_without_a_label_are_lost_by_name(tmp_path: Path) -> None:
    files = {"a/1.wav": encoded(tone()), "a/2.wav": encoded(tone()), "3.wav": encoded(tone())}
    found = opened(filled(tmp_path, files))
    assert found.skipped == ("3.wav: it lies in no folder, and others do: without one it has no label",)
    found = opened(tmp_path, label_pattern="[12](.)")
    assert found.skipped == ("3.wav: its name does not match --label-pattern [12](.)",)
    (tmp_path / "l.csv").write_text("file,label\n1.wav,x\n2.wav,x\n")
    assert opened(tmp_path, labels="l.csv").skipped == ("3.wav: l.csv names no such file",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,label\na.wav,x\n", r"has the columns 'name', 'label'; wanted 'file' and 'label'"),
        ("file,label\na.wav,x\na.wav,y\n", r"says 'x' and 'y' \(line 3\) of a\.wav: keep one"),
        ("file,label\na.wav,\n", r"holds 1 row and no label: line 2: its label is empty"),
        ("", r"has the columns of an empty file"),
    ],
)
def test_tables_of_labels_that_do_not_serve(table: str, message: str, tmp_path: Path) -> None:
    filled(tmp_path, {"a.wav": encoded(tone()), "t.csv": table.encode()})
    with pytest.raises(DataError, match=message):
        opened(tmp_path, labels="t.csv")
    with pytest.raises(DataError, match=r"--labels no\.csv is neither a file nor in the data"):
        opened(tmp_path, labels="no.csv")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_pattern": "(a"}, r"--label-pattern is '\(a', wanted a pattern of Python"),
        ({"label_pattern": "abc"}, r"--label-pattern is 'abc', wanted one with a group"),
        ({"label_pattern": "(a)", "labels": "x.csv"}, r"--labels is x\.csv, wanted left out"),
        ({"level": "loud"}, r"--level is 'loud', wanted one of peak, loudness, as-is"),
        ({"long": "some"}, r"--long is 'some', wanted one of cut, first"),
        ({"world_size": 0}, r"--world-size is 0, wanted at least 1"),
    ],
)
def test_options_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SoundSource(**fields)


def test_data_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist; give a directory or \.zip of sounds, or 'digits'"):
        opened(tmp_path / "nowhere")
    filled(tmp_path, {"x/a.mid": b"MThd", "x/b.m4a": b"", "y/a.wav": encoded(tone()), "z.wav": encoded(tone())})
    with pytest.raises(
        DataError, match=r"holds no sounds .*1 file of \.mid \(notes, no sound.*\.m4a \(save them as WAV"
    ):
        opened(tmp_path / "x")
    with pytest.raises(DataError, match=r"y holds 1 readable clips, 0 of them to measure on; wanted at least 1"):
        opened(tmp_path / "y")
    with pytest.raises(DataError, match=r"z\.wav is neither a directory nor a \.zip file"):
        opened(tmp_path / "z.wav")
    with pytest.raises(DataError, match="3 spoken digits are fewer than one batch of 8: raise --world-size"):
        opened("digits", at_least=8, world_size=3)


def test_one_in_twenty_files_of_each_class_is_held_out_whole(tmp_path: Path) -> None:
    files = {f"{label}/{at}.wav": encoded(tone(1.6)) for label in "ab" for at in range(41)}
    found = opened(filled(tmp_path, files))
    assert len(found) == 164, "two clips of each"
    held = found.held_out
    assert sorted(found.labels[held].tolist()) == [0] * 6 + [1] * 6, "three of 41 files"
    assert set(held[held % 2 == 0] + 1) == set(held[held % 2 == 1]), "no file is on both sides"
    assert len(found.learned) == 152
    (tmp_path / "a/0.wav").unlink()
    again = opened(tmp_path)
    assert len(again.held_out) == 10 or len(again.held_out) == 12


def test_one_long_file_is_held_out_from_its_end(tmp_path: Path) -> None:
    found = opened(filled(tmp_path, {"a.wav": encoded(tone(21.0))}))
    assert len(found) == 21 and found.held_out.tolist() == [19, 20]


def test_several_sources_by_commas_and_what_is_not_read(tmp_path: Path) -> None:
    filled(tmp_path, {"one/a.wav": encoded(tone()), "one/b.txt": b"x", "one/.hidden.wav": b"x"})
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        packed.writestr("c.wav", encoded(tone(frequency=600)))
    found = opened(f"{tmp_path / 'one'},{tmp_path / 'two.zip'}")
    assert len(found) == 2 and found.name == "one+two.zip-16000hz-2"
    assert "one: not read: 1 file of .txt" in found.notes
    assert "one: left out 1 hidden file such as .hidden.wav" in found.notes


@pytest.mark.parametrize("whole", [10, 100_000_000], ids=["from where it lies", "as a whole"])
def test_a_member_whose_checksum_is_wrong_is_lost_by_name(
    whole: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is decoded from the archive piece by piece: what was decoded before that was found is dropped."""
    monkeypatch.setattr(sound_content, "WHOLE", whole)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in "abc":
            packed.writestr(f"{name}.wav", encoded(tone(40 if name == "a" else 1), form="WAV"))
    content = bytearray(buffer.getvalue())
    content[600_000] ^= 0x40  # inside the sound of the first member
    (tmp_path / "x.zip").write_bytes(bytes(content))
    gc.disable()  # the archive is closed by then, and not when garbage is collected
    try:
        found = opened(tmp_path / "x.zip")
        held = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    finally:
        gc.enable()
    assert tmp_path / "x.zip" not in held
    assert len(found) == 2 and found.skipped == ("a.wav: Bad CRC-32 for file 'a.wav'",)


def test_an_encrypted_member_is_lost_by_name(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name in "abc":
            packed.writestr(f"{name}.wav", encoded(tone()))
    content = bytearray(buffer.getvalue())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1  # the flag of the first member
    (tmp_path / "x.zip").write_bytes(bytes(content))
    found = opened(tmp_path / "x.zip")
    assert len(found) == 2 and "a.wav: it is encrypted: unpack the archive with its password" in found.skipped[0]


def test_the_decoded_copy_serves_the_same_files_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, cache = filled(tmp_path / "in", {f"{at}.wav": encoded(tone()) for at in range(3)}), tmp_path / "run"
    first = opened(data, cache=cache)
    assert "the sounds take" in capsys.readouterr().out
    again = opened(data, cache=cache)
    assert "read as an earlier run has decoded them" in capsys.readouterr().out
    assert again.sha256 == first.sha256 and np.array_equal(again.samples, first.samples)
    assert opened(data).sha256 == first.sha256, "without a copy it is the same set"
    for changed in ({"level": "loudness"}, {"trim": False}, {"label_pattern": r"\d(.)"}, {"longest": 3_000}):
        opened(data, cache=cache, **changed)
        assert "read as an earlier run" not in capsys.readouterr().out, changed
    opened(data, cache=cache)
    (cache / "sounds.i16").write_bytes((cache / "sounds.i16").read_bytes()[:-2])
    capsys.readouterr()
    assert opened(data, cache=cache).sha256 == first.sha256, "a damaged copy is made anew"
    turned = bytearray((cache / "sounds.i16").read_bytes())
    turned[100] ^= 1
    (cache / "sounds.i16").write_bytes(bytes(turned))
    assert opened(data, cache=cache).sha256 == first.sha256
    assert sorted(path.name for path in cache.iterdir()) == ["sounds.i16", "sounds.json"], "no temporary file stays"


def test_a_large_set_is_mapped_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = filled(tmp_path / "in", {f"{at}.wav": encoded(tone()) for at in range(3)})
    whole = opened(data)
    monkeypatch.setattr(memory, "available", lambda: 30_000)
    found = opened(data, cache=tmp_path / "run")
    assert "over half of the 0.0 MB that are free, mapped from" in capsys.readouterr().out
    assert isinstance(found.samples.base, np.memmap) and found.sha256 == whole.sha256


def test_too_many_samples_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_store, "MOST_SAMPLES", 10_000)
    data = filled(tmp_path / "in", {f"{at}.wav": encoded(tone()) for at in range(3)})
    with pytest.raises(DataError, match="the sounds have over 10,000 samples: give a part of them, or a lower rate"):
        opened(data, cache=tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    """A real write error from the kernel: the process may not write files over 20,000 bytes."""
    data = filled(tmp_path / "in", {f"{at}.wav": encoded(tone()) for at in range(3)})
    program = (
        "import resource, sys; from pathlib import Path; from training.data.sounds import open_sounds\n"
        "from training.data.sound_source import SoundSource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try: open_sounds(SoundSource(data=sys.argv[1]), 16_000, 16_000, 1, Path(sys.argv[2]))\n"
        "except OSError as error: print(error)"
    )
    command = [sys.executable, "-c", program, str(data), str(tmp_path / "run")]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"could not write {tmp_path}/run/sounds.i16 (File too large): free some space and run the same" in told
    assert not list((tmp_path / "run").iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    data = filled(tmp_path / "in", {f"{at}.wav": encoded(tone()) for at in range(3)})
    (tmp_path / "run").write_bytes(b"a file where a folder should be")
    with pytest.raises(OSError, match=r"could not write .*sounds\.i16"):
        opened(data, cache=tmp_path / "run")


def test_waves_are_cut_or_followed_by_silence(tmp_path: Path) -> None:
    found = opened(filled(tmp_path, {"a.wav": encoded(tone(0.2)), "b.wav": encoded(tone(0.6))}))
    waves = found.waves(np.array([1, 0]), 6_400)
    assert waves.shape == (2, 6_400) and waves.dtype == np.float32
    assert np.array_equal(waves[0], found.clip(1)[:6_400] / np.float32(32768))
    assert np.array_equal(waves[1, :3_200], found.clip(0) / np.float32(32768)) and not waves[1, 3_200:].any()


def test_the_loud_part_keeps_a_margin() -> None:
    wave = np.concatenate([np.zeros(1_000), np.ones(500), np.zeros(1_000)]).astype(np.float32)
    begin, end = sound_clips.loud_part(wave, 1_000)
    assert (begin, end) == (980, 1_520)


SPEECH = SHARED / "speech" / "fsdd_8k.zip"


@pytest.mark.slow
@pytest.mark.skipif(not SPEECH.is_file(), reason=f"{SPEECH.name}, real spoken digits, is not here")
def test_real_spoken_digits_are_read_whole_and_labelled() -> None:
    found = opened(SPEECH, label_pattern=r"(\d)_.*", long="first", longest=16_384)
    assert found.skipped == () and len(found) == 1_020 and found.classes == tuple("0123456789")
    assert np.bincount(found.labels).tolist() == [102] * 10
    assert np.bincount(found.labels[found.held_out]).tolist() == [6] * 10
    lengths = np.diff(found.starts) / RATE
    assert lengths.min() > 0.1 and np.median(lengths) < 0.6
    peaks = [abs(found.clip(at)).max() for at in range(0, 1_020, 20)]
    assert min(peaks) > 0.6 * 32768 and max(peaks) <= 32767
