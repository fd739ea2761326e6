"""Passwords: Argon2id (RFC 9106), few at once, and slower for who keeps guessing. Everything here blocks."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1  # OWASP's second choice: 19 MiB a hash
AT_ONCE = 2  # hashes: 38 MiB at most
MIN_LENGTH, MAX_LENGTH = 10, 200  # characters
WINDOW_SECONDS = 900.0  # for which failures are remembered
FAILURES = {"name and address": 5, "address": 500, "name": 100}  # within it; more are refused unread
REMEMBERED = 4096  # names and addresses; the one that failed longest ago is forgotten first


class WeakPassword(Exception):
    """Error: too short, too long, or nothing but the name."""


class TooManyFailures(Exception):
    """Error: wait before the next try; `seconds` of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many wrong passwords: try again in {max(1, round(seconds / 60))} minutes")
        self.seconds = seconds


class Passwords:
    """Hashes and compares; threads wait for their turn."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(PASSES, MEMORY_KIB, LANES)
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._failed: OrderedDict[tuple[str, ...], tuple[int, float]] = OrderedDict()  # how often, and since when
        self._change = threading.Lock()
        self._nobodys = self._hasher.hash("nobody has this one")

    def hash(self, password: str, name: str) -> str:
        """What is stored of a new password. Raises `WeakPassword`."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH or not password.isprintable():
            raise WeakPassword(f"a password has {MIN_LENGTH} to {MAX_LENGTH} printable characters")
        if password.casefold().strip() == name.casefold().strip() or len(set(password)) < 4:
            raise WeakPassword("a password is neither the name nor the same few characters again and again")
        with self._turns:
            return self._hasher.hash(password)

    def fits(self, stored: str | None, password: str, name: str, address: str) -> bool:
        """Whether a password is the one that is stored; `stored` None: nobody has that name, which takes as long.

        Raises `TooManyFailures`.
        """
        keys = [("name and address", name, address), ("address", address), ("name", name)]
        self._check(keys)
        with self._turns:
            try:
                self._hasher.verify(stored or self._nobodys, password[:MAX_LENGTH])
                right = stored is not None
            except (VerificationError, InvalidHashError):
                right = False
        with self._change:
            for key in keys:
                if right:
                    if key[0] != "address":
                        self._failed.pop(key, None)
                    continue
                count, since = self._failed.pop(key, (0, time.monotonic()))
                self._failed[key] = (count + 1, since)
                while len(self._failed) > REMEMBERED:
                    self._failed.popitem(last=False)
        return right

    def _check(self, keys: list[tuple[str, ...]]) -> None:
        with self._change:
            for key in keys:
                count, since = self._failed.get(key, (0, 0.0))
                left = WINDOW_SECONDS - (time.monotonic() - since)
                if left <= 0:
                    self._failed.pop(key, None)
                elif count >= FAILURES[key[0]]:
                    raise TooManyFailures(left)
