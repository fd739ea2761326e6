"""Forms (multipart/form-data, RFC 7578) as they arrive: files go to the spool, fields stay small, all is bounded.

Names and types of files are never used: what a file is its bytes say, and where it lies chance says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from gateway.arrival import Kind
from gateway.errors import ApiError
from gateway.spool import Arrival, Kept, Spooled

MAX_PARTS = 64
MAX_NAME_BYTES = 128
MAX_FIELD_BYTES = 128 * 1024  # of one field: 32,000 characters of any script
MAX_FIELDS_BYTES = 256 * 1024  # of all together
MAX_HEADERS, MAX_HEADER_BYTES = 8, 4096  # of one part
OVERHEAD_BYTES = 64 * 1024  # of boundaries and headers
_PLAIN = (b"", b"7bit", b"8bit", b"binary")  # of Content-Transfer-Encoding


@dataclasses.dataclass(frozen=True)
class Form:
    """What was sent: fields by name, and by name the files, of which a name may have several."""

    fields: dict[str, str]
    files: dict[str, list[Spooled]]


@dataclasses.dataclass(frozen=True)
class FileLimits:
    """What may be uploaded in one form: which fields hold files, how many together, bytes and pixels of each."""

    names: Collection[str]
    max_bytes: int
    max_pixels: int | None = None
    max_files: int = 4
    kind: Kind = "image"

    @property
    def max_form_bytes(self) -> int:
        """Of the whole form."""
        return self.max_files * self.max_bytes + MAX_FIELDS_BYTES + OVERHEAD_BYTES


async def read_form(request: Request, kept: Kept, limits: FileLimits) -> Form:
    """The form in a request's body; its files lie in the spool, and are `kept`'s to remove. Raises `ApiError`."""
    boundary = _boundary(request)
    if (length := request.headers.get("content-length", "")).isdecimal() and int(length) > limits.max_form_bytes:
        raise _too_large(limits)
    reader, received = _Reader(boundary, limits), 0
    form = Form({}, {})
    arrivals: dict[_Part, Arrival] = {}
    async for data in request.stream():
        if (received := received + len(data)) > limits.max_form_bytes:
            raise _too_large(limits)
        for part, piece in reader.feed(data):
            if piece is None and part not in arrivals and not part.chosen:
                continue  # a browser sends an empty part without a file's name where none was chosen
            if part not in arrivals:
                arrivals[part] = kept.arrival(limits.kind, limits.max_bytes, limits.max_pixels, part.name)
            if piece is not None:
                await arrivals[part].write(piece)
            else:
                form.files.setdefault(part.name, []).append(await arrivals[part].done())
    if not reader.ended:
        raise ApiError(400, "the form ends before its last boundary; send the whole of it")
    form.fields.update(reader.fields)
    return form


@dataclasses.dataclass(eq=False)
class _Part:
    headers: dict[bytes, bytes] = dataclasses.field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    chosen: bool = False  # it names a file
    data: bytearray = dataclasses.field(default_factory=bytearray)  # of a field


class _Reader:
    """The parser's callbacks: keeps the fields, and hands out the pieces of files in order."""

    def __init__(self, boundary: bytes, limits: FileLimits) -> None:
        self._limits = limits
        self._part, self._parts, self._files, self._bytes = _Part(), 0, 0, 0
        self._name, self._value = bytearray(), bytearray()
        self._pieces: list[tuple[_Part, bytearray | None]] = []
        self.fields: dict[str, str] = {}
        self.ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_headers_finished": self._headed,
                "on_end": self._last,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    def feed(self, data: bytes) -> list[tuple[_Part, bytearray | None]]:
        """The pieces of files that these bytes hold; None ends a file. Raises `ApiError`."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise ApiError(400, f"the body is no form as multipart/form-data is: {error}") from None
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ApiError(400, f"the form has more than {MAX_PARTS} parts; send fewer")
        self._part = _Part()

    def _header(self) -> None:
        name, value = bytes(self._name).lower(), bytes(self._value)
        self._name.clear()
        self._value.clear()
        if name in self._part.headers:
            raise ApiError(400, "a part of the form has the same header twice; send each once")
        self._part.headers[name] = value

    def _headed(self) -> None:
        part = self._part
        what, options = parse_options_header(part.headers.get(b"content-disposition", b"").decode("latin-1"))
        if what != b"form-data" or not (raw := options.get(b"name", b"")):
            raise ApiError(400, 'a part of the form has no name; wanted Content-Disposition: form-data; name="..."')
        part.name = _text(raw, "the name of a part")
        if len(raw) > MAX_NAME_BYTES or not part.name.isprintable():
            raise ApiError(400, f"the name of a part is not printable or has more than {MAX_NAME_BYTES} bytes")
        if part.headers.get(b"content-transfer-encoding", b"").strip().lower() not in _PLAIN:
            raise ApiError(400, f"{part.name} is encoded in the form; send its bytes as they are", param=part.name)
        part.chosen = bool(options.get(b"filename"))
        part.is_file = part.name in self._limits.names
        if part.chosen and not part.is_file:
            wanted = ", ".join(self._limits.names) or "none"
            raise ApiError(400, f"{part.name} is a file; fields that take files: {wanted}", param=part.name)
        self._files += part.is_file
        if self._files > self._limits.max_files:
            message = f"the form has more than {self._limits.max_files} files, which is all that is taken"
            raise ApiError(400, message, param=part.name)
        if not part.is_file and part.name in self.fields:
            raise ApiError(400, f"{part.name} is in the form twice; send each field once", param=part.name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.is_file:
            if self._pieces and self._pieces[-1][0] is part and (last := self._pieces[-1][1]) is not None:
                last += data[start:end]
            else:
                self._pieces.append((part, bytearray(data[start:end])))
            return
        part.data += data[start:end]
        self._bytes += end - start
        if len(part.data) > MAX_FIELD_BYTES or self._bytes > MAX_FIELDS_BYTES:
            sizes = f"{MAX_FIELD_BYTES} bytes, all fields together {MAX_FIELDS_BYTES}"
            raise ApiError(413, f"{part.name} is too long: a field has at most {sizes}", param=part.name)

    def _end(self) -> None:
        part = self._part
        if part.is_file:
            self._pieces.append((part, None))
        else:
            self.fields[part.name] = _text(bytes(part.data), part.name)

    def _last(self) -> None:
        self.ended = True


def _boundary(request: Request) -> bytes:
    """The boundary that the request's content type names. Raises `ApiError`."""
    what, options = parse_options_header(request.headers.get("content-type"))
    if what != b"multipart/form-data":
        message = f"Content-Type is {what.decode('latin-1')[:60] or 'missing'}, wanted multipart/form-data with a file"
        raise ApiError(415, message)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "a form is sent as it is, without Content-Encoding")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise ApiError(400, "Content-Type names no boundary of 1 to 70 characters; let your client write the form")
    return boundary


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ApiError(400, f"{what} is no UTF-8; send texts in UTF-8") from None


def _too_large(limits: FileLimits) -> ApiError:
    return ApiError(413, f"the form has more than {limits.max_form_bytes} bytes; a file has {limits.max_bytes} at most")
