"""The certificate that callers are shown: TLS 1.2 at least, read again on SIGHUP while connections go on."""

from __future__ import annotations

import asyncio
import signal
import ssl
import threading
from pathlib import Path

import structlog

log = structlog.get_logger("gateway.tls")


class Certificate:
    """The files of a certificate and its key, and the context of those that a handshake shows.

    A context whose files are changed has a certificate without its key for a moment, in which handshakes fail: so what
    is read again is a context of its own, which handshakes that begin later take.
    """

    def __init__(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        self._shown, self._certificate, self._key = context, certificate, key
        self._reading: asyncio.Task[None] | None = None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sni_callback = self._choose  # called for callers who name no host, too

    def renew(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read it again whenever SIGHUP comes. Signals are the main thread's alone: in another nothing is done."""
        if threading.current_thread() is threading.main_thread():
            loop.add_signal_handler(signal.SIGHUP, self._begin)

    def _begin(self) -> None:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(asyncio.to_thread(self.reread))

    def reread(self) -> None:
        """Show those who come from now on what the files hold now; where that cannot be used, what was shown before."""
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            found.load_cert_chain(self._certificate, self._key)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            log.error("the certificate cannot be read again; the one before is shown", reason=str(error))
        else:
            self._shown = found
            log.warning("the certificate was read again", file=str(self._certificate))

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._shown
