"""Which door of TorchServe a call came through, and for whom: one is documented, the others are closed.

The front end takes predictions at half a dozen paths, with any method. It tells the handler of the path in two headers
of its own, which are there after what a caller wrote: `url_path` is what follows /predictions/NAME/VERSION/, and
`explain` is True at /explanations.
"""

from __future__ import annotations

import dataclasses
import hmac
import os
import re

from handlers.params import shown
from handlers.proxy.wire import Call
from handlers.refusals import Refusal

NONCE = "ATELIER_NONCE"  # of the environment, set by the launcher: its words carry it
LOOPBACK_ONLY = "ATELIER_LOOPBACK_ONLY"  # "1" where inference listens on TCP, where web pages reach it
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
_ORIGIN = re.compile(r"https?://" + _LOOPBACK.pattern)


@dataclasses.dataclass(frozen=True)
class Doors:
    """What a worker lets in; `nonce` is what the launcher's words carry, without one nobody's are obeyed."""

    nonce: str = ""
    loopback_only: bool = False

    @classmethod
    def of_environment(cls) -> Doors:
        """As the launcher that started this worker wants it."""
        return cls(os.environ.get(NONCE, ""), os.environ.get(LOOPBACK_ONLY) == "1")

    def check(self, call: Call) -> None:
        """Raise `Refusal` for an HTTP call that did not come to /predictions/NAME, or from a foreign web page."""
        if self.loopback_only:
            _check_origin(call)
        if call.headers.get("url_path") != "" or call.headers.get("explain") != "False":
            raise Refusal(404, "this model is served at POST /predictions/NAME alone; send the request there")

    def is_launcher(self, call: Call) -> bool:
        """Whether a call carries this run's nonce."""
        given = call.headers.get("x-atelier-nonce", "")
        return bool(self.nonce) and hmac.compare_digest(given.encode(errors="replace"), self.nonce.encode())


def _check_origin(call: Call) -> None:
    """A page on a name that was made to point here (DNS rebinding) may send anything, but it cannot forge its name."""
    host, origin = call.headers.get("host"), call.headers.get("origin")
    if host is not None and not _LOOPBACK.fullmatch(host.strip().lower()):
        raise Refusal(403, f"Host is {shown(host)}; on loopback it is localhost or 127.0.0.1", "Host")
    if origin is not None and not _ORIGIN.fullmatch(origin.strip().lower()):
        raise Refusal(403, f"Origin is {shown(origin)}; pages of other sites are not served", "Origin")
