"""From a bundle to open sessions: which candidate is served on this machine, and why."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from typing import Any

from handlers import cgroups, generators
from handlers.bundle import Bundle
from handlers.manifest import BundleError
from handlers.runtimes.device import Machine, machine, thread_count
from handlers.runtimes.fingerprint import engine_fingerprint, media_fingerprint
from handlers.runtimes.runtime import SessionError, first_line, package_version
from handlers.runtimes.session import Session, open_session


@dataclasses.dataclass(frozen=True)
class OpenedModel:
    """An open generator and what it is: every receipt and the describe document repeat this."""

    generator: Any  # a BatchGenerator or a StepGenerator, as the kind has it
    sessions: dict[str, Session]
    candidate: dict[str, str]  # role -> candidate id
    fingerprint: str
    reason: str
    passed_over: str = ""  # which choices of this machine did not open or computed other numbers, and why

    @property
    def state(self) -> str:
        """How it is open, for whoever watches it."""
        return f"the engine is open; {self.passed_over}" if self.passed_over else "the engine is open"

    @property
    def seconds(self) -> float:
        """Time spent in the graphs so far."""
        return sum(session.seconds for session in self.sessions.values())

    def close(self) -> None:
        """Close its sessions."""
        for session in self.sessions.values():
            session.close()


def open_model(bundle: Bundle, here: Machine | None = None) -> OpenedModel:
    """Open the first choice for a machine (this one) that can run here and computes the certified golden items.

    An unknown device class gets the FP32 reference. Raises `BundleError` if not even the reference can be served.
    """
    here = here or machine()
    choice = bundle.manifest.choice
    options = [(option, f"chosen for {name}") for name in here.classes for option in choice.get(name, ())]
    why_reference = (
        f"FP32 reference: the choices certified for {' and '.join(here.classes)} cannot run here"
        if options
        else f"FP32 reference: {' and '.join(here.classes)} is not certified (certified: {', '.join(choice) or 'none'})"
    )
    if bundle.manifest.reference() not in [option for option, _ in options]:
        options.append((bundle.manifest.reference(), why_reference))
    passed_over: list[str] = []
    for option, reason in options:
        try:
            opened = _open(bundle, here, option, "; ".join([reason, *passed_over]))
        except (SessionError, BundleError) as error:
            passed_over.append(f"passed over {', '.join(option.values())}: {error}")
        else:
            return dataclasses.replace(opened, passed_over="; ".join(passed_over))
    raise BundleError(f"{bundle.directory}: no candidate can be served: {'; '.join(passed_over)}")


def _open(bundle: Bundle, here: Machine, option: dict[str, str], reason: str) -> OpenedModel:
    sessions: dict[str, Session] = {}
    threads = bundle.manifest.resources.threads
    with contextlib.ExitStack() as opened:  # closes what was opened if the rest fails
        for role, identifier in option.items():
            candidate = bundle.manifest.candidate(identifier)
            check_requires(candidate.requires)
            data, spec = bundle.read_file(candidate.file), bundle.manifest.graphs[role]
            session = open_session(candidate.runtime, data, spec, threads, candidate.precision)
            sessions[role] = opened.enter_context(session)
        generator = generators.create(bundle.model(), sessions)
        by = ({session.runtime for session in sessions.values()}, thread_count(threads))
        golden = check_golden(bundle, generator, option, engine_fingerprint(here, *by))
        opened.pop_all()
    limited = f"; {found}" if (found := cgroups.limits()) else ""
    return OpenedModel(generator, sessions, option, media_fingerprint(here, *by), f"{reason}; {golden}{limited}")


def check_requires(requires: dict[str, str]) -> None:
    """Raise `SessionError` unless everything a candidate requires holds here; an unknown requirement does not hold."""
    for key, value in requires.items():
        if key == "module":
            found = "installed" if importlib.util.find_spec(value) is not None else "not installed"
            holds = found == "installed"
        elif key == "version":
            found = package_version(requires.get("module", ""))
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
