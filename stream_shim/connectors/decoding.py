"""Bytes of an answer as text, the same way for every format: the charset is decided once.

What it cannot decode is a sentence, never mojibake.

In this order: a byte order mark, which is taken off; `encoding` of the entry, a person's word against a wrong server;
the charset of Content-Type; what the document says itself, an XML declaration, or zeros beside its first characters
(UTF-16 and UTF-32 without a mark); UTF-8. So say RFC 7303 for XML, where Content-Type comes before the declaration, and
RFC 7111 for CSV. JSON is UTF-8 by RFC 8259, which knows no charset: it counts there for what is not UTF-8.

Names are what the web means by them (the WHATWG Encoding Standard): who says ISO-8859-1 sends Windows-1252, and who
says Shift_JIS sends Windows-31J, which hold all of the former and what their users type. ASCII alone stays what it is.
"""

import codecs
import email.message
import re
from functools import cache
from typing import Any, NamedTuple

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16's, with which it begins
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# By Python's name of a charset, the one that holds more and is meant.
_MEANT = {
    "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874", "shift_jis": "cp932",
    "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "big5": "big5hkscs",
}  # fmt: skip
_UNKNOWN_TO_PYTHON = {
    "x-sjis": "cp932", "windows-31j": "cp932", "x-gbk": "gb18030", "x-euc-jp": "euc_jp", "windows-874": "cp874",
    "x-mac-roman": "mac_roman", "unicode-1-1-utf-8": "utf-8", "unicode": "utf-16", "ucs-2": "utf-16",
    "iso-10646-ucs-2": "utf-16", "iso-8859-8-i": "iso8859-8",
}  # fmt: skip
# What is no text of any charset, by how it begins.
_PACKED = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "a zip, as an .xlsx is too", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz",
}  # fmt: skip
_NO_CHARSETS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"}
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,39}")
_DECLARATION = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
_ADVICE = "set `encoding:` of the entry to the charset that it has"
_FAR = 1024  # bytes within which an XML declaration ends


class Undecodable(ValueError):
    """The bytes are no text of the charset; the message names it, where it was named, and the place in the bytes."""


class Charset(NamedTuple):
    """Python's name of one, how the source wrote it, and where it was named."""

    codec: str
    label: str
    where: str


def codec(label: str) -> str:
    """Python's name of the charset that is meant by a label. LookupError where there is none."""
    label = label.strip()
    if not _LABEL.fullmatch(label):
        raise LookupError(label)
    name = codecs.lookup(_UNKNOWN_TO_PYTHON.get(label.lower(), label)).name
    if name in _NO_CHARSETS:
        raise LookupError(label)
    "a".encode(name)  # LookupError where it makes something else than text
    return _MEANT.get(name, name)


def text(body: bytes, format: str, content_type: str = "", encoding: str = "") -> str:
    """The body as text, without a byte order mark. `format` is json, csv or xml. Undecodable where it is none."""
    for start, what in _PACKED.items():
        if body.startswith(start):
            raise Undecodable(f"{what}, which is not opened here: set `url:` of the entry to what is not packed")
    for mark, name in _MARKS.items():
        if body.startswith(mark):
            return _decoded(body[len(mark) :], Charset(name, name, "its byte order mark"), len(mark))
    if encoding:
        return _decoded(body, _named(encoding, "`encoding` of the entry"))
    label, zeros = _charset_of(content_type), _by_zeros(body)
    if label and not (format == "json" and (zeros or _is_utf_8(body))):
        return _decoded(body, _named(label, "Content-Type"))
    if zeros:
        return _decoded(body, Charset(zeros, zeros, "by the zeros beside its first characters"))
    return _decoded(body, _declared(body) if format == "xml" else _UTF_8)


_UTF_8 = Charset("utf-8", "utf-8", "as no other charset is named")


def _is_utf_8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _charset_of(content_type: str) -> str:
    message = email.message.Message()
    message["Content-Type"] = content_type
    found = message.get_content_charset() or ""
    return found.split(",")[0].strip("\"' ")  # of a header that was sent twice the first


def _named(label: str, where: str) -> Charset:
    try:
        return Charset(codec(label), label, where)
    except (LookupError, ValueError):
        raise Undecodable(f"the charset {label[:40]!r} ({where}), which is not known: {_ADVICE}") from None


def _declared(body: bytes) -> Charset:
    """What an XML declaration says. One that can be read as ASCII is not in UTF-16, whatever .NET writes into it."""
    found = _DECLARATION.match(body[:_FAR])
    if not found:
        return _UTF_8
    charset = _named(found[1].decode(), "its XML declaration")
    return _UTF_8 if charset.codec.startswith(("utf-16", "utf-32")) else charset


def _by_zeros(body: bytes) -> str:
    """UTF-16 and UTF-32 whose first character is ASCII, as JSON's and XML's is; empty where it is neither."""
    first = [byte == 0 for byte in body[:4]]
    if first[:4] == [True, True, True, False]:
        return "utf-32-be"
    if first[:4] == [False, True, True, True]:
        return "utf-32-le"
    if first[:2] == [True, False]:
        return "utf-16-be"
    return "utf-16-le" if first[:2] == [False, True] else ""


def _more_of(name: str) -> str:
    """How the web decodes what Python's charset of that name lacks."""
    return {"euc_jp": "tidemark-euc-jp", "gb18030": "tidemark-gbk"}.get(name, "strict")


@cache
def _code_page(name: str) -> Any:
    """The characters of one of Windows': bytes of 80 to 9F that stand for nothing are the control characters there."""
    plain = (bytes([byte]).decode(name, "replace") for byte in range(256))
    lacking = (chr(byte) if 0x80 <= byte < 0xA0 else "\ufffe" for byte in range(256))
    return "".join(other if one == "\ufffd" else one for one, other in zip(plain, lacking, strict=True))


def _row_13(error: UnicodeError) -> tuple[str, int]:
    """NEC's row 13 of EUC-JP, ① and ㈱, is that of JIS X 0213."""
    pair, after = _lacking(error)
    if pair[:1] != b"\xad":
        raise error
    try:
        return pair.decode("euc_jisx0213"), after + 1
    except UnicodeDecodeError:
        raise error from None


def _euro(error: UnicodeError) -> tuple[str, int]:
    byte, after = _lacking(error)
    if byte[:1] != b"\x80":
        raise error
    return "€", after


def _lacking(error: UnicodeError) -> tuple[bytes, int]:
    """The two bytes at which it failed, and the place after the first."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.start + 2], error.start + 1


codecs.register_error("tidemark-euc-jp", _row_13)
codecs.register_error("tidemark-gbk", _euro)


def _decoded(body: bytes, charset: Charset, offset: int = 0) -> str:
    name = charset.codec
    if name in ("utf-16", "utf-32"):  # without a mark Python takes this machine's order of bytes
        found = _by_zeros(body)
        name = found if found.startswith(name) else f"{name}-le"
    try:
        if name.startswith("cp125") or name == "cp874":
            return codecs.charmap_decode(body, "strict", _code_page(name))[0]
        return body.decode(name, _more_of(name))
    except UnicodeDecodeError as error:
        at = error.start
        raise Undecodable(
            f"bytes that are no {charset.label} ({charset.where}) from byte {at + offset:,} on "
            f"({body[at : at + 4]!r}): {_ADVICE}"
        ) from None
