"""Requests that came by reference: a body over 64 KiB is a file of the spool, and is looked over like any other."""

from __future__ import annotations

import json
from typing import Any

from handlers import spool
from handlers.refusals import Refusal
from handlers.strict_json import check_json


def whole(params: Any, limit: int) -> Any:
    """The parameters of a request: those of the file that it refers to, of at most `limit` bytes, or its own.

    Raises `Refusal`. A file that holds a reference again is not followed.
    """
    if not spool.is_reference(params):
        return params
    upload = spool.upload_of(params)
    if upload is None:
        raise Refusal(400, f"the body is no reference to a file, wanted {spool.WANTED}, or the parameters themselves")
    data = spool.read(upload, limit)
    check_json(data)
    return json.loads(data)
