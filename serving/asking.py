"""Several questions to a server at once, with one bound for all of their answers."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Answer = TypeVar("Answer")
# Of this process or its machine, not of whoever is asked.
OWN_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def own_trouble(error: Exception) -> bool:
    """Whether the question could not be put at all: no evidence against whoever was to be asked."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in OWN_ERRORS)


def ask_all(questions: Mapping[str, Callable[[], Answer]], seconds: float) -> dict[str, Answer | Exception]:
    """The answer to each question, or what it raised; `TimeoutError` for one that takes longer than `seconds`.

    Each is asked by a thread of its own, which ends with its question: give those a bound, too.
    """
    answers: dict[str, Answer | Exception] = {}
    changed = threading.Condition()

    def ask(name: str, question: Callable[[], Answer]) -> None:
        answer: Answer | Exception
        try:
            answer = question()
        except Exception as error:
            answer = error
        with changed:
            answers[name] = answer
            changed.notify()

    deadline = time.monotonic() + seconds
    for name, question in questions.items():
        thread = threading.Thread(target=ask, args=(name, question), name=f"ask {name}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the limit of threads
            with changed:
                answers[name] = OSError(errno.ENOMEM, str(error))
    with changed:
        while len(answers) < len(questions) and (left := deadline - time.monotonic()) > 0:
            changed.wait(left)
        late = TimeoutError(f"no answer within {seconds:g} s")
        return {name: answers.get(name, late) for name in questions}
