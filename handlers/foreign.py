"""Bodies that were made for other servers, recognised by the names of their fields: a refusal then says the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

MAX_NAME = 40  # characters of a field's name that is compared with the known ones: that takes quadratic time
_WORDS = ("text", "prompt", "messages")  # the fields that may hold what a model reads
_LEAVE_OUT = "leave it out"
# Fields of OpenAI's API that no model here has under that name, and what to do about each.
_OPENAI = {
    "model": "the address names the model: leave it out",
    "response_format": "the content type of the answer says its form: leave it out",
    "max_completion_tokens": "here it is max_tokens",
    "stream_options": "a stream always ends with the usage: leave it out",
    "size": "the size of an image is that of its model: leave it out",
    "frequency_penalty": "the nearest to it is repetition_penalty, where a model has one",
    "presence_penalty": "the nearest to it is repetition_penalty, where a model has one",
    "best_of": "the nearest to it is beams, where a model has them",
    **dict.fromkeys(
        ("user", "metadata", "store", "suffix", "echo", "logit_bias", "tools", "tool_choice", "functions"), _LEAVE_OUT
    ),
    **dict.fromkeys(("top_logprobs", "service_tier", "parallel_tool_calls", "modalities", "style"), _LEAVE_OUT),
    **dict.fromkeys(("voice", "speed", "instructions", "stream_format"), _LEAVE_OUT),
}
# What other libraries call a parameter.
_SYNONYMS = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "min_new_tokens": "min_tokens",
    "num_beams": "beams",
    "num_return_sequences": "n",
    "num_images": "n",
    "num_images_per_prompt": "n",
    "stop_sequences": "stop",
    "repeat_penalty": "repetition_penalty",
    "random_seed": "seed",
    "text_input": "text",
    "truncation_psi": "truncation",
    "output_format": "format",
    "audio_format": "format",
    "sampling_rate": "sample_rate",
    "samplerate": "sample_rate",
    "duration": "seconds",
    "audio_length_in_s": "seconds",
    "num_samples": "samples",
    "num_waveforms_per_prompt": "n",
}
_SPEECH_FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")  # of OpenAI's API, which calls them response_format


def remedy(params: Mapping[Any, Any], unknown: Sequence[str], known: Sequence[str]) -> str | None:
    """What to send in place of a body with `unknown` fields, as a clause for a message; None where nothing is known."""
    if whose := _envelope(params, unknown):
        name, inside = whose
        return f"this is a body of {name}: send {inside or _own(known)}"
    first = unknown[0]
    if first in ("prompt", "messages", "input") and params.get(first):
        return f"in OpenAI's API this is what a model reads: send {_own(known)}"
    if first == "response_format" and "format" in known and params[first] in _SPEECH_FORMATS:
        return "in a body of OpenAI's API; here it is format"
    if first in _OPENAI:
        return f"in a body of OpenAI's API; {_OPENAI[first]}"
    if _SYNONYMS.get(first) in known:
        return f"did you mean {_SYNONYMS[first]}?"
    near = difflib.get_close_matches(first.lower(), known, 1) if len(first) <= MAX_NAME else []
    return f"did you mean {near[0]}?" if near else None


def _envelope(params: Mapping[Any, Any], unknown: Sequence[str]) -> tuple[str, str | None] | None:
    """(whose, what to send unless it is the model's own fields) of a body that wraps its fields."""
    one = "the fields of each instance as a request of its own, without a list around them"
    if "instances" in unknown or "signature_name" in unknown:
        return "TensorFlow Serving (KServe v1)", one
    if "inputs" in unknown:
        inputs = params["inputs"]
        if isinstance(inputs, Mapping):
            return "TensorFlow Serving", one
        if isinstance(inputs, list) and not all(isinstance(item, str) for item in inputs[:1]):
            return "the Open Inference Protocol (KServe v2)", "the fields themselves, not tensors"
        return "Hugging Face", None
    if "parameters" in unknown and isinstance(params["parameters"], Mapping):
        return "Hugging Face", "what is in parameters beside the other fields"
    return None


def _own(known: Sequence[str]) -> str:
    """What this model reads, in words."""
    words = next((name for name in _WORDS if name in known), None)
    if words is None:
        return "the known fields alone; this model draws from a seed and reads no words"
    return f"the words as {words}, and the other fields beside it"
