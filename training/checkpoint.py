"""The checkpoint format: its only reader and writer.

    artifacts/checkpoints/NAME/{model-<sha>.safetensors, state-<sha>.safetensors, assets/, checkpoint.json}

Files are named by their content. Renaming `checkpoint.json` into place is the switch; only then do the files of the
previous checkpoint go. So a kill at any moment leaves one whole checkpoint: the old one or the new one. There is no
pickle: weights and training state are safetensors, everything else is JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from training import files

FORMAT = "atelier-checkpoint/1"
ROOT = Path("artifacts/checkpoints")
META = "checkpoint.json"


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, of an unknown format, or not the one this command made."""


@dataclasses.dataclass(frozen=True)
class Meta:
    """The contents of checkpoint.json."""

    recipe: str
    config: dict[str, Any]  # the recipe's whole config, `asdict` of its frozen dataclass
    model: dict[str, Any]  # the part that rebuilds the network
    step: int
    seed: int
    metrics: dict[str, float]
    data: dict[str, str]  # name, sha256, licence, source
    git_commit: str | None
    files: dict[str, str] = dataclasses.field(default_factory=dict)  # path below the directory -> sha256
    format: str = FORMAT


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: all that is loaded from it belongs to the one `checkpoint.json` that was read.

    If a run saves in the meantime, loading says that a file is missing.
    """

    path: Path
    meta: Meta


def directory(name: str) -> Path:
    """Where the checkpoint called `name` lives."""
    return ROOT / name


def save(
    path: Path,
    meta: Meta,
    model: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    assets: Mapping[str, bytes] | None = None,
) -> Meta:
    """Write a checkpoint and switch to it. On an error (full disk) the previous one stays whole; raises `OSError`."""
    path.mkdir(parents=True, exist_ok=True)
    contents = {"model": save_tensors(_dense(model)), "state": save_tensors(_dense(state))}
    named: dict[str, str] = {}
    try:
        for part, data in contents.items():
            digest = hashlib.sha256(data).hexdigest()
            named[f"{part}-{digest[:16]}.safetensors"] = digest
            files.write(path / f"{part}-{digest[:16]}.safetensors", data)
        for name, data in (assets or {}).items():
            digest = hashlib.sha256(data).hexdigest()
            named[f"assets/{digest[:16]}-{name}"] = digest
            files.write(path / "assets" / f"{digest[:16]}-{name}", data)
        meta = dataclasses.replace(meta, files=named)
        files.write(path / META, (json.dumps(dataclasses.asdict(meta), indent=1) + "\n").encode())
    except OSError as error:
        _sweep(path)
        reason = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise OSError(
            error.errno,
            f"could not write the checkpoint of step {meta.step} to {path} ({reason.strerror}); "
            "the one before it is whole: free some space and run the same command again",
        ) from error
    _sweep(path)
    return meta


def read(path: Path) -> Meta:
    """Read and check checkpoint.json alone. Raises `CheckpointError`."""
    try:
        text = (path / META).read_bytes()
    except FileNotFoundError:
        known = sorted(p.parent.name for p in path.parent.glob(f"*/{META}"))
        raise CheckpointError(
            f"no checkpoint at {path}; train one with `python -m training RECIPE --name {path.name}`"
            f" (checkpoints here: {', '.join(known) or 'none'})"
        ) from None
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path / META} is not valid JSON ({error}); train it again with --restart") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise CheckpointError(f"{path / META} has format {found!r}, this version reads {FORMAT!r}")
    wanted = {f.name for f in dataclasses.fields(Meta)}
    if set(raw) != wanted:
        odd = sorted(set(raw) ^ wanted)
        raise CheckpointError(f"{path / META} has missing or unknown fields: {', '.join(odd)}")
    meta = Meta(**raw)
    wanted_types = {
        "files": dict,
        "data": dict,
        "metrics": dict,
        "config": dict,
        "model": dict,
        "step": int,
        "seed": int,
    }
    for field, kind in wanted_types.items():
        if not isinstance(getattr(meta, field), kind):
            raise CheckpointError(f"{path / META}: {field} is {getattr(meta, field)!r}, wanted {kind.__name__}")
    return meta


def opened(source: Path | Checkpoint) -> Checkpoint:
    """The checkpoint of a directory, or one that is opened already. Raises `CheckpointError`."""
    return source if isinstance(source, Checkpoint) else Checkpoint(source, read(source))


def load_model(source: Path | Checkpoint) -> tuple[Meta, dict[str, Tensor]]:
    """The served weights, after a check of their sha256. Raises `CheckpointError`."""
    found = opened(source)
    return found.meta, load_tensors(_verified(found, "model-"))


def load_state(source: Path | Checkpoint) -> tuple[Meta, dict[str, Tensor]]:
    """The rest of what a resumed run needs, after a check of its sha256. Raises `CheckpointError`."""
    found = opened(source)
    return found.meta, load_tensors(_verified(found, "state-"))


def load_asset(source: Path | Checkpoint, name: str) -> bytes:
    """One asset (a tokenizer, say) by the name it was saved under. Raises `CheckpointError`."""
    return _verified(opened(source), "assets/", f"-{name}")


def discard(path: Path) -> None:
    """Forget a checkpoint: the json goes first, so that no half of it can be taken for a whole one."""
    (path / META).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _verified(found: Checkpoint, prefix: str, suffix: str = "") -> bytes:
    path, named = found.path, found.meta.files
    for name, wanted in named.items():
        if name.startswith(prefix) and name.endswith(suffix):
            try:
                data = (path / name).read_bytes()
            except FileNotFoundError:
                raise CheckpointError(f"{path / name} is missing; train again with --restart") from None
            digest = hashlib.sha256(data).hexdigest()
            if digest != wanted:
                raise CheckpointError(
                    f"{path / name} is damaged: {len(data)} bytes with sha256 {digest[:16]}..., "
                    f"checkpoint.json wants {wanted[:16]}...; restore the file or train again with --restart"
                )
            return data
    raise CheckpointError(f"{path / META} names no file {prefix}*{suffix}; it names {', '.join(named)}")


def _dense(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # safetensors wants contiguous tensors (channels-last weights are not) that share no memory.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _sweep(path: Path) -> None:
    """Remove what the current checkpoint.json does not name: older files and leftovers of a kill."""
    try:
        keep = set(read(path).files) | {META}
    except CheckpointError:
        keep = set()
    for file in path.rglob("*"):
        if file.is_file() and str(file.relative_to(path)) not in keep:
            file.unlink(missing_ok=True)
