"""Requests to a WaveNet: what is said, how long, how freely it is drawn; and the clips that follow from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from handlers.audio import spoken
from handlers.audio.crossfade import FADE_SECONDS, joined
from handlers.audio.params import AudioParams, common, samples_of
from handlers.limits import AudioLimits
from handlers.params import ParamSpec, check_all
from handlers.refusals import Refusal


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaveParams(AudioParams):
    """The checked parameters of one request; the fields are the request's own names, but for those of AudioParams."""

    label: str | None
    text: str | None
    temperature: float
    labels: tuple[tuple[int, ...], ...]
    """of each sound, the classes of its clips (n, P)"""
    lengths: tuple[int, ...]
    """of the clips of a sound, in samples"""

    def public(self) -> dict[str, Any]:
        """The honoured parameters; not what follows from them."""
        values = super().public()
        del values["labels"], values["lengths"]
        return values


def parse(
    params: Any, specs: Sequence[ParamSpec], limits: AudioLimits, classes: Sequence[str], seconds: float
) -> WaveParams:
    """Check one request; a clip has `seconds` where no length is asked for. Raises `Refusal`."""
    values = check_all(spoken.named(params, classes), specs)
    label, text = values.pop("label"), values.pop("text", None)
    temperature = values.pop("temperature")
    asked = spoken.said(label, text, classes)
    clips, overlap = len(asked or (0,)), round(FADE_SECONDS * limits.rate)
    usual = joined(round(seconds * limits.rate), clips, overlap) / limits.rate
    samples = samples_of(values, limits, usual)
    lengths = shares(samples, clips, overlap)
    if clips > 1 and min(lengths) < 2 * overlap:
        least = joined(2 * overlap, clips, overlap) / limits.rate
        raise Refusal(400, f"{clips} digits need at least {least:g} seconds: raise seconds or shorten text", "text")
    values = common(values, limits, samples)
    count, first = values["n"], values["seed"]
    labels = [asked or ((first + i) % len(classes),) for i in range(count)]
    if asked is None and count == 1:
        label = classes[labels[0][0]]
    return WaveParams(**values, label=label, text=text, temperature=temperature, labels=tuple(labels), lengths=lengths)


def shares(samples: int, clips: int, overlap: int) -> tuple[int, ...]:
    """Lengths of clips that joined are `samples`: equal ones, but for the last, which has what is left over."""
    whole = samples + (clips - 1) * overlap
    each = whole // clips
    return (*[each] * (clips - 1), whole - each * (clips - 1))
