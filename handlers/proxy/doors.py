"""Which door of TorchServe a call came through, and for whom: one is documented, the others are closed.

The front end takes predictions at half a dozen paths, with any method. It tells the handler of the path in two headers
of its own, which are there after what a caller wrote: `url_path` is what follows /predictions/NAME/VERSION/, and
`explain` is True at /explanations.
"""

from __future__ import annotations

import dataclasses
import hmac
import os

from handlers.proxy.wire import Call
from handlers.refusals import Refusal

NONCE = "ATELIER_NONCE"  # of the environment, set by the launcher: its words carry it


@dataclasses.dataclass(frozen=True)
class Doors:
    """What a worker lets in; `nonce` is what the launcher's words carry, without one nobody's are obeyed."""

    nonce: str = ""

    @classmethod
    def of_environment(cls) -> Doors:
        """As the launcher that started this worker wants it."""
        return cls(os.environ.get(NONCE, ""))

    def check(self, call: Call) -> None:
        """Raise `Refusal` for an HTTP call that did not come to /predictions/NAME."""
        if call.headers.get("url_path") != "" or call.headers.get("explain") != "False":
            raise Refusal(404, "this model is served at POST /predictions/NAME alone; send the request there")

    def is_launcher(self, call: Call) -> bool:
        """Whether a call carries this run's nonce."""
        given = call.headers.get("x-atelier-nonce", "")
        return bool(self.nonce) and hmac.compare_digest(given.encode(errors="replace"), self.nonce.encode())
