"""Sound files: what they decode to, who made them, that equal samples have equal bytes, streams and whole files."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from handlers.media import mp3, ogg, sound, wav
from handlers.media.mark import SOURCE_TYPE
from handlers.media.sound import ENCODINGS, RATES, SoundFile
from tests.support.sounds import RATE, tone

TOOL = "Atelier tones 0123"
KINDS = [(name, encoding) for name in sound.CONTENT_TYPES for encoding in ENCODINGS.get(name, (None,))]
EXACT = {"pcm_16": 0.5001 / 32767 + 1 / 32768, "pcm_24": 1e-6, "float": 0.0}
MP3_DELAY = 1105  # samples of an encoder and a decoder together, which MP3 has no place for
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def made(
    name: str, encoding: str | None, wave: NDArray[np.float32], stream: bool, piece: int = 320, rate: int = RATE
) -> bytes:
    """The file of a sound that is written, and taken, in pieces."""
    file = SoundFile(name, encoding, rate, TOOL, stream=stream, samples=len(wave), serial=7)
    found = []
    for at in range(0, len(wave), piece):
        file.write(wave[at : at + piece])
        found.append(file.take())
    assert stream or not any(found)
    file.close()
    return b"".join([*found, file.take()])


def decoded(data: bytes, name: str = "", rate: int = RATE) -> NDArray[np.float32]:
    """Samples as libsndfile reads them."""
    raw: dict[str, Any] = {"samplerate": rate, "channels": 1, "subtype": "PCM_16", "format": "RAW", "endian": "LITTLE"}
    found, hertz = soundfile.read(io.BytesIO(data), dtype="float32", **(raw if name == "pcm" else {}))
    assert hertz == rate
    samples: NDArray[np.float32] = found
    return samples


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "encoding"), KINDS)
def test_every_format_decodes_to_its_samples(name: str, encoding: str | None, stream: bool) -> None:
    wave = tone(1, 16001)
    found = decoded(made(name, encoding, wave, stream), name)
    if name == "mp3":
        found = found[MP3_DELAY : MP3_DELAY + len(wave)]
    assert found.shape == wave.shape
    if name in ("ogg", "opus", "mp3"):
        assert np.abs(found - wave)[200:-200].max() < 0.05
        assert np.abs(found - wave).max() < 0.2
    else:
        assert np.abs(found - wave).max() <= EXACT[encoding or "pcm_16"]


@pytest.mark.parametrize(("name", "encoding"), KINDS)
def test_stream_and_whole_file_are_the_same_samples_in_any_pieces(name: str, encoding: str | None) -> None:
    wave = tone(2, 20011)
    whole = decoded(made(name, encoding, wave, stream=False, piece=20011), name)
    for piece in (20011, 777):
        np.testing.assert_array_equal(decoded(made(name, encoding, wave, stream=True, piece=piece), name), whole)


@pytest.mark.parametrize(("name", "encoding"), KINDS)
def test_the_pieces_do_not_show_in_the_bytes(name: str, encoding: str | None) -> None:
    wave = tone(2, 20011)
    assert made(name, encoding, wave, True, piece=20011) == made(name, encoding, wave, True, piece=777)


@pytest.mark.slow
def test_equal_samples_have_equal_bytes_in_another_process() -> None:
    code = (
        "import sys; from tests.handlers.test_sound import KINDS, made, tone\n"
        "for name, encoding in KINDS: sys.stdout.buffer.write(made(name, encoding, tone(3, 4000), True))"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert b"".join(made(name, encoding, tone(3, 4000), True) for name, encoding in KINDS) == other


@pytest.mark.parametrize("samples", [1, 2, 100, 4097])
@pytest.mark.parametrize(("name", "encoding"), KINDS)
def test_the_shortest_sounds_are_files_too(name: str, encoding: str | None, samples: int) -> None:
    for stream in (False, True):
        found = decoded(made(name, encoding, tone(4, samples), stream), name)
        assert len(found) >= samples if name == "mp3" else len(found) == samples


@pytest.mark.parametrize(("name", "rate"), [(name, rate) for name, rates in RATES.items() for rate in rates])
def test_every_rate_that_is_offered_can_be_written(name: str, rate: int) -> None:
    wave = tone(5, rate // 2)
    found = decoded(made(name, None, wave, stream=True, rate=rate), name, rate)
    assert len(found) == len(wave) if name == "opus" else len(wave) + 500 < len(found) < len(wave) + 4000


def test_a_streamed_opus_comes_in_short_pages() -> None:
    found = pages(made("opus", None, tone(1, 2 * RATE), stream=True))
    positions = [struct.unpack_from("<q", page, 6)[0] for page in found]  # at 48 kHz
    assert max(np.diff(positions[1:])) <= 48000 * 0.12
    assert len(found) > 15


def test_the_end_of_an_opus_is_not_lost() -> None:
    for samples in (4000, 4800, 16000):
        wave = tone(1, samples)
        assert np.abs(decoded(made("opus", None, wave, stream=True)) - wave)[-160:].max() < 0.1


def test_what_is_over_full_level_is_clipped_but_for_floats() -> None:
    wave = np.array([-3.0, -1.0, 0.0, 1.0, 3.0], np.float32)
    assert decoded(made("wav", "pcm_16", wave, True)).tolist() == [-32767 / 32768] * 2 + [0] + [32767 / 32768] * 2
    assert decoded(made("wav", "float", wave, True)).tolist() == wave.tolist()
    assert struct.unpack("<5h", made("pcm", None, wave, True)) == (-32767, -32767, 0, 32767, 32767)


@pytest.mark.parametrize(("name", "encoding"), KINDS)
def test_what_is_no_number_is_no_sound(name: str, encoding: str | None) -> None:
    file = SoundFile(name, encoding, RATE, TOOL, stream=True)
    with pytest.raises(ValueError, match="2 of 4 samples are no finite numbers"):
        file.write(np.array([0, np.nan, 0.5, np.inf], np.float32))


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Chunks of a RIFF file by name, read without our code or libsndfile's."""
    assert (data[:4], data[8:12]) == (b"RIFF", b"WAVE")
    found, at = {}, 12
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        found[name] = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return found


def xmp(data: bytes) -> ET.Element:
    (found,) = ET.fromstring(data.decode()).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS["wav"])
def test_a_wav_has_its_mark_before_its_samples(encoding: str, stream: bool) -> None:
    data = made("wav", encoding, tone(1, 333), stream)
    found = chunks(data)
    assert list(found)[-1] == b"data"
    assert len(found[b"data"]) == 333 * {"pcm_16": 2, "pcm_24": 3, "float": 4}[encoding]
    info = chunks(b"RIFF" + bytes(4) + b"WAVE" + found[b"LIST"][4:])
    assert info == {b"ICMT": SOURCE_TYPE.encode() + b"\0", b"ISFT": TOOL.encode() + b"\0"}
    assert xmp(found[b"_PMX"]).get(f"{IPTC}DigitalSourceType") == SOURCE_TYPE
    sizes = struct.unpack_from("<I", data, 4)[0], struct.unpack_from("<I", data, data.index(b"data") + 4)[0]
    assert (sizes == (wav.OPEN, wav.OPEN)) is stream
    assert stream or sizes[0] == len(data) - 8


def comments(block: bytes) -> list[bytes]:
    """The comments of a Vorbis comment block, read without our code or libsndfile's."""
    (size,) = struct.unpack_from("<I", block)
    (count,), at, found = struct.unpack_from("<I", block, 4 + size), 8 + size, []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", block, at)
        found.append(block[at + 4 : at + 4 + length])
        at += 4 + length
    return found


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "head"), [("flac", None), ("ogg", b"\x03vorbis"), ("opus", b"OpusTags")])
def test_flac_and_ogg_have_their_mark_as_vorbis_comments(name: str, head: bytes | None, stream: bool) -> None:
    data = made(name, None, tone(1, 3000), stream)
    if head is None:
        assert data[:4] == b"fLaC"
        size = int.from_bytes(data[5:8])
        assert data[8 + size] & 0x7F == 4  # a block of comments
        block = data[12 + size :]
    else:
        block = data[data.index(head) + len(head) :]
    found = comments(block)
    named = {name.upper(): value for name, _, value in (entry.partition(b"=") for entry in found)}  # in any case
    assert named.pop(b"COMMENT") == f"DigitalSourceType={SOURCE_TYPE}".encode()
    assert any(value.startswith(TOOL.encode()) for value in named.values())
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.comment == f"DigitalSourceType={SOURCE_TYPE}"


@pytest.mark.parametrize("stream", [False, True])
def test_an_mp3_has_its_mark_in_an_id3_tag(stream: bool) -> None:
    data = made("mp3", None, tone(1, 3000), stream)
    assert data[:6] == b"ID3\x04\x00\x00"
    size = sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    tag, found, at = data[10 : 10 + size], {}, 0
    while at < len(tag):
        length = sum(byte << shift for byte, shift in zip(tag[at + 4 : at + 8], (21, 14, 7, 0), strict=True))
        found[tag[at : at + 4]] = tag[at + 10 : at + 10 + length]
        at += 10 + length
    assert found[b"TXXX"] == b"\x03DigitalSourceType\0" + SOURCE_TYPE.encode()
    assert found[b"TSSE"] == b"\x03" + TOOL.encode()
    assert xmp(found[b"PRIV"].removeprefix(b"XMP\0")).get(f"{IPTC}DigitalSourceType") == SOURCE_TYPE
    at = 10 + size
    while at < len(data):  # nothing but frames, one after the other, and none of them without sound
        assert b"Xing" not in data[at : at + 64]
        assert b"Info" not in data[at : at + 64]
        at += mp3.frame_bytes(data[at:])
    assert at == len(data)


def pages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        segments = data[at + 26]
        size = 27 + segments + sum(data[at + 27 : at + 27 + segments])
        found.append(data[at : at + size])
        at += size
    return found


def slow_crc(data: bytes) -> int:
    """RFC 3533's checksum, bit by bit."""
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_pages_of_ogg_have_the_serial_number_and_right_checksums(name: str) -> None:
    found = pages(made(name, None, tone(1, 30000), stream=True))
    assert len(found) >= 3
    for page in found:
        assert page[:4] == b"OggS"
        assert struct.unpack_from("<I", page, 14) == (7,)
        assert struct.unpack_from("<I", page, 22) == (slow_crc(page[:22] + bytes(4) + page[26:]),)


def test_what_is_no_page_and_no_frame_is_said() -> None:
    with pytest.raises(ValueError, match="an Ogg page begins with b'RIFF', wanted b'OggS'"):
        ogg.Pages(1).feed(b"RIFF" + bytes(40))
    with pytest.raises(ValueError, match="an MP3 frame begins with 00000000, wanted layer III with a bit rate"):
        mp3.Frames(TOOL).feed(bytes(40))


def test_a_streamed_flac_says_how_long_it_will_be() -> None:
    with soundfile.SoundFile(io.BytesIO(made("flac", "pcm_24", tone(1, 5000), stream=True))) as file:
        assert (file.frames, file.subtype) == (5000, "PCM_24")


def test_a_format_that_is_not_compiled_in_is_named_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "", "FLAC": "", "OGG": ""})
    monkeypatch.setattr(soundfile, "available_subtypes", lambda format: {"VORBIS": "Vorbis"} if format == "OGG" else {})
    sound.available.cache_clear()
    try:
        assert sound.available() == ("wav", "flac", "ogg", "pcm")
        wanted = (
            f"'mp3' cannot be written by libsndfile {soundfile.__libsndfile_version__}; there are wav, flac, ogg, pcm"
        )
        with pytest.raises(ValueError, match=wanted):
            SoundFile("mp3", None, RATE, TOOL, stream=False)
    finally:
        sound.available.cache_clear()


@pytest.mark.parametrize(("name", "encoding"), KINDS)
def test_a_stream_keeps_nothing_that_was_taken(name: str, encoding: str | None) -> None:
    file = SoundFile(name, encoding, RATE, TOOL, stream=True)
    most = 0
    for second in range(20):
        file.write(tone(second, RATE))
        file.take()
        most = max(most, len(file._sink._data))
    assert most == 0
