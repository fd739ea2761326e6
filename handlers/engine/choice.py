"""From a bundle to open sessions: which candidate is served on this machine, and why."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Any

from handlers import generators
from handlers.bundle import Bundle, BundleError
from handlers.runtimes.device import (
    device_classes,
    engine_fingerprint,
    installed_version,
    media_fingerprint,
    thread_count,
)
from handlers.runtimes.session import Session, SessionError, first_line, open_session


@dataclasses.dataclass(frozen=True)
class Engine:
    """An open generator and what it is: every receipt and the describe document repeat this."""

    generator: Any  # a BatchGenerator or a StepGenerator, as the kind has it
    sessions: dict[str, Session]
    candidate: dict[str, str]  # role -> candidate id
    fingerprint: str
    reason: str

    @property
    def seconds(self) -> float:
        """Time spent in the graphs so far."""
        return sum(session.seconds for session in self.sessions.values())


def open_engine(bundle: Bundle) -> Engine:
    """Open the first choice for this device class that can run here and computes the certified golden items.

    An unknown device class gets the FP32 reference. Raises `BundleError` if not even the reference can be served.
    """
    here = device_classes()
    choice = bundle.manifest.choice
    options = [(option, f"chosen for {name}") for name in here for option in choice.get(name, ())]
    why_reference = (
        f"FP32 reference: the choices certified for {' and '.join(here)} cannot run here"
        if options
        else f"FP32 reference: {' and '.join(here)} is not certified (certified: {', '.join(choice) or 'none'})"
    )
    if bundle.manifest.reference() not in [option for option, _ in options]:
        options.append((bundle.manifest.reference(), why_reference))
    passed_over: list[str] = []
    for option, reason in options:
        try:
            return _open(bundle, option, "; ".join([reason, *passed_over]))
        except (SessionError, BundleError) as error:
            passed_over.append(f"passed over {', '.join(option.values())}: {error}")
    raise BundleError(f"{bundle.directory}: no candidate can be served: {'; '.join(passed_over)}")


def _open(bundle: Bundle, option: dict[str, str], reason: str) -> Engine:
    sessions: dict[str, Session] = {}
    for role, identifier in option.items():
        candidate = bundle.manifest.candidate(identifier)
        check_requires(candidate.requires)
        sessions[role] = open_session(
            candidate.runtime,
            bundle.read_file(candidate.file),
            bundle.manifest.graphs[role],
            bundle.manifest.resources.threads,
            candidate.precision,
        )
    generator = generators.create(bundle.model(), sessions)
    runtimes = {session.runtime for session in sessions.values()}
    threads = thread_count(bundle.manifest.resources.threads)
    golden = check_golden(bundle, generator, option, engine_fingerprint(runtimes, threads))
    return Engine(generator, sessions, option, media_fingerprint(runtimes, threads), f"{reason}; {golden}")


def check_requires(requires: dict[str, str]) -> None:
    """Raise `SessionError` unless everything a candidate requires holds here; an unknown requirement does not hold."""
    for key, value in requires.items():
        if key == "module":
            found = "installed" if importlib.util.find_spec(value) is not None else "not installed"
            holds = found == "installed"
        elif key == "version":
            found = installed_version(requires.get("module", ""))
            holds = found == value
        else:
            found, holds = "unknown to this version", False
        if not holds:
            raise SessionError(f"it requires {key} {value}, which is {found} here")


def check_golden(bundle: Bundle, generator: Any, option: dict[str, str], fingerprint: str) -> str:
    """Compute the certificate's golden items; raises `BundleError` if they differ on an engine that was certified."""
    golden = bundle.certificate.golden
    recorded = golden.recorded(fingerprint, option)
    if recorded is None:
        return f"golden items not checked, no record for this engine ({fingerprint})"
    for params, wanted in zip(golden.items, recorded, strict=True):
        try:
            found = generator.golden(params)
        except Exception as error:  # a runtime that opens but does not run is passed over like one that does not open
            raise SessionError(f"it does not compute golden item {params}: {first_line(error)}") from error
        if found != wanted:
            raise BundleError(
                f"golden item {params} gives {found[:12]}..., the certificate has {wanted[:12]}... for {fingerprint}: "
                "this engine computes other numbers than were certified; build the bundle again on this machine"
            )
    return f"{len(golden.items)} golden items equal"
