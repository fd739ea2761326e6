"""python -m export.parameter_tables [--write docs/api.md]: the parameter tables of the documents, from the schemas.

A table stands between the lines `<!-- parameters: KIND -->` and `<!-- end -->`; `--write` renews every table of a file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.graphs import latent_audio, latent_image, step_audio, step_text, windowed_audio
from export.graphs.text_schema import MAX_STOP, MAX_STOP_CHARACTERS, params_of
from handlers.params import MAX_SEED, ParamSpec
from training.data.music_set import key_names
from training.models.music import ModelConfig

LONGEST = 1_000_003  # stands for the most tokens that a model writes, which its checkpoint decides
NAMED = {LONGEST: "the model's most", MAX_SEED: "2^53 - 1"}
COLUMNS = "| parameter | type | wanted | default | meaning |\n|---|---|---|---|---|"
REQUIRED = {"seq2seq": ("text", "messages")}  # by kind
DRAWN = ("seed",)
MELODIES = ModelConfig(keys=key_names(minor=False), tempos=(80, 150))  # what the built-in world has
# At most so much: limits of the model, which the parameter's own range cannot say.
BOUNDS = {
    "latent_audio": {"text": "max_audio_seconds"},
    "step_audio": {"text": "max_audio_seconds"},
    "step_text": {"prompt": f"{step_text.MAX_PROMPT_BYTES} bytes"},
    "seq2seq": {
        "text": "max_source",
        "messages": "max_source",
        "stop": f"{MAX_STOP} of {MAX_STOP_CHARACTERS} characters",
    },
}
_TABLE = re.compile(r"(<!-- parameters: (\w+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)


class TableError(ValueError):
    """A document whose markers name no table, or that has none."""


def tables() -> dict[str, str]:
    """Kind -> its parameters as a Markdown table, in the order of the schema."""
    text, chat = params_of(False, LONGEST), params_of(True, LONGEST)
    schemas: Mapping[str, Sequence[ParamSpec]] = {
        "latent_audio": latent_audio.params_of(16000, tuple("0123456789")),
        "latent_image": latent_image.PARAMS,
        "step_audio": step_audio.params_of(16000, tuple("0123456789"), 0.5),
        "windowed_audio": windowed_audio.params(MELODIES),
        "step_text": step_text.PARAMS,
        "seq2seq": (*text[:1], *chat),  # the two differ in the first one, which is what is read
    }
    return {kind: "\n".join([COLUMNS, *(_row(kind, spec) for spec in specs)]) + "\n" for kind, specs in schemas.items()}


def renewed(document: str) -> str:
    """The document with every table between markers made anew. Raises `TableError`."""
    made = tables()
    named = [match[2] for match in _TABLE.finditer(document)]
    if sorted(named) != sorted(made):
        found = ", ".join(named) or "none"
        raise TableError(f"the document marks the tables {found}, wanted each of {', '.join(made)} once")
    return _TABLE.sub(lambda match: match[1] + made[match[2]] + match[4], document)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, or renew those of a file; returns 1 for a file whose markers do not fit."""
    example = "example: python -m export.parameter_tables --write docs/api.md"
    parser = argparse.ArgumentParser(prog="python -m export.parameter_tables", description=__doc__, epilog=example)
    parser.add_argument("--write", type=Path, metavar="FILE", help="renew the tables of this file, e.g. docs/api.md")
    file: Path | None = parser.parse_args(arguments).write
    if file is None:
        print("\n".join(f"{kind}\n{table}" for kind, table in tables().items()))
        return 0
    try:
        file.write_text(renewed(file.read_text()))
    except (OSError, TableError) as error:
        print(f"error: {file}: {error}", file=sys.stderr)
        return 1
    return 0


def _row(kind: str, spec: ParamSpec) -> str:
    return f"| `{spec.name}` | {spec.type} | {_wanted(kind, spec)} | {_default(kind, spec)} | {spec.doc} |"


def _wanted(kind: str, spec: ParamSpec) -> str:
    if spec.choices is not None:
        return ", ".join(spec.choices)
    if spec.minimum is not None and spec.maximum is not None:
        return f"{_number(spec.minimum)} to {_number(spec.maximum)}"
    return BOUNDS.get(kind, {}).get(spec.name, "")


def _default(kind: str, spec: ParamSpec) -> str:
    if spec.default is None:
        return "required" if spec.name in REQUIRED.get(kind, ()) else "drawn" if spec.name in DRAWN else "none"
    if isinstance(spec.default, str):
        return spec.default or "empty"
    return json.dumps(spec.default) if isinstance(spec.default, bool) else _number(spec.default)


def _number(value: float) -> str:
    if value in NAMED:
        return NAMED[int(value)]
    return str(int(value)) if float(value).is_integer() else str(value)


if __name__ == "__main__":
    sys.exit(main())
