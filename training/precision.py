"""Mixed precision: the number format that a device multiplies in, and the loss scaling that it needs."""

from __future__ import annotations

import dataclasses
import os
from contextlib import AbstractContextManager
from typing import Literal

import torch

from training.checks import ConfigError, refuse

_CAPS_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


@dataclasses.dataclass(frozen=True)
class Precision:
    """A resolved choice: the autocast type (None for FP32) on one device."""

    device: str
    autocast: torch.dtype | None

    def cast(self) -> AbstractContextManager[object]:
        """The context to run a forward pass in."""
        return torch.autocast(self.device, self.autocast or torch.bfloat16, enabled=self.autocast is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """FP16 gradients underflow without scaling (Micikevicius 2018); BF16 and FP32 pass through unscaled."""
        return torch.amp.GradScaler(self.device, enabled=self.autocast is torch.float16)

    def __str__(self) -> str:
        return {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[self.autocast]


def pick_device(name: str) -> str:
    """Resolve "auto"; raises `ConfigError` for a device this machine does not have."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise refuse("device", repr(name), "auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: this machine has no usable CUDA device; use --device cpu or auto")
    return name


def pick(name: PrecisionName, device: str) -> Precision:
    """Resolve "auto": FP16 on CUDA; on a CPU BF16 where it multiplies BF16 in hardware, else FP32.

    Raises `ConfigError` for FP16 on a CPU.
    """
    if name == "auto":
        name = "fp16" if device == "cuda" else "bf16" if _cpu_has_bf16() else "fp32"
    if name == "fp16" and device == "cpu":
        raise ConfigError("--precision fp16 needs a CUDA device; on a CPU use bf16, fp32 or auto")
    return Precision(device, {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name])


def _cpu_has_bf16() -> bool:
    """Whether oneDNN multiplies BF16 here: the CPU does, and ONEDNN_MAX_CPU_ISA leaves it so."""
    capped = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _CAPS_WITHOUT_BF16
    return not capped and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
