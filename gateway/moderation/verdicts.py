"""What the word lists and the classifier say of texts, and what that comes to by the settings."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

import structlog

from gateway.errors import ApiError
from gateway.moderation.categories import Action
from gateway.moderation.classifier import Classifier, ClassifierError, Judged
from gateway.moderation.lists import Hit, Lists
from gateway.moderation.settings import ModerationSettings

INLINE = 1_000  # characters that are looked at on the event loop, which takes half a millisecond; more in a thread
CLASSIFIER = "classifier"  # as a rule
log = structlog.get_logger("gateway.moderation")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Of one text: what was found, and the classifier's scores, where there are any."""

    hits: Sequence[Hit]
    scores: Mapping[str, float]


class Judge:
    """Asks both, and remembers nothing."""

    def __init__(self, settings: ModerationSettings, lists: Lists, classifier: Classifier | None) -> None:
        self.settings, self.lists, self.classifier = settings, lists, classifier

    def action(self, category: str) -> Action:
        """What becomes of a text or image of a category."""
        return self.settings.actions.get(category, "refuse")

    async def judge(self, texts: Sequence[str], bounded: bool = True) -> list[Verdict]:
        """A verdict of each text. Raises `ApiError`: 400 where they are too long (unless a model's own limit bounds
        them), 503 without a classifier's answer where the settings want one."""
        size, most = sum(map(len, texts)), self.settings.characters
        if bounded and size > most:
            raise ApiError(
                400,
                f"the texts of the request have {size} characters together, and this server's moderation looks at "
                f"{most} at most: send less at once",
                code="too_long",
                should_retry=False,
            )
        judged = self._classified(texts)
        if size <= INLINE:
            hits, found = [self.lists.hits(text) for text in texts], await judged
        else:
            work = asyncio.to_thread(lambda: [self.lists.hits(text) for text in texts])
            hits, found = await asyncio.gather(work, judged)
        return [_verdict(text, *both) for text, both in zip(texts, zip(hits, found, strict=True), strict=True)]

    async def _classified(self, texts: Sequence[str]) -> list[Judged | None]:
        """What the classifier says of each text, but for empty ones."""
        asked = [text for text in texts if text.strip()]
        if self.classifier is None or not asked:
            return [None] * len(texts)
        try:
            answers = iter(await self.classifier.ask(asked))
        except ClassifierError as error:
            closed = self.classifier.settings.on_failure == "refuse"
            log.error("the classifier failed", reason=str(error), then="refused" if closed else "allowed")
            if not closed:
                return [None] * len(texts)
            told = "this server's moderation cannot judge the request just now; send it again"
            raise ApiError(503, told, code="moderation_unavailable", retry_after=5) from None
        return [next(answers) if text.strip() else None for text in texts]


def _verdict(text: str, hits: list[Hit], judged: Judged | None) -> Verdict:
    if judged is None:
        return Verdict(hits, {})
    more = [Hit(category, CLASSIFIER, 0, len(text)) for category in sorted(judged.flagged)]
    return Verdict([*hits, *more], judged.scores)
