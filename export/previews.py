"""The same seeds from every judged set of candidates: images beside their difference to FP32, texts, sounds."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.judge import QUALITY_SEED
from handlers.audio.preview import Sounds
from handlers.bundle import Bundle
from handlers.generators import create
from handlers.manifest import Candidate
from handlers.media import sound_picture
from handlers.media.sound import SoundFile
from handlers.runtimes.device import machine
from handlers.runtimes.registry import find
from handlers.runtimes.runtime import SessionError
from handlers.runtimes.session import Session, open_session

COUNT = 8  # images in a row, or texts
SOUNDS = 4  # of them, which are long to listen to
AMPLIFY = 8  # differences are shown this many times as large


@dataclasses.dataclass(frozen=True)
class Preview:
    """Media of one set of candidates: addresses of two strips of images, or texts, or sounds."""

    candidates: str  # their identifiers, one for each role
    images: str | None = None
    difference: str | None = None
    texts: tuple[str, ...] = ()
    sounds: tuple[tuple[str, str], ...] = ()  # addresses of a file and of its picture


def previews(bundle: Bundle) -> list[Preview]:
    """One for each set of candidates that runs on this CPU, the reference first, computed here and now."""
    found: list[Preview] = []
    wanted: NDArray[np.uint8] | None = None
    seeds = range(QUALITY_SEED, QUALITY_SEED + COUNT)
    for option in _options(bundle):
        name = " + ".join(candidate.id for candidate in option.values())
        try:
            made = _preview(bundle, option, seeds)
        except SessionError:
            continue  # its failure is in the table
        if isinstance(made, Sounds):
            whole = [wave for wave in made.waves[:SOUNDS] if np.isfinite(wave).all()]
            found.append(Preview(name, sounds=tuple(_heard(wave, made.rate) for wave in whole)))
            continue
        if not isinstance(made, np.ndarray):
            found.append(Preview(name, texts=tuple(made)))
            continue
        wanted = made if wanted is None else wanted
        gap = np.clip(np.abs(made.astype(int) - wanted) * AMPLIFY, 0, 255).astype(np.uint8)
        found.append(Preview(name, _strip(made), _strip(gap)))
    return found


def _preview(bundle: Bundle, option: Mapping[str, Candidate], seeds: Sequence[int]) -> Any:
    """Media of the seeds as the generator previews them. Raises `SessionError`."""
    with contextlib.ExitStack() as opened:
        sessions: dict[str, Session] = {}
        for role, candidate in option.items():
            data, spec = bundle.read_file(candidate.file), bundle.manifest.graphs[role]
            threads = bundle.manifest.resources.threads
            session = open_session(candidate.runtime, data, spec, threads, candidate.precision)
            sessions[role] = opened.enter_context(session)
        return create(bundle.model(), sessions).preview(seeds)


def _options(bundle: Bundle) -> list[dict[str, Candidate]]:
    """The judged sets of candidates that may run on this CPU: for every role one in the same form and runtime."""
    sets: dict[tuple[str, ...], dict[str, Candidate]] = {}
    for candidate in bundle.manifest.candidates:
        if find(candidate.runtime).device != "cpu" or candidate.verdict == "failed":
            continue
        if candidate.device_class not in ("any", machine().cpu):
            continue
        key = (candidate.variant, candidate.runtime, candidate.precision, candidate.device_class)
        sets.setdefault(key, {})[candidate.role] = candidate
    whole = [option for option in sets.values() if option.keys() == bundle.manifest.graphs.keys()]
    return sorted(whole, key=lambda option: any(c.verdict != "reference" for c in option.values()))


def _strip(images: NDArray[np.uint8]) -> str:
    """Images (N, S, S, 3) side by side, at least 64 pixels high, as a data address."""
    strip = np.concatenate(list(images), axis=1)
    scale = max(1, 64 // images.shape[1])
    buffer = io.BytesIO()
    Image.fromarray(strip.repeat(scale, 0).repeat(scale, 1)).save(buffer, "PNG")
    return address(buffer.getvalue())


def _heard(wave: NDArray[np.float32], rate: int) -> tuple[str, str]:
    """Addresses of samples (T,) as a file to play, marked as every file is, and of their picture."""
    file = SoundFile("flac", "pcm_16", rate, "Atelier report", stream=False)
    file.write(wave)
    file.close()
    return address(file.take(), "audio/flac"), address(sound_picture.picture(wave, rate))


def address(data: bytes, content_type: str = "image/png") -> str:
    """A file, such as a PNG, as a data address, which a page shows or plays without another file."""
    return f"data:{content_type};base64," + base64.b64encode(data).decode()
