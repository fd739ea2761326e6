"""As much of the CUDA driver as serving an engine needs, through ctypes: no torch, no further package.

Every call is checked; `CudaError` names the call and the driver's own word for what went wrong.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from numpy.typing import NDArray

_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


class CudaError(RuntimeError):
    """A driver call that failed."""


@functools.cache
def compute_capability() -> str | None:
    """The first GPU's capability as `sm89`, or None on a machine without a usable one."""
    try:
        device = _device()
    except (OSError, CudaError):  # no driver library, or no device: a machine without a GPU
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("cuDeviceGetAttribute", ctypes.byref(major), _CAPABILITY_MAJOR, device)
    _call("cuDeviceGetAttribute", ctypes.byref(minor), _CAPABILITY_MINOR, device)
    return f"sm{major.value}{minor.value}"


def use_primary_context() -> None:
    """Make the first GPU's primary context current in this thread."""
    _call("cuCtxSetCurrent", _primary_context())


class Buffer:
    """Device memory that grows on demand and stays until `free`. Every call wants the primary context to be current."""

    def __init__(self) -> None:
        self.address, self._size = 0, 0

    def reserve(self, size: int) -> int:
        """Make room for `size` bytes; returns the device address (contents are lost when it grows)."""
        if size > self._size:
            self.free()
            pointer = ctypes.c_uint64()
            _call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
            self.address, self._size = pointer.value, size
        return self.address

    def upload(self, array: NDArray[Any]) -> None:
        """Copy a contiguous array to the device."""
        self.reserve(array.nbytes)
        _call("cuMemcpyHtoD_v2", ctypes.c_uint64(self.address), _pointer(array), ctypes.c_size_t(array.nbytes))

    def download(self, array: NDArray[Any]) -> None:
        """Fill a contiguous array from the device."""
        _call("cuMemcpyDtoH_v2", _pointer(array), ctypes.c_uint64(self.address), ctypes.c_size_t(array.nbytes))

    def free(self) -> None:
        """Give the memory back."""
        if self.address:
            _call("cuMemFree_v2", ctypes.c_uint64(self.address))
            self.address, self._size = 0, 0


def synchronize() -> None:
    """Wait for everything that was launched in the current context."""
    _call("cuCtxSynchronize")


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


@functools.cache
def _device() -> ctypes.c_int:
    _call("cuInit", 0)
    device = ctypes.c_int()
    _call("cuDeviceGet", ctypes.byref(device), 0)
    return device


@functools.cache
def _primary_context() -> ctypes.c_void_p:
    """Retained once: it is the process's until that ends."""
    context = ctypes.c_void_p()
    _call("cuDevicePrimaryCtxRetain", ctypes.byref(context), _device())
    return context


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    if not array.flags.c_contiguous:
        raise ValueError(f"an array of shape {array.shape} is not contiguous: copy it first")
    return ctypes.c_void_p(array.ctypes.data)


def _call(name: str, *arguments: Any) -> None:
    code = getattr(_driver(), name)(*arguments)
    if code != 0:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        raise CudaError(f"{name} failed: {(text.value or b'unknown error').decode()} ({code})")
