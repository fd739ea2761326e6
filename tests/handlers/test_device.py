"""The device class follows the CPU's flags; fingerprints name every version that decides bytes."""

from __future__ import annotations

import platform
from importlib.metadata import version

import pytest

from handlers.runtimes import device
from handlers.runtimes.device import Machine
from handlers.runtimes.fingerprint import engine_fingerprint, media_fingerprint

AVX512 = {"avx2", "fma", "avx512f", "avx512bw", "avx512vl"}


@pytest.mark.parametrize(
    ("flags", "machine", "name"),
    [
        (AVX512 | {"avx512_vnni", "amx_int8"}, "x86_64", "amx-int8"),
        (AVX512 | {"avx512_vnni", "avx_vnni"}, "x86_64", "avx512-vnni"),
        (AVX512, "x86_64", "avx512"),
        ({"avx2", "fma", "avx_vnni"}, "x86_64", "avx2-vnni"),
        ({"avx2", "fma"}, "x86_64", "avx2"),
        ({"sse4_2"}, "x86_64", "x86-baseline"),
        (set(), "aarch64", "aarch64"),
    ],
)
def test_classes(flags: set[str], machine: str, name: str) -> None:
    assert device.classify(flags, machine) == name


def test_this_machine_has_a_class() -> None:
    known = {name for name, _ in device._X86_CLASSES} | {"x86-baseline", platform.machine()}
    assert device.machine().cpu in known


def test_fingerprints_name_versions() -> None:
    text = media_fingerprint(device.machine(), ["openvino", "onnxruntime"], 3)
    assert text.split() == [
        device.machine().cpu,
        "threads-3",
        f"onnxruntime-{version('onnxruntime')}",
        f"openvino-{version('openvino')}",
        f"numpy-{version('numpy')}",
        f"pillow-{version('pillow')}",
    ]


def test_a_gpu_is_named_where_one_computes() -> None:
    here = Machine("avx2", "sm89")
    assert engine_fingerprint(here, ["tensorrt"], 2).split()[:3] == ["avx2", "threads-2", "sm89"]
    assert "sm89" not in engine_fingerprint(here, ["onnxruntime"], 2)
    assert here.classes == ["sm89", "avx2"]
    assert (here.device_class("cpu"), here.device_class("gpu")) == ("avx2", "sm89")
    assert Machine("avx2").device_class("gpu") == "no-gpu"
