"""The content of a file as libsndfile reads it: an error while reading cannot leave its callbacks, so it waits here."""

from __future__ import annotations

import io
from types import TracebackType
from typing import IO

from training.data.listing import Found

WHOLE = 32_000_000  # bytes: a smaller file is read as a whole, a larger one is decoded from where it lies


class Content:
    """A file that is open for reading in any order. A context."""

    def __init__(self, file: Found) -> None:
        """Raises what the medium raises."""
        self._file: IO[bytes] = io.BytesIO(file.read(WHOLE)) if file.stamp[0] <= WHOLE else file.open()
        self._error: Exception | None = None

    def __enter__(self) -> Content:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def check(self) -> None:
        """Raise the error that was met while reading, if there was one: what was decoded since then is not the file."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:  # an error that its own frames hold keeps the archive open until somebody collects garbage
                del error

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; one before the beginning, which damaged headers ask for, is the beginning."""
        try:
            if whence == io.SEEK_SET:
                offset = max(0, offset)
            return self._file.seek(offset, whence)
        except ValueError:
            return self._file.seek(0)
        except Exception as error:
            self._error = self._error or error.with_traceback(None)
            return 0

    def tell(self) -> int:
        """The place it is at."""
        return self._file.tell()

    def read(self, count: int) -> bytes:
        """At most so many bytes from there on; none after an error."""
        try:
            return b"" if self._error is not None else self._file.read(count)
        except Exception as error:
            self._error = error.with_traceback(None)
            return b""
