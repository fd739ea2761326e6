"""Bodies in JSON: read while they come, bounded, and nothing in them taken for something else (RFC 8259)."""

from __future__ import annotations

import json
import zlib
from typing import Any, NoReturn

from starlette.requests import Request

from gateway.errors import ApiError

JSON = "application/json"
MAX_DEPTH = 32  # lists and objects within each other
PACKED = 1024  # bytes by which what is packed may be longer than what is in it


async def read_json(request: Request, most: int) -> dict[str, Any]:
    """The JSON object that a request brings, of at most `most` bytes, packed (gzip, deflate) or not.

    Raises `ApiError`: 413, 415, 400 for what is no JSON, for a name that is there twice, and for NaN.
    """
    kind, _, options = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != JSON:
        raise ApiError(415, f"Content-Type is {kind.strip()[:60] or 'missing'}, wanted {JSON}")
    charset = options.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise ApiError(415, f"the charset is {charset[:60]}, wanted utf-8")
    return parse(await read_bytes(request, most))


async def read_bytes(request: Request, most: int) -> bytes:
    """The body of a request, of at most `most` bytes, packed (gzip, deflate) or not.

    Raises `ApiError`: 413, 415, 400.
    """
    unpack = _unpacking(request.headers.get("content-encoding", "identity").strip().lower())
    body, came = bytearray(), 0
    try:
        async for piece in request.stream():
            came += len(piece)
            body += unpack.decompress(piece, most + 1 - len(body)) if unpack is not None else piece
            if len(body) > most or came > most + PACKED:
                raise ApiError(413, f"the request is over {most} bytes, which is all that is taken", code="too_large")
            if unpack is not None and unpack.unused_data:
                break  # what follows it would be kept, however much that is
    except zlib.error as error:
        raise ApiError(400, f"the body is not packed as Content-Encoding says: {error}") from None
    if unpack is not None and (not unpack.eof or unpack.unused_data):
        raise ApiError(400, "the packed body does not end where it should; send one whole stream")
    return bytes(body)


def parse(body: bytes) -> dict[str, Any]:
    """The object in a body. Raises `ApiError` (400)."""
    if not body.strip():
        raise ApiError(400, "the body is empty, wanted a JSON object")
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_constant)
    except UnicodeDecodeError:
        raise ApiError(400, "the body is no UTF-8; send texts in UTF-8") from None
    except RecursionError:
        raise ApiError(400, f"the body is nested too deep, wanted at most {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ApiError(400, f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError(400, f"the body is a JSON {_NAMES.get(type(found), 'null')}, wanted an object")
    if _depth(found) > MAX_DEPTH:
        raise ApiError(400, f"the body is nested too deep, wanted at most {MAX_DEPTH} levels")
    if b"\\ud" in body or b"\\uD" in body:
        for name, value in found.items():
            _whole_characters(name, value)
    return found


def value_of(text: str) -> Any:
    """A JSON value that is a text by itself, as in a form, by the same rules. Raises `ValueError`."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
    except (ApiError, RecursionError) as error:
        raise ValueError(str(error)) from None
    if _depth(found) > MAX_DEPTH:
        raise ValueError(f"nested too deep, wanted at most {MAX_DEPTH} levels")
    return found


_NAMES: dict[type, str] = {list: "list", str: "string", bool: "boolean", int: "number", float: "number"}


def _unpacking(encoding: str) -> Any:
    """What unpacks an encoding; None for bodies as they are. Raises `ApiError` (415)."""
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    if encoding == "deflate":
        return zlib.decompressobj()
    raise ApiError(415, f"Content-Encoding is {encoding[:60]}, wanted gzip, deflate or none")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ApiError(400, f"{twice[:60]} is in the body twice; send each field once", param=twice[:60])
    return found


def _constant(name: str) -> NoReturn:
    raise ApiError(400, f"the body holds {name}, which is no JSON number")


def _whole_characters(name: str, value: Any) -> None:
    """Raise an `ApiError` for a field with half of a surrogate pair, which no answer in UTF-8 could repeat."""
    try:
        json.dumps([name, value], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        shown = name[:60].encode(errors="replace").decode()
        message = f"{shown} holds half of a surrogate pair, which is no text; send whole characters"
        raise ApiError(400, message, param=shown) from None


def _depth(value: Any) -> int:
    """Levels of lists and objects, without recursion."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        deepest += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return deepest
