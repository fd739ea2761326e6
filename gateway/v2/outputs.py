"""What a model's answers are as tensors: which outputs there are, and how they are made."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from gateway.described import Described
from gateway.errors import ApiError
from gateway.v1.written import Part, read
from gateway.v2.asked import Asked, Wanted
from gateway.v2.datatypes import BYTES, Value, to_json, to_raw
from gateway.v2.decoded import as_tensor, pixels, samples
from gateway.work import Made, Order

MAX_NUMBERS = 1 << 20  # of one output that is sent as JSON
JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class Output:
    """One that a model has. `numbers`: made of files by decoding them; `usual`: sent where none is asked for."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: as it comes
    doc: str
    numbers: bool = False
    usual: bool = True


_SEED = Output("seed", "INT64", (-1,), "what each was drawn from")
_RECEIPT = Output("receipt", BYTES, (-1,), "JSON of what made it, one for each request")
OUTPUTS: dict[str, tuple[Output, ...]] = {
    "image": (
        Output("image", BYTES, (-1,), "files"),
        Output("pixels", "UINT8", (-1, -1, -1, 3), "images, rows from above, red, green, blue", True, False),
        _SEED,
        _RECEIPT,
    ),
    "audio": (
        Output("file", BYTES, (-1,), "files; of the format that is asked for"),
        Output("audio", "FP32", (-1, -1), "samples in [-1, 1), silence after shorter ones", True, False),
        Output("audio_int16", "INT16", (-1, -1), "the same as 16 bits", True, False),
        Output("lengths", "INT64", (-1,), "samples of each", True, False),
        Output("sample_rate", "INT32", (1,), "samples in a second", True, False),
        _SEED,
        _RECEIPT,
    ),
    "text": (
        Output("text", BYTES, (-1,), "what was written"),
        Output("finish_reason", BYTES, (-1,), "stop or length"),
        Output("usage", "INT64", (-1, 2), "tokens that were read and written, for each request"),
        _SEED,
        _RECEIPT,
    ),
}


@dataclasses.dataclass(frozen=True)
class Result:
    """An output with its values."""

    datatype: str
    shape: list[int]
    values: Sequence[Value] | bytes


def chosen(asked: Asked, model: Described) -> list[Wanted]:
    """The outputs of an answer. Raises `ApiError` for one that there is not, or that JSON cannot hold."""
    known = {one.name: one for one in OUTPUTS[model.medium]}
    if asked.outputs is None:
        wanted = [Wanted(one.name, asked.binary) for one in known.values() if one.usual]
    else:
        wanted = list(asked.outputs)
    for at, one in enumerate(wanted):
        if one.name not in known:
            told = ", ".join(known)
            raise ApiError(400, f"model {model.name} has no output {one.name[:60]!r}; it has {told}")
        if one.name in [other.name for other in wanted[:at]]:
            raise ApiError(400, f"output {one.name} is asked for twice")
        if one.name in ("image", "file") and not one.binary:
            raise ApiError(400, f"output {one.name} is no text: ask for it with binary_data true")
    numbers = [one.name for one in wanted if known[one.name].numbers]
    if numbers and "file" in [one.name for one in wanted]:
        raise ApiError(400, f"file and {numbers[0]} are of two formats: ask for one of them")
    return wanted


def form(params: dict[str, Any], wanted: Sequence[Wanted], model: Described) -> dict[str, Any]:
    """The parameters of a request, with the format that its outputs are made of."""
    names = [one.name for one in wanted]
    decoded = {one.name for one in OUTPUTS[model.medium] if one.numbers} & set(names)
    if not decoded or not model.has("format"):
        return params
    if model.medium == "audio":
        for name in ("format", "encoding"):
            if name in params:
                raise ApiError(400, f"{name} is of files; {', '.join(sorted(decoded))} is none: leave it out")
        return {**params, "format": "wav"}
    return params if "format" in params else {**params, "format": "png"}


async def results(orders: Sequence[Order], answers: Sequence[Made], wanted: Sequence[Wanted]) -> dict[str, Result]:
    """The outputs that are wanted, by name. What takes long runs in a thread. Raises `ApiError`."""
    names = [one.name for one in wanted]
    made = await asyncio.to_thread(_results, orders, answers, names)
    return {name: made[name] for name in names if name in made}


def _results(orders: Sequence[Order], answers: Sequence[Made], names: Sequence[str]) -> dict[str, Result]:
    medium = orders[0].model.medium
    receipts = [json.dumps(answer.receipt, ensure_ascii=False).encode() for answer in answers]
    found = {"receipt": Result(BYTES, [len(receipts)], receipts)}
    if medium == "text":
        return {**found, **_texts(orders, answers)}
    files, seeds = [], []
    for answer in answers:
        for file, seed in files_of(answer):
            files.append(file)
            seeds.append(seed)
    if None not in seeds:
        found["seed"] = Result("INT64", [len(seeds)], [seed for seed in seeds if seed is not None])
    if medium == "image":
        found["image"] = Result(BYTES, [len(files)], files)
        if "pixels" in names:
            raw, shape = pixels(files)
            found["pixels"] = Result("UINT8", shape, raw)
        return found
    return {**found, "file": Result(BYTES, [len(files)], files), **_sounds(files, names)}


def files_of(answer: Made) -> list[tuple[bytes, int | None]]:
    """The files of an answer and their seeds. Raises `ApiError` (502) where it holds none."""
    if answer.content_type.partition(";")[0] != JSON:
        return [(answer.body, answer.seed)]
    try:
        document = json.loads(answer.body)
        return [(base64.b64decode(item["b64_json"]), item.get("seed")) for item in document["data"]]
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ApiError(502, "the model answered with what holds no files", should_retry=False) from None


def _sounds(files: Sequence[bytes], names: Sequence[str]) -> dict[str, Result]:
    if not {"audio", "audio_int16", "lengths", "sample_rate"} & set(names):
        return {}
    sounds, rate = samples(files)
    found = {
        "lengths": Result("INT64", [len(sounds)], [len(one) for one in sounds]),
        "sample_rate": Result("INT32", [1], [rate]),
    }
    for name, datatype in (("audio", "FP32"), ("audio_int16", "INT16")):
        if name in names:
            raw, shape = as_tensor(sounds, datatype)
            found[name] = Result(datatype, shape, raw)
    return found


def _texts(orders: Sequence[Order], answers: Sequence[Made]) -> dict[str, Result]:
    texts, reasons, usage, seeds = [], [], [], []
    for order, answer in zip(orders, answers, strict=True):
        try:
            document = json.loads(answer.body)
        except ValueError:
            document = None
        one = read(document, Part(order))  # another shape is its 502
        for text in one.texts:
            texts.append(text.text.encode())
            reasons.append((text.finish_reason or "stop").encode())
        usage += [one.usage.prompt, one.usage.completion] if one.usage is not None else [0, 0]
        seeds.append(one.more.get("seed"))
    found = {
        "text": Result(BYTES, [len(texts)], texts),
        "finish_reason": Result(BYTES, [len(reasons)], reasons),
        "usage": Result("INT64", [len(answers), 2], usage),
    }
    known = [seed for seed in seeds if isinstance(seed, int)]
    if len(known) == len(seeds):
        found["seed"] = Result("INT64", [len(known)], known)
    return found


def written(wanted: Sequence[Wanted], found: dict[str, Result]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Outputs as JSON, and the raw bytes that follow it. Raises `ApiError` for numbers that are too many for JSON."""
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for one in wanted:
        if one.name not in found:
            continue  # a seed, where the model says none
        result = found[one.name]
        output: dict[str, Any] = {"name": one.name, "datatype": result.datatype, "shape": result.shape}
        if one.binary:
            raw.append(to_raw(result.values, result.datatype))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            if len(result.values) > MAX_NUMBERS:
                message = f"output {one.name} has {len(result.values)} bytes, over {MAX_NUMBERS}"
                raise ApiError(400, f"{message}: ask for it with binary_data true")
            output["data"] = to_json(result.values, result.datatype, one.name)
        outputs.append(output)
    return outputs, raw
