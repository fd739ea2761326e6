"""Parameters of text from text, as requests name them; and what the manifests of all text generators share."""

from __future__ import annotations

from handlers.manifest import Resources
from handlers.params import MAX_SEED, ParamSpec

SLOTS = 32  # texts that are written at once
MAX_WIDTH = 8  # texts that one request may have written side by side
MAX_STOP = 4  # stop strings of one request
MAX_STOP_CHARACTERS = 64  # of each
CONTENT_TYPES = ("application/json", "text/event-stream")
SCOPE = "text:generate"
LIMITS = {
    "max_tile": SLOTS,
    "max_slots": SLOTS,
    "max_queue": 64,
    "max_seconds": 60,
    "max_compute_seconds": 10,
    "max_response_bytes": 1024 * 1024,
}


def resources(memory_mb: int) -> Resources:
    """Needs of a worker on the lane `step`.

    One thread: a step is short, and the proxy, the front end and the sampler want the other cores.
    """
    return Resources("step", 1, memory_mb, workers=1, batch_size=SLOTS)


def params_of(chat: bool, longest: int) -> tuple[ParamSpec, ...]:
    """Parameters of a request for text from text: `messages` of a chat or a `text`, and those of its answer.

    `longest` is the most tokens that an answer may have.
    """
    source = (
        ParamSpec("messages", "messages", "the conversation: role (user or assistant, in turn) and content each", None)
        if chat
        else ParamSpec("text", "string", "what is summarized", None)
    )
    return (
        source,
        ParamSpec("max_tokens", "integer", "the most tokens to write", longest, 1, longest, unit="tokens"),
        ParamSpec("min_tokens", "integer", "do not end before that many tokens", 0, 0, longest, unit="tokens"),
        ParamSpec(
            "temperature", "number", "0 always takes the likeliest token, 1 draws as the model believes", 0.0, 0, 2
        ),
        ParamSpec("top_k", "integer", "draw among the k likeliest tokens; 0: all", 0, 0, 1000),
        ParamSpec("top_p", "number", "draw among the likeliest tokens that hold this share together", 1.0, 0.01, 1),
        ParamSpec(
            "repetition_penalty", "number", "over 1: tokens that were written come again less likely", 1.0, 0.5, 2
        ),
        ParamSpec(
            "stop", "strings", f"a text, or up to {MAX_STOP}, at which the answer ends; they are not part of it", None
        ),
        ParamSpec(
            "n", "integer", "how many texts: drawn ones, of seed, seed + 1, ..., or the best of a beam", 1, 1, MAX_WIDTH
        ),
        ParamSpec("beams", "integer", "over 1: search with that many beams and take the best", 1, 1, MAX_WIDTH),
        ParamSpec("length_penalty", "number", "of a beam search: over 0 prefers longer texts", 1.0, 0, 2),
        ParamSpec(
            "coverage_penalty",
            "number",
            "of a beam search: over 0 prefers texts that look at all of the source",
            0.0,
            0,
            2,
        ),
        ParamSpec("seed", "integer", "what is drawn with; absent: drawn for you and returned", None, 0, MAX_SEED),
        ParamSpec("logprobs", "boolean", "tell the log-probability of every token", False),
        ParamSpec("truncate", "boolean", "cut a source that is too long in place of refusing it", False),
        ParamSpec("stream", "boolean", "send the text as it is written, as server-sent events", False),
    )
