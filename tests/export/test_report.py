"""The report shows every candidate, opens without anything else, and is made again from the bundle alone."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from export import previews
from export.__main__ import main
from export.eager import NAME
from export.environment import environment
from export.judge import QUALITY_SEED
from export.previews import COUNT
from export.report import report
from handlers import bundle as bundles
from handlers import cgroups
from handlers.audio.preview import Sounds
from handlers.engine.choice import open_model
from handlers.media.sound_picture import picture
from handlers.runtimes.device import machine
from tests.conftest import Tiny
from tests.support.sounds import RATE, tone


def test_both_reports_name_every_candidate(tiny: Tiny, tiny_copy: Path) -> None:
    bundle = bundles.read(tiny_copy / "artifacts/bundles/tiny")
    path = report(bundle)
    page, text = path.read_text(), path.with_suffix(".md").read_text()
    candidates = [name for device in bundle.certificate.devices.values() for name in device.candidates]
    assert candidates
    for name in candidates:
        assert name in page
        assert name in text
    assert bundle.version in page
    assert page.count("data:image/png;base64,") >= 3  # the plot, and images with their difference
    assert not re.search(r'(src|href)="(?!data:)', page)  # self-contained
    assert "psnr_db at least 42" in page


def test_a_machine_that_was_limited_is_told(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = "limited to a quota of 1.5 processors (/sys/fs/cgroup/cpu.max)"
    monkeypatch.setattr(cgroups, "limits", lambda: found)
    monkeypatch.setattr(cgroups, "threads", lambda: 1)
    told = environment()
    assert (told["threads"], told["limits"]) == (1, found)
    bundle = bundles.read(tiny_copy / "artifacts/bundles/tiny")
    for device in bundle.certificate.devices.values():
        device.environment.update(told)
    path = report(bundle)
    assert f"{told['cores']} cores ({found})" in path.read_text()
    assert f"{told['cores']} cores; {found})" in path.with_suffix(".md").read_text()


def test_a_person_reads_sentences_then_sees_pictures_then_figures(tiny: Tiny, tiny_copy: Path) -> None:
    bundle = bundles.read(tiny_copy / "artifacts/bundles/tiny")
    path = report(bundle)
    page, text = html.unescape(path.read_text()), path.with_suffix(".md").read_text()
    first, *_, last = (line for line in text.splitlines() if line)
    assert first.startswith(f"On this processor ({machine().cpu}) FP32 in ")
    assert last == "none were built"
    for document in (page.partition("<body>")[2], text):
        order = [first, "candidates were tried: ", "What it makes", NAME, "fp32-onnxruntime"]
        table = document.index("times eager")
        places = [document.index(words) for words in order[:3]] + [document.index(words, table) for words in order[3:]]
        assert places == sorted(places)


@pytest.mark.parametrize("fixture", ["tiny_text", "tiny_summary"])
def test_texts_are_shown_whatever_the_number_of_graphs(
    fixture: str, workspace: Path, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(fixture).bundle
    page = report(bundle).read_bytes().decode()
    found = re.findall(r'<b>([^<]*)</b>\s*<ul class="texts">(.*?)</ul>', page, re.DOTALL)
    shown = {
        name: [html.unescape(text) for text in re.findall("<li>(.*?)</li>", texts, re.DOTALL)] for name, texts in found
    }
    assert set(next(iter(shown)).split(" + ")) == set(bundle.manifest.reference().values())
    assert {len(texts) for texts in shown.values()} == {COUNT}
    served = open_model(bundle)
    seeds = range(QUALITY_SEED, QUALITY_SEED + COUNT)
    assert shown[" + ".join(served.candidate.values())] == served.generator.preview(seeds)


def test_sounds_can_be_heard_and_seen(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waves = tuple(tone(seed, 4000) for seed in range(COUNT))
    monkeypatch.setattr(previews, "_preview", lambda *_: Sounds(waves, RATE))
    path = report(bundles.read(tiny_copy / "artifacts/bundles/tiny"))
    page = path.read_text()
    first = page.partition('<div class="sounds">')[2].partition("</div>")[0]
    heard = re.findall(r'<audio controls preload="none" src="data:audio/flac;base64,([^"]*)">', first)
    assert len(heard) == previews.SOUNDS
    for wave, found in zip(waves, heard, strict=False):
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(found)), dtype="float32")
        assert rate == RATE
        np.testing.assert_allclose(samples, wave, atol=1e-4)
    seen = re.findall(r'<img class="plot" src="data:image/png;base64,([^"]*)" alt="waveform', first)
    assert [base64.b64decode(found) for found in seen] == [picture(wave, RATE) for wave in waves[: previews.SOUNDS]]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "Sounds are in report.html" in path.with_suffix(".md").read_text()


def test_sounds_that_are_no_numbers_are_not_played(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = np.full(4000, np.nan, np.float32)
    monkeypatch.setattr(previews, "_preview", lambda *_: Sounds((broken,), RATE))
    page = report(bundles.read(tiny_copy / "artifacts/bundles/tiny")).read_text()
    assert "<p>Nothing to show: what it makes are no finite numbers.</p>" in page
    assert "<audio" not in page


def test_the_command_makes_it_again(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "tiny"]) == 0
    assert Path(capsys.readouterr().out.strip()) == Path("artifacts/reports/tiny/report.html")
    assert main(["report", "absent"]) == 1
    assert "python -m export build absent" in capsys.readouterr().err
