"""Rendering of one run's config.properties, and the choice of its ports and socket paths."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIXED = ROOT / "config.properties"
LOG_CONFIG = Path(__file__).parent / "log4j2.xml"
METRICS_CONFIG = Path(__file__).parent / "torchserve_metrics.yaml"
PORTS = range(20_000, 32_000)  # Linux hands out 32768 and above
MAX_BODY = 65_536  # bytes of a request through the front end; what is larger comes by reference (handlers/spool.py)
BODY_MARGIN = 65_536  # beyond: so little too much still reaches the model's handler, which says its limit
MAX_SOCKET_PATH = 107  # bytes, the kernel's sun_path without its final zero


class PortTaken(RuntimeError):
    """Error: a port that was asked for is in use."""


class SocketPathError(ValueError):
    """Error: a path for a unix socket is longer than the kernel takes."""


@dataclasses.dataclass(frozen=True)
class Addresses:
    """Where one TorchServe listens: `unix:/path`, and the ports of its gRPC."""

    inference: str
    starting: str  # where inference listens until it is ready: a front end that is being prepared must not be called
    management: str
    metrics: str
    grpc_inference_port: int
    grpc_management_port: int


def addresses(sockets: Path) -> Addresses:
    """Unix sockets below `sockets`, free ports for gRPC. Raises `SocketPathError` or `PortTaken`."""
    for name in ("inference", "management"):
        path = sockets / f"{name}.sock"
        if len(bytes(path)) > MAX_SOCKET_PATH:
            raise SocketPathError(
                f"the socket path {path} has {len(bytes(path))} bytes, the kernel takes {MAX_SOCKET_PATH}: "
                "set TMPDIR to a shorter directory"
            )
    grpc_a, grpc_b = free_ports(2)
    inference, starting, management, metrics = (
        f"unix:{sockets / name}.sock" for name in ("inference", "starting", "management", "metrics")
    )
    return Addresses(inference, starting, management, metrics, grpc_a, grpc_b)


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that are free now, below those that the kernel hands out to others by itself.

    Between this and their use anybody's outgoing connection could be given a port of the kernel's own range.
    Raises `PortTaken` if that many cannot be found.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise PortTaken(f"only {len(found)} of {count} ports are free from {PORTS.start} to {PORTS.stop - 1}")


def check_port(port: int, option: str) -> None:
    """Raise `PortTaken` if nothing can listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise PortTaken(
                f"port {port} cannot be used ({getattr(error, 'strerror', error)}); "
                f"choose another with {option}, or 0 for a free one"
            ) from None


def properties(path: Path = FIXED) -> dict[str, str]:
    """The settings of a properties file."""
    lines = (line.strip() for line in path.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def render(where: Addresses, store: Path, archives: Sequence[Path], workflow_store: Path) -> str:
    """The whole config.properties of one run."""
    run = {
        "inference_address": where.starting,
        "management_address": where.management,
        "metrics_address": where.metrics,
        "grpc_inference_port": where.grpc_inference_port,
        "grpc_management_port": where.grpc_management_port,
        "metrics_config": METRICS_CONFIG,
        "model_store": store.resolve(),
        # By name: "all" would also load what was left over. Names of models hold no comma (handlers/manifest.py).
        "load_models": ",".join(path.name for path in archives),
        # Empty for ever: workflow archives run code even with the model API off.
        "workflow_store": workflow_store,
        # Small, whatever the models take. The front end keeps whole bodies; when its 256 MB are full of them, each
        # further one costs an event thread a second, and with it everybody who is served.
        "max_request_size": MAX_BODY + BODY_MARGIN,
    }
    return FIXED.read_text() + "\n# This run.\n" + "".join(f"{key}={_escaped(value)}\n" for key, value in run.items())


def _escaped(value: object) -> str:
    """A value as Java reads it in a properties file: Latin-1, and every backslash begins an escape."""
    units = str(value).encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if 0x20 < code < 0x7F and code != 0x5C else f"\\u{code:04x}" for code in codes)
