"""The machine and the library versions that measured figures hold for."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path
from typing import Any

from handlers.runtimes.device import device_class, installed_version

# Package -> the module that shows whether it is installed.
PACKAGES = {
    "torch": "torch",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "numpy": "numpy",
    "pillow": "PIL",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tensorrt_rtx": "tensorrt_rtx",
}


def environment() -> dict[str, Any]:
    """Device class, CPU, cores, Python, system and the versions of the packages that are installed."""
    return {
        "device_class": device_class(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The version of every package of `PACKAGES` that is installed."""
    found = [package for package, module in PACKAGES.items() if importlib.util.find_spec(module) is not None]
    return {package: installed_version(package) for package in found}


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
