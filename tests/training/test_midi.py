"""MIDI files: notes, tempo and key; clips of pieces; bad files are named and lost alone."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import mido
import numpy as np
import pytest

from tests.conftest import SHARED
from training.data import DataError, midi, midi_files
from training.data.melodies import SCALE
from training.data.music import open_music
from training.data.synthesizer import frequency

RATE = 16_000


def song(pitches: list[int], tempo: float | None = 100.0, beats: float = 1.0, channel: int = 0, kind: int = 1) -> bytes:
    """A file with notes one after the other."""
    file = mido.MidiFile(type=kind, ticks_per_beat=480)
    track = mido.MidiTrack()
    file.tracks.append(track)
    if tempo:
        track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    for pitch in pitches:
        track.append(mido.Message("note_on", note=pitch, velocity=64, channel=channel, time=0))
        track.append(mido.Message("note_off", note=pitch, velocity=0, channel=channel, time=round(480 * beats)))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def scale(tonic: int, times: int = 4) -> list[int]:
    """A major scale up to the octave, then the chord of the tonic."""
    return [60 + tonic + step for step in (*SCALE, 12, 0, 4, 7, 12)] * times


def test_notes_are_read_in_beats() -> None:
    score = midi.read(song([60, 64, 67], tempo=90.0, beats=0.5))
    assert score.tempo == pytest.approx(90.0, abs=0.01)
    assert score.starts.tolist() == [0.0, 0.5, 1.0]
    assert score.lengths.tolist() == [0.5, 0.5, 0.5]
    assert score.pitches.tolist() == [60, 64, 67]
    assert score.strengths.tolist() == [64 / 127] * 3
    assert score.beats == 1.5


def test_a_file_without_a_tempo_has_120() -> None:
    assert midi.read(song([60], tempo=None)).tempo == 120.0


def test_a_piece_is_played_from_any_beat_in_another_key_and_tempo() -> None:
    notes = midi.read(song([60, 62, 64], beats=2.0)).played(1.0, tempo=120.0, transpose=3)
    assert [(note.start, note.seconds, note.pitch) for note in notes] == [
        (0.0, 0.5, 63),
        (0.5, 1.0, 65),
        (1.5, 1.0, 67),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"it is no MIDI file \(it is empty\): export it again as a Standard MIDI File"),
        (b"RIFFnothing", "it is damaged .*: export it again as a Standard MIDI File"),
        (b"ID3\x03 a song", r"it is no MIDI file \(it does not begin with MThd\)"),
        (song([60, 62])[:40], "it is damaged .*: export it again"),
        (song([]), r"it holds no notes \(drums on channel 10 are left out\)"),
        (song([60], channel=9), "it holds no notes"),
        (song([60], kind=2), r"its tracks are separate pieces \(format 2\): save each as a file of its own"),
    ],
)
def test_bad_files_say_why(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        midi.read(data)


def test_keys_are_found_by_their_profiles() -> None:
    for tonic in range(12):
        pitches = [60 + tonic + step for step in (0, 2, 4, 5, 7, 9, 11, 0, 4, 7, 0)]
        assert midi.key_of(pitches, [1.0] * len(pitches)) == tonic
        pitches = [60 + tonic + step for step in (0, 2, 3, 5, 7, 8, 11, 0, 3, 7, 0)]
        assert midi.key_of(pitches, [1.0] * len(pitches)) == 12 + tonic
    assert midi.transposed(11, 2) == 1
    assert midi.transposed(12 + 1, -3) == 12 + 10


def write(folder: Path, **files: bytes) -> Path:
    for name, data in files.items():
        (folder / name.replace("_mid", ".mid")).write_bytes(data)
    return folder


def test_clips_of_a_folder_know_key_and_tempo(tmp_path: Path) -> None:
    write(tmp_path, a_mid=song(scale(0)), b_mid=song(scale(2)))
    data = open_music(str(tmp_path), RATE, 4.0, 0, at_least=2, transpose=False, retime=False)
    assert {data.classes[label] for label in data.labels[data.learned]} <= {"C", "D"}
    assert data.tempos.round(2).tolist() == [100.0] * len(data)
    assert len(data.classes) == 24
    assert len(data.held_out) == 1
    assert (np.diff(data.starts) == 4 * RATE).all()
    spectrum = np.abs(np.fft.rfft(data.clip(0)[: RATE // 2].astype(float)))
    assert np.argmax(spectrum) * 2 == pytest.approx(frequency(60), abs=2)


def test_clips_are_moved_to_other_keys_and_tempos_and_their_labels_with_them(tmp_path: Path) -> None:
    write(tmp_path, a_mid=song(scale(0, times=20)))
    data = open_music(str(tmp_path), RATE, 4.0, 0, at_least=2)
    assert len(set(data.labels.tolist())) > 5
    assert all(80 <= tempo <= 150 for tempo in data.tempos)
    for at in range(len(data) - 1):  # the first note of a clip is one of its scale
        spectrum = np.abs(np.fft.rfft(data.clip(at)[:6000].astype(float) * np.hanning(6000)))
        pitch = round(12 * np.log2(np.argmax(spectrum) * RATE / 6000 / 440.0)) + 69
        assert (pitch - data.labels[at]) % 12 in SCALE
    again = open_music(str(tmp_path), RATE, 4.0, 0, at_least=2)
    assert again.sha256 == data.sha256


def test_bad_files_are_named_and_lost_alone(tmp_path: Path) -> None:
    path = tmp_path / "songs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good/a.mid", song(scale(0)))
        archive.writestr("good/b.mid", song(scale(5)))
        archive.writestr("bad/broken.mid", song(scale(0))[:50])
        archive.writestr("bad/empty.mid", b"")
        archive.writestr("notes.mscz", b"x")
    data = open_music(str(path), RATE, 4.0, 0, at_least=2)
    told = "\n".join(data.told())
    assert data.lost == 2
    assert "bad/broken.mid: it is damaged" in told
    assert "bad/empty.mid: it is no MIDI file (it is empty)" in told
    assert "1 file of .mscz (export them as MIDI)" in told


def test_too_few_clips_say_how_many_and_why(tmp_path: Path) -> None:
    write(tmp_path, a_mid=song([60]), b_mid=b"")
    wanted = (
        r"gives 1 clips of 4 s to learn from, wanted at least 9 \(one batch\); 1 could not be read, such as b.mid: "
    )
    with pytest.raises(DataError, match=wanted):
        open_music(str(tmp_path), RATE, 4.0, 0, at_least=9)


def test_what_is_neither_folder_nor_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist; give a directory or .zip of MIDI files or sounds"):
        open_music(str(tmp_path / "nowhere"), RATE, 4.0, 0, at_least=1)


def test_sounds_are_taken_where_there_is_no_midi(tmp_path: Path) -> None:
    import soundfile

    for at, folder in enumerate(("low", "low", "high", "high", "high", "low")):
        (tmp_path / folder).mkdir(exist_ok=True)
        wave = np.sin(np.arange(RATE) * (0.1 + 0.01 * at)) * 0.5
        soundfile.write(tmp_path / folder / f"{at}.wav", wave, RATE)
    data = open_music(str(tmp_path), RATE, 2.0, 0, at_least=2)
    assert set(data.classes) == {"low", "high"}
    assert (np.diff(data.starts) == 2 * RATE).all()
    assert set(data.tempos) == {120.0}
    assert "each counts as a bar of 4 beats, 120 a minute" in "\n".join(data.told())


@pytest.mark.slow
def test_real_chorales() -> None:
    path = SHARED / "music" / "js_fakes_midi.zip"
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    data = midi_files.music_set([path], RATE, 2.0, 8, transpose=True, retime=True)
    assert data.skipped == ()
    assert len(data) > 2_000
    assert len(set(data.labels.tolist())) == 24
