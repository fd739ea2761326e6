"""The contract between a request and its media: what a generator takes, what it gives, how it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from handlers.graph_spec import GraphSpec
from handlers.limits import AnyLimits
from handlers.params import ParamSpec

L = TypeVar("L")


@dataclasses.dataclass(frozen=True)
class Model:
    """The parts of a bundle that a generator is opened with."""

    name: str
    version: str  # of the bundle; files say which one made them
    kind: str
    params: tuple[ParamSpec, ...]
    limits: AnyLimits
    graphs: Mapping[str, GraphSpec]
    example: Mapping[str, Any]  # a request that works
    assets: Mapping[str, bytes]  # tokenizers and the like, by identifier

    def limits_as(self, cls: type[L]) -> L:
        """The limits of a generator of that kind. Raises `ValueError` for a bundle that states others."""
        if not isinstance(self.limits, cls):
            raise ValueError(
                f"{self.name} has {type(self.limits).__name__}, "
                f"its kind {self.kind} wants {cls.__name__}: build it again"
            )
        return self.limits

    def asset(self, identifier: str) -> bytes:
        """The bytes of an asset. Raises `ValueError` if the bundle has none of that name."""
        if identifier not in self.assets:
            found = ", ".join(self.assets) or "none"
            raise ValueError(
                f"{self.name} has the assets {found}; its kind {self.kind} wants {identifier}: build it again"
            )
        return self.assets[identifier]


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it came in: parameters by name, and when its answer stops being useful."""

    params: Mapping[str, Any]
    deadline: float | None = None  # on the clock of time.monotonic


@dataclasses.dataclass(frozen=True)
class Media:
    """One finished answer: its bytes, and what is in them. Its content type follows from the parameters."""

    body: bytes
    items: int = 1  # how many images or sounds it holds


class Params(Protocol):
    """Parsed parameters of one request; every generator has its own frozen dataclass."""

    @property
    def content_type(self) -> str:
        """Of the answer, known before anything is computed."""
        ...

    @property
    def rows(self) -> int:
        """How much of what is computed at once it takes: images, the beams of a search, the texts of `n`."""
        ...

    def public(self) -> dict[str, Any]:
        """The parameters as they were honoured, defaults and drawn seed included, ready for JSON."""
        ...


class Slot(Protocol):
    """One request inside a StepGenerator, from `start` until it is finished or cancelled."""

    finished: str | None  # why it ended ("stop", "length"), None while it goes on
    items: int  # what it has made so far: tokens, samples


@runtime_checkable
class SoundSlot(Slot, Protocol):
    """A slot whose request is for sound, which has its own metrics."""

    @property
    def seconds(self) -> float:
        """How long its sounds are so far, all together."""
        ...


class StepParams(Params, Protocol):
    """Parsed parameters of one request to a StepGenerator."""

    @property
    def stream(self) -> bool:
        """Whether the answer is sent piece by piece."""
        ...

    @property
    def smaller(self) -> str:
        """What a caller does whose answer is too large: "lower max_tokens"."""
        ...


@runtime_checkable
class StepGenerator(Protocol):
    """A generator that makes its answers step by step (recurrent text, WaveNet): requests join and leave between steps.

    `start` and `step` change nothing when they raise, so that the caller can try the requests one by one.
    """

    capacity: int  # rows at once

    @property
    def free(self) -> int:
        """How many of them are free."""
        ...

    def parse(self, request: Request) -> StepParams:
        """Check one request without touching a session. Raises `Refusal`."""
        ...

    def start(self, batch: Sequence[Any]) -> list[Any]:
        """One slot per request, in order."""
        ...

    def step(self, slots: Sequence[Any]) -> None:
        """One iteration for every slot given; what happens in a slot depends on that slot alone."""
        ...

    def drain(self, slot: Any) -> bytes:
        """Bytes that are new since the last drain; of an answer that is no stream, all of it once it is finished."""
        ...

    def cancel(self, slot: Any) -> None:
        """Forget a slot that is not finished; it is not stepped again."""
        ...

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the results for `params`, in hex: the certificate holds these."""
        ...

    def preview(self, seeds: Sequence[int]) -> Any:
        """Results for plain seeds, one each, to look at: reports show them."""
        ...


@runtime_checkable
class ReadingGenerator(StepGenerator, Protocol):
    """A StepGenerator whose requests bring a source along, which an encoder reads before the first step."""

    def read(self, batch: Sequence[Any]) -> list[Any]:
        """The encoder's pass over the sources of a batch, in order. It changes nothing and may run beside `step`."""
        ...

    def start(self, batch: Sequence[Any], read: Sequence[Any] | None = None) -> list[Any]:
        """One slot per request, in order, with what was read for each; without it, `start` calls `read` itself."""
        ...


class BatchGenerator(Protocol):
    """A generator that answers a whole batch at once (GAN, VAE, style transfer, WaveGAN)."""

    # Its caller's; called between two pieces of work, so that long work is not taken for none.
    alive: Callable[[], None]

    def parse(self, request: Request) -> Params:
        """Check one request without touching a session. Raises `Refusal`."""
        ...

    def generate(self, batch: Sequence[Any]) -> list[Media]:
        """One answer per item, in order; item i depends on batch[i] alone."""
        ...

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the results for `params`, before any encoder, in hex: the certificate holds these."""
        ...

    def preview(self, seeds: Sequence[int]) -> Any:
        """Results for plain seeds as one array, to look at: reports show them."""
        ...
