"""Regular expressions that a tokenizer's file brings along: some take for ever over a short text.

Those of the library itself are well known. One of a file is tried before anything is served, on texts that are hard for
what people get wrong; a text that is harder still ends its engine by `max_compute_seconds`, as anything silent does.
"""

from __future__ import annotations

import threading
from typing import Any

MAX_SECONDS = 5.0  # for a first look at all probes, on a busy machine; good patterns take some milliseconds
LENGTH = 2048  # characters of each probe
PROBES = tuple(
    (part * LENGTH)[:LENGTH] + end for part in ("a", " ", "1", "aA", "a ", ".", "\n", "é") for end in ("", "!")
)


def check_patterns(tokenizer: Any, document: Any) -> None:
    """Raise `ValueError` if the file `document` of a tokenizer has patterns of its own, and they take too long."""
    if not _has_patterns(document):
        return
    done, failed = threading.Event(), list[BaseException]()

    def encode() -> None:
        try:
            for probe in PROBES:
                tokenizer.encode(probe, add_special_tokens=False)
        except BaseException as error:  # the library panics where a pattern takes too many steps
            failed.append(error)
        done.set()

    # The library cannot be interrupted; the thread goes with the engine, which does not open.
    threading.Thread(target=encode, daemon=True).start()
    if not done.wait(MAX_SECONDS):
        raise ValueError(
            f"its regular expressions were not through with {len(PROBES)} texts of {LENGTH} characters after "
            f"{MAX_SECONDS:.0f} s, wanted some milliseconds: a request could stop the model; use another tokenizer"
        )
    if failed:
        raise ValueError(f"its regular expressions fail for a text of {LENGTH} characters: {failed[0]!r:.200}")


def _has_patterns(document: Any) -> bool:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "Regex" in value:
                return True
            waiting += [inner for key, inner in value.items() if key != "vocab"]
        elif isinstance(value, list):
            waiting += value
    return False
