"""Bytes from outside, opened and parsed within bounds: what is beyond one is a sentence, never memory.

A parsed value takes some hundred bytes however short it was, so values are bounded too, by the same setting: one for
every `BYTES_A_VALUE` bytes of it. They are counted by the marks that part them before anything is parsed.
"""

import codecs
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

VARIABLE = "TIDEMARK_HTTP_BYTES"
MOST_BYTES = 32 * 1024 * 1024  # its default: twenty times the ECB's whole history, three times FRED's largest page
BYTES_A_VALUE = 32
MOST_DEPTH = 100  # containers in containers; what goes deeper is no data, and exhausts the stack of who encodes it
MOST_ENTRIES = 100  # of a zip's directory, which is read whole before its one file is
STEP = 64 * 1024  # bytes decoded at once
# What stands where JSON has a value, and is none: Python's, R's and MATLAB's writers put it there. So are integers that
# Python does not take; each text is matched whole, so that what is in one is left alone.
_NO_JSON = re.compile(
    rb"""("(?:[^"\\]++|\\.?)*+"?+)|(?<![\w.+-])([+-]?(?:nan|inf(?:inity)?)|-?[0-9]{4300,}+)(?![\w.])""",
    re.DOTALL | re.IGNORECASE,
)


# An escape in a JSON text; the group is half of a surrogate pair without the other.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


class BeyondBounds(ValueError):
    """Bytes that stand for more than is allowed; the message says how much that is, and which variable allows more."""


def too_large(what: str, most: int) -> BeyondBounds:
    """The sentence about a size."""
    return BeyondBounds(f"{what} of more than {most:,} bytes ({VARIABLE} allows more)")


def unzipped(body: bytes, most: int = MOST_BYTES) -> bytes:
    """The one file of a zip, whatever size its directory declares. ValueError where there is no such zip."""
    if body.count(b"PK\x01\x02") > MOST_ENTRIES:  # each entry of the directory begins so
        raise BeyondBounds(f"a zip of more than {MOST_ENTRIES} files")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            (entry,) = archive.infolist()
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile bounds no other
                raise ValueError("it is neither stored nor deflated")
            with archive.open(entry) as file:
                return _whole(file, "a zip's file", most)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(str(error)) from None  # RuntimeError: it is encrypted


def _whole(file: IO[bytes], what: str, most: int) -> bytes:
    parts, size = [], 0
    while part := file.read(STEP):
        size += len(part)
        if size > most:
            raise too_large(what, most)
        parts.append(part)
    return b"".join(parts)


def csv_text(body: bytes, most: int = MOST_BYTES, delimiter: str = ",") -> str:
    """The text of a UTF-8 CSV whose cells are not too many."""
    refuse_too_many(body, (delimiter.encode(), b"\n", b"\r"), most)
    return body.decode("utf-8-sig")


def json_value(
    body: bytes, most: int = MOST_BYTES, type: Any = Any, float_hook: Callable[[str], Any] | None = None
) -> Any:
    """The value of a UTF-8 JSON text. ValueError where it is none (msgspec's own), or it is too deep or too many.

    A bare NaN or Infinity, which JSON does not have, is the text that it reads, and so is an integer of more digits
    than Python takes: they cost themselves and not the rest; so does half of a surrogate pair, which is U+FFFD.
    `float_hook` makes the numbers that are no integers.
    """
    refuse_too_many(body, (b",", b"{", b"["), most)
    too_deep = BeyondBounds(f"JSON nested deeper than {MOST_DEPTH}")
    decode = msgspec.json.Decoder(type, float_hook=float_hook).decode
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        try:
            value = decode(body)
        except msgspec.DecodeError:  # a ValidationError too, of an integer out of range
            mended = _NO_JSON.sub(_mended, body)
            if mended == body:
                raise
            value = decode(mended)
    except RecursionError:
        raise too_deep from None
    level, depth = [value], 0
    while level := [inner for outer in level for inner in _containers(outer)]:
        depth += 1
        if depth > MOST_DEPTH:
            raise too_deep
    return value


def _mended(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        return b'"%b"' % found[2]
    if b"\\" not in found[1]:
        return found[1]
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], found[1])


def _containers(outer: Any) -> Iterator[Any]:
    """The lists and objects directly in one."""
    if isinstance(outer, list | dict):
        for inner in outer.values() if isinstance(outer, dict) else outer:
            if isinstance(inner, list | dict):
                yield inner


def refuse_too_many(body: bytes, marks: tuple[bytes, ...], most: int) -> None:
    """BeyondBounds where the bytes hold more of the marks that part values than `most` bytes allow values."""
    values = most // BYTES_A_VALUE
    if sum(map(body.count, marks)) > values:
        raise BeyondBounds(f"more than {values:,} values ({VARIABLE} allows one for {BYTES_A_VALUE} of its bytes)")


def gzip_lines(raw: IO[bytes], most: int = MOST_BYTES) -> Iterator[bytes]:
    """The lines of a gzip file. ValueError where a line is too long, or the file broken or cut short."""
    try:
        with gzip.open(raw) as lines:
            while line := lines.readline(most + 1):
                if len(line) > most:
                    raise too_large("a line", most)
                yield line
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ValueError(f"no whole gzip file ({error})") from None
