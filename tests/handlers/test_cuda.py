"""The CUDA driver through ctypes, against a driver of memory in a dictionary: its calls, and what a failure says."""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from handlers.runtimes import cuda as here

NO_DEVICE, OUT_OF_MEMORY, UNHEARD_OF = 100, 2, 12345
WORDS = {NO_DEVICE: b"no CUDA-capable device is detected", OUT_OF_MEMORY: b"out of memory"}


class Driver:
    """A driver whose device memory is a dictionary, and whose calls give the codes of `failures`."""

    def __init__(self, capability: tuple[int, int] = (8, 9), failures: Mapping[str, int] | None = None) -> None:
        self.attributes = {75: capability[0], 76: capability[1]}
        self.failures = dict(failures or {})
        self.calls: list[str] = []
        self.current: dict[int, int] = {}  # thread -> context
        self.memory: dict[int, bytearray] = {}
        self._next = 4096

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.failures:
                return self.failures[name]
            DRIVER[name](self, *[getattr(argument, "_obj", argument) for argument in arguments])
            return 0

        return call

    def allocate(self, pointer: ctypes.c_uint64, size: ctypes.c_size_t) -> None:
        pointer.value = self._next
        self.memory[self._next] = bytearray(size.value)
        self._next += 4096

    def upload(self, target: ctypes.c_uint64, source: ctypes.c_void_p, size: ctypes.c_size_t) -> None:
        assert source.value is not None
        self.memory[target.value][: size.value] = ctypes.string_at(source.value, size.value)

    def download(self, target: ctypes.c_void_p, source: ctypes.c_uint64, size: ctypes.c_size_t) -> None:
        ctypes.memmove(target, bytes(self.memory[source.value][: size.value]), size.value)

    def give(self, value: Any, found: int) -> None:
        value.value = found

    def enter(self, context: ctypes.c_void_p) -> None:
        self.current[threading.get_ident()] = context.value or 0


DRIVER: dict[str, Callable[..., None]] = {
    "cuInit": lambda self, flags: None,
    "cuDeviceGet": lambda self, device, ordinal: self.give(device, ordinal),
    "cuDeviceGetAttribute": lambda self, value, attribute, device: self.give(value, self.attributes[attribute]),
    "cuDevicePrimaryCtxRetain": lambda self, context, device: self.give(context, 77),
    "cuCtxSetCurrent": Driver.enter,
    "cuCtxSynchronize": lambda self: None,
    "cuMemAlloc_v2": Driver.allocate,
    "cuMemFree_v2": lambda self, pointer: self.memory.pop(pointer.value),
    "cuMemcpyHtoD_v2": Driver.upload,
    "cuMemcpyDtoH_v2": Driver.download,
    "cuGetErrorString": lambda self, code, text: self.give(text, WORDS.get(code)),
}


def cuda(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> Any:
    """handlers/runtimes/cuda.py afresh, over that driver; None: a machine without its library."""

    def load(name: str) -> Driver:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return driver

    spec = importlib.util.find_spec(here.__name__)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(ctypes, "CDLL", load)
    return module


@pytest.mark.parametrize(("capability", "name"), [((8, 9), "sm89"), ((9, 0), "sm90"), ((12, 0), "sm120")])
def test_the_capability_has_the_name_that_engines_are_built_for(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str
) -> None:
    assert cuda(monkeypatch, Driver(capability)).compute_capability() == name


@pytest.mark.parametrize(
    "driver", [None, Driver(failures={"cuInit": NO_DEVICE}), Driver(failures={"cuDeviceGet": 101})]
)
def test_a_machine_without_a_gpu_has_no_capability(monkeypatch: pytest.MonkeyPatch, driver: Driver | None) -> None:
    assert cuda(monkeypatch, driver).compute_capability() is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (OUT_OF_MEMORY, r"cuMemAlloc_v2 failed: out of memory \(2\)"),
        (UNHEARD_OF, r"cuMemAlloc_v2 failed: unknown error \(12345\)"),
    ],
)
def test_a_call_that_fails_is_named_with_the_drivers_word(
    monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    module = cuda(monkeypatch, Driver(failures={"cuMemAlloc_v2": code}))
    buffer = module.Buffer()
    with pytest.raises(module.CudaError, match=message):
        buffer.reserve(8)
    assert buffer.address == 0  # nothing to free


def test_buffers_grow_on_demand_and_are_freed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    buffer = cuda(monkeypatch, driver).Buffer()
    array, found = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32)
    buffer.upload(array)
    buffer.download(found)
    np.testing.assert_array_equal(found, array)
    first = buffer.address
    assert buffer.reserve(8) == first  # smaller: the same memory
    assert buffer.reserve(array.nbytes + 1) != first
    assert [len(memory) for memory in driver.memory.values()] == [array.nbytes + 1]  # the old one is given back
    buffer.free()
    buffer.free()
    assert driver.memory == {}
    assert driver.calls.count("cuMemFree_v2") == 2


def test_an_array_with_gaps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    with pytest.raises(ValueError, match=r"an array of shape \(2, 3\) is not contiguous: copy it first"):
        cuda(monkeypatch, driver).Buffer().upload(np.zeros((3, 2), np.float32).T)
    assert "cuMemcpyHtoD_v2" not in driver.calls


def test_every_thread_gets_the_one_primary_context(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    module = cuda(monkeypatch, driver)
    module.use_primary_context()
    other = threading.Thread(target=module.use_primary_context)
    other.start()
    other.join()
    module.synchronize()
    assert set(driver.current.values()) == {77}
    assert len(driver.current) == 2
    assert driver.calls.count("cuDevicePrimaryCtxRetain") == 1


@pytest.mark.gpu
def test_arrays_survive_the_way_to_a_gpu_and_back() -> None:
    if here.compute_capability() is None:
        pytest.skip("no CUDA device")
    here.use_primary_context()
    buffer = here.Buffer()
    array, found = np.arange(1000, dtype=np.int64), np.zeros(1000, np.int64)
    buffer.upload(array)
    here.synchronize()
    buffer.download(found)
    buffer.free()
    np.testing.assert_array_equal(found, array)
