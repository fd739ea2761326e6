"""Moderation as the routes ask it: of a prompt before its model is asked, of what was made before it is sent.

What is refused is a 400 that says which category it is of and where. Every decision is written down; where the log of
requests has no room for it, nothing goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.accounts.audit import Audit
from gateway.accounts.decisions import Decision
from gateway.errors import REFUSED, ApiError
from gateway.logs import request_id
from gateway.metrics import Metrics
from gateway.moderation.blocked import BlockedError, BlockList, Near
from gateway.moderation.categories import Stage
from gateway.moderation.classifier import Classifier
from gateway.moderation.files import TRIAL, ListError
from gateway.moderation.lists import Hit, Lists
from gateway.moderation.settings import ModerationSettings
from gateway.moderation.texts import Placed, given, made, pictures, uploads
from gateway.moderation.verdicts import Judge
from gateway.moderation.watch import Piece, watched
from gateway.phash import picture_hash, sheet_hashes
from gateway.pictures import NotAPicture
from gateway.sealed import Ring, seal

if TYPE_CHECKING:
    from gateway.work import Made, Order

MAX_KEPT = 4_000  # characters of a text that are kept, sealed, around what was found
Item = TypeVar("Item")


class ModerationError(Exception):
    """Error: moderation cannot begin as it is set; the message is for the operator."""


class Moderation:
    """All of it. `audit` is set when the gateway has opened its accounts."""

    audit: Audit
    on = True

    def __init__(self, settings: ModerationSettings, metrics: Metrics, uploads: Path, ring: Ring | None = None) -> None:
        """`uploads`: the folder of the spool; `ring` seals texts that are kept, without it none are.

        Raises `ModerationError`.
        """
        self.settings, self._metrics, self.uploads, self._ring = settings, metrics, uploads, ring
        self.blocked = BlockList(settings.blocked)
        try:
            self.blocked.load()
            lists = Lists.read(settings.folder or TRIAL)
            key_file = settings.classifier.key_file if settings.classifier else None
            key = key_file.read_text(encoding="ascii").strip() if key_file else None
        except (BlockedError, ListError) as error:
            raise ModerationError(f"moderation: {error}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ModerationError(f"moderation: the classifier's key_file cannot be read: {error}") from None
        self._classifier = Classifier(settings.classifier, key) if settings.classifier else None
        self.judge = Judge(settings, lists, self._classifier)

    async def close(self) -> None:
        """End the classifier's connections."""
        if self._classifier is not None:
            await self._classifier.close()

    async def check_prompt(self, order: Order) -> None:
        """Raise an `ApiError` where a text or an image that the model would be given is refused."""
        await self._check(order, given(order.model, order.params), "prompt")
        if any(spec.type == "image" for spec in order.model.params.values()):
            for name, near in await asyncio.to_thread(self._look_at_uploads, order):
                if self._decide(order, near.image.category, f"blocked#{near.image.id}", "prompt") == "refuse":
                    raise _refused_image(name, near, "", param=name)

    async def check_result(self, order: Order, made_: Made) -> Made:
        """The same answer. Raises `ApiError` where anything in it is refused: then all of it is, because an answer of
        fewer images or texts than were asked for would be none of its receipt; which one it was is told."""
        if not self.settings.results:
            return made_
        if order.model.medium == "text":
            await self._check(order, await asyncio.to_thread(made, made_.body, made_.content_type), "result")
        elif order.model.medium == "image":
            count = order.params.get("n", 1) if order.params.get("grid") is True else None
            found = await asyncio.to_thread(self._look, made_, count)
            refused = None
            for number, count, seed, near in found:
                rule = f"blocked#{near.image.id}"
                if self._decide(order, near.image.category, rule, "result") == "refuse" and refused is None:
                    of = f"image {number} of {count}" + ("" if seed is None else f" (seed {seed})")
                    rest = "; the whole answer is refused, ask for the others by their seeds" if count > 1 else ""
                    refused = _refused_image(of, near, rest)
            if refused is not None:
                raise refused
        return made_

    def watch(
        self,
        order: Order,
        items: AsyncGenerator[Item, None],
        pieces: Callable[[Item], Iterable[Piece]],
        refuse: Callable[[], None],
    ) -> AsyncGenerator[Item, None]:
        """The items of a stream as they come, each once its texts are known to be no part of what is refused.

        Raises `ApiError` at the first that is, after `refuse`. `pieces`: the texts of an item.
        """
        if not self.settings.results:
            return items

        def judged(piece: Piece, text: str, hits: list[Hit]) -> None:
            try:
                self._judged(order, Placed(f"choices[{piece.choice}]", text), hits, "result", set())
            except ApiError:
                refuse()
                raise

        return watched(items, pieces, self.judge.lists, judged)

    def near(self, content: bytes) -> Near | None:
        """The blocked image that a picture is like. Raises `NotAPicture`. Blocks: in a thread."""
        return self.blocked.nearest(picture_hash(content), self.settings.distance)

    async def _check(self, order: Order, texts: list[Placed], stage: Stage) -> None:
        verdicts = await self.judge.judge([placed.text for placed in texts], bounded=stage == "prompt")
        seen: set[str] = set()
        for placed, verdict in zip(texts, verdicts, strict=True):
            self._judged(order, placed, verdict.hits, stage, seen)

    def _judged(self, order: Order, placed: Placed, hits: Iterable[Hit], stage: Stage, seen: set[str]) -> None:
        """Write down what was found, of each category the first. Raises an `ApiError` where any of it is refused."""
        refused: ApiError | None = None
        for hit in sorted(hits, key=lambda hit: hit.start):
            if hit.category in seen:
                continue
            seen.add(hit.category)
            action = self._decide(order, hit.category, hit.rule, stage, _around(placed.text, hit))
            if action == "refuse" and refused is None:
                refused = _refused_text(placed, hit, stage)
        if refused is not None:
            raise refused

    def _decide(self, order: Order, category: str, rule: str, stage: Stage, text: str | None = None) -> str:
        action = self.judge.action(category)
        owner = order.caller.owner
        decision = Decision(request_id.get(), owner, order.route, category, rule, action, stage)
        if self._ring is not None and text is not None:
            key, wrapped = self._ring.new(decision.id)
            decision.text = seal(AESGCM(key), text.encode("utf-8", "replace"), decision.id, "text")
            decision.text_key, decision.text_key_by = wrapped.key, wrapped.by
        self.audit.decide(decision)
        self._metrics.moderated(category, action, stage)
        return action

    def _look_at_uploads(self, order: Order) -> list[tuple[str, Near]]:
        found = []
        for name, content in uploads(order.model, order.params, self.uploads):
            bits = _hashes(content, None)[0]
            near = None if bits is None else self.blocked.nearest(bits, self.settings.distance)
            if near is not None:
                found.append((name, near))
        return found

    def _look(self, whole: Made, sheet: int | None) -> list[tuple[int, int, int | None, Near]]:
        """Which images of an answer are like blocked ones: number, count, seed, which one. One that cannot be decoded
        is like none. `sheet`: they are so many, on one contact sheet."""
        images: list[tuple[int | None, int | None]] = []  # seed and hash of each
        if sheet is not None:
            first = whole.seed
            seeds = [None if first is None else first + at for at in range(sheet)]
            images = list(zip(seeds, _hashes(whole.body, sheet), strict=True))
        else:
            for picture in pictures(whole.body, whole.content_type, whole.seed):
                images.append((picture.seed, _hashes(picture.content, None)[0]))
        found = []
        for number, (seed, bits) in enumerate(images, 1):
            near = None if bits is None else self.blocked.nearest(bits, self.settings.distance)
            if near is not None:
                found.append((number, len(images), seed, near))
        return found


class Off:
    """What stands in its place where no setting turns it on."""

    on = False
    audit: Audit

    async def check_prompt(self, order: Order) -> None:
        """Nothing is refused."""

    async def check_result(self, order: Order, made_: Made) -> Made:
        """The same answer."""
        return made_

    def watch(
        self,
        order: Order,
        items: AsyncGenerator[Item, None],
        pieces: Callable[[Item], Iterable[Piece]],
        refuse: Callable[[], None],
    ) -> AsyncGenerator[Item, None]:
        """The same items."""
        return items

    async def close(self) -> None:
        """There is nothing to end."""


def _hashes(content: bytes, sheet: int | None) -> Sequence[int | None]:
    try:
        return [picture_hash(content)] if sheet is None else sheet_hashes(content, sheet)
    except NotAPicture:
        return [None] * (sheet or 1)


def _around(text: str, hit: Hit) -> str:
    return text[max(0, hit.start - MAX_KEPT // 2) : hit.start + MAX_KEPT // 2]


def _refused_text(placed: Placed, hit: Hit, stage: Stage) -> ApiError:
    if stage == "result":
        message = f"what the model wrote is refused by this server's rules: category {hit.category}, in {placed.place}"
        return ApiError(400, f"{message} (rule {hit.rule})", code=REFUSED, should_retry=False)
    message = (
        f"{placed.place} is refused by this server's rules: category {hit.category}, characters {hit.start + 1} to "
        f"{hit.end} (rule {hit.rule})"
    )
    return ApiError(400, message, code=REFUSED, param=placed.place, should_retry=False)


def _refused_image(of: str, near: Near, rest: str, param: str | None = None) -> ApiError:
    message = (
        f"{of} is refused by this server's rules: category {near.image.category}, it is like the blocked image "
        f"{near.image.id}{rest}"
    )
    return ApiError(400, message, code=REFUSED, param=param, should_retry=False)
