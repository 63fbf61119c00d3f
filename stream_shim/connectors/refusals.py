"""What the types of sources.yml cannot say: addresses, secrets that stand in the file, placeholders, lists.

Each function raises WrongValue with the keys to what is wrong; none shows a value that may be a secret.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from tidemark.http import on_loopback
from tidemark.secrets import VARIABLE
from tidemark.typed_yaml import Step, WrongValue

HTTP, SOCKET = ("http", "https"), ("ws", "wss")
LEAST_POLL_SECONDS, LEAST_LOOPBACK_SECONDS = 1.0, 0.01

PLACEHOLDER = re.compile(r"(?<!\$)\{([^{}]*)\}")
_NAMED = re.compile(r"(?<!\$)\{(\w+)\}")  # in a body, which has braces of its own
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Names without what is neither letter nor digit. The first are secrets wherever they stand; the others in a URL or a
# header, where a parameter of such a name says who asks.
_SECRET = re.compile(
    r".*(apikey|apisecret|secret|password|passwd|passphrase|passcode|privatekey|accesskey|accesstoken|authtoken"
    r"|registrationkey|subscriptionkey|licen[cs]ekey|servicekey|crtfckey|confmkey|clientkey|consumerkey|userkey|sharedkey"
    r"|bearer|credential).*"
)
_SECRET_OF_A_REQUEST = re.compile(
    r"(auth|authorization|proxyauthorization|cookie|token|pass|pwd|sig|signature|sessionid|userid|appid|appkey|clientid"
    r"|.*token|.*authkey)"
)
_OF_A_HEADER = re.compile(r".*(token|key|auth).*")
_SCHEME_OF_A_HEADER = re.compile(r"\s*(bearer|basic|token|apikey)\s+\S+", re.IGNORECASE)
# What fills a secret's place, alone: of a header also behind its scheme, or as values of its names. A text of fewer
# characters than any key, as a cookie's `lang=en`, may stand beside it.
_SCHEME = r"(?:[A-Za-z][A-Za-z-]*\s+)?"
_OF_A_NAME = rf"[\w.-]+=(?:\"?{VARIABLE.pattern}\"?|[\w-]{{0,5}})"
_FILLED = re.compile(rf"{_SCHEME}{VARIABLE.pattern}")
_FILLED_HEADER = re.compile(
    rf"{_SCHEME}(?:{VARIABLE.pattern}(?::{VARIABLE.pattern})?|{_OF_A_NAME}(?:\s*[;,]\s*{_OF_A_NAME})*;?)"
)
# What the client sets itself, by the request: another value breaks the connection, or the answer's body.
_OF_THE_CLIENT = re.compile(
    r"host|connection|keep-alive|proxy-connection|te|trailer|transfer-encoding|upgrade|expect|content-length"
    r"|content-encoding|accept-encoding|range|if-.*"
)
_NO_REQUESTS = {
    "value": "it would be that of every record without one; a value comes from the source alone, also by `rename`",
    "source_system": "that is a key of the entry itself",
}
_LEAST_KEY = 6  # characters: a parameter `key` is as often the key of a series, which is shorter or has a dot


def check_url(url: str, schemes: Collection[str], *path: Step) -> SplitResult:
    """The URL's parts. It has a host, one of the schemes, and no secret that stands in the file."""
    plain = VARIABLE.sub("0", PLACEHOLDER.sub("0", url))
    if re.search(r"[\s\x00-\x1f\x7f\\]", plain):
        raise WrongValue("expected a URL, received one with a blank, a control character or a backslash in it", *path)
    try:
        parts = urlsplit(plain)
        _ = parts.port
    except ValueError:  # its text may hold a part of a password
        raise WrongValue("expected a URL, received one that is none", *path) from None
    if not VARIABLE.match(url):  # else the variable has the scheme
        if parts.scheme not in schemes or not url.split(":", 1)[1].startswith("//"):
            received = f"`{parts.scheme}:`" if parts.scheme and "." not in parts.scheme else "no scheme"
            wanted = " or ".join(f"{scheme}://" for scheme in schemes)
            raise WrongValue(f"expected a URL that begins with {wanted}, received {received}", *path)
        if not parts.hostname:
            raise WrongValue("expected a URL with a host, received none", *path)
    _refuse_secrets_in(url, path)
    return parts


def _refuse_secrets_in(url: str, path: Sequence[Step]) -> None:
    parts = urlsplit(VARIABLE.sub("${x}", url))
    user, at, _ = parts.netloc.rpartition("@")
    if at and not VARIABLE.fullmatch(user.rpartition(":")[2]):
        raise WrongValue(
            "expected no user or password in the URL but as ${NAME}, the environment's value, received a literal", *path
        )
    for name, value in _parameters(parts):
        if VARIABLE.fullmatch(value):
            continue
        if _is_secret(name) or (_bare(name) == "key" and _may_be_a_key(value)):
            raise WrongValue(
                f"expected the parameter `{name}` of the URL as ${{NAME}}, the environment's value, received "
                f"{_received(value)}",
                *path,
            )


def _parameters(parts: SplitResult) -> Iterable[tuple[str, str]]:
    """Of the query, the fragment and the path; a semicolon parts them too."""
    of_path = (segment.partition(";")[2] for segment in parts.path.split("/"))
    for text in (parts.query, parts.fragment, *of_path):
        yield from parse_qsl(text.replace(";", "&"))


def _may_be_a_key(value: str) -> bool:
    return len(value) >= _LEAST_KEY and "." not in value and not PLACEHOLDER.search(value)


def _received(value: str) -> str:
    """What stands in a secret's place instead of ${NAME} alone, without showing it."""
    if PLACEHOLDER.search(value):
        return "a placeholder, whose value would stand in `requests` and go along with every record"
    return "a literal beside it" if VARIABLE.search(value) else "a literal"


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_secret(name: str) -> bool:
    bare = _bare(name)
    return bool(_SECRET.fullmatch(bare) or _SECRET_OF_A_REQUEST.fullmatch(bare))


def check_headers(headers: Mapping[str, str]) -> None:
    """Names and values that HTTP has, and no secret that stands in the file."""
    before: set[str] = set()
    for name, value in headers.items():
        if name.lower() in before:
            raise WrongValue("expected each header once, received it again in other letters", "headers", name)
        before.add(name.lower())
        if not _HEADER_NAME.fullmatch(name):
            raise WrongValue("expected the name of an HTTP header, received another text", "headers", name)
        if not value.isascii() or not value.isprintable():
            raise WrongValue("expected ASCII text in one line, as HTTP sends it, received another", "headers", name)
        if _OF_THE_CLIENT.fullmatch(name.lower()):
            raise WrongValue("expected no header that the request has by itself: leave it out", "headers", name)
        named = _is_secret(name) or _OF_A_HEADER.fullmatch(_bare(name))
        filled = VARIABLE.search(value) and _FILLED_HEADER.fullmatch(value)
        if (named or _SCHEME_OF_A_HEADER.fullmatch(value)) and not filled:
            raise WrongValue(
                f"expected `{name}` as ${{NAME}}, the environment's value, received {_received(value)}", "headers", name
            )
        refuse_placeholders(value, [], "headers", name)


def check_placeholders(url: str, requests: Sequence[Mapping[str, str]]) -> None:
    """Every {name} in the URL is given by every request."""
    for number, request in enumerate(requests):
        keys = ("requests", number) if request else ("url",)
        refuse_placeholders(url, request, *keys)


def refuse_placeholders(text: str, given: Collection[str], *path: Step) -> None:
    """Of what stands in braces there is nothing but ${NAME} and the names that are given."""
    _refuse_unfilled(PLACEHOLDER, text, given, *path)
    if re.search(r"[{}]", PLACEHOLDER.sub("", VARIABLE.sub("", text))):
        raise WrongValue("expected each brace in a pair, as {name}, received one alone", *path)


def _refuse_unfilled(placeholder: re.Pattern[str], text: str, given: Collection[str], *path: Step) -> None:
    rest = VARIABLE.sub("", text)
    if "${" in rest:
        raise WrongValue("expected ${NAME} with a name of letters, digits and _, received another after `${`", *path)
    for name in placeholder.findall(rest):
        if name not in given:
            has = f"the request has {', '.join(given)}" if given else "no request gives it"
            raise WrongValue(f"expected a value for each {{name}}, {{{name}}} is unfilled: {has}", *path)


def check_requests(requests: Sequence[Mapping[str, str]]) -> None:
    """Requests that differ; their values go along with every record: none may be a secret, or the source's own word."""
    for number, request in enumerate(requests):
        if request in requests[:number]:
            raise WrongValue("expected each request once, received it again", "requests", number)
        for name, value in request.items():
            if name in _NO_REQUESTS:
                raise WrongValue(f"expected no `{name}`: {_NO_REQUESTS[name]}", "requests", number, name)
            if _SECRET.fullmatch(_bare(name)) or VARIABLE.search(value):
                raise WrongValue(
                    "expected no secret: a request's values go along with every record; write ${NAME} into `url` or "
                    "`headers`",
                    "requests", number, name,
                )  # fmt: skip


def check_body(body: Any, requests: Sequence[Mapping[str, str]]) -> None:
    """It is JSON, every {name} in its texts is given by every request, and no secret stands in the file.

    Other braces are the text's own, as GraphQL has them.
    """
    _refuse_beyond_json(body, "body")
    for path, text in _texts_and_numbers(body, "body"):
        for request in requests:
            _refuse_unfilled(_NAMED, text, request, *path)
        named = next((key for key in reversed(path) if isinstance(key, str)), "")
        if _is_secret(named) and text and not _FILLED.fullmatch(text):
            raise WrongValue(
                f"expected `{named}` as ${{NAME}}, the environment's value, received {_received(text)}", *path
            )


def _refuse_beyond_json(value: Any, *path: Step) -> None:
    """YAML has more than JSON: numbers that are none, dates, bytes, sets, keys that are no text."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise WrongValue(f"expected text as a key, as JSON has it, received {name!r}: quote it", *path)
            _refuse_beyond_json(inner, *path, name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _refuse_beyond_json(inner, *path, number)
    elif isinstance(value, float) and not math.isfinite(value):
        raise WrongValue(f"expected what JSON can hold, received the number {value}", *path)
    elif isinstance(value, str) and not value.isascii() and value != value.encode(errors="replace").decode():
        raise WrongValue("expected what JSON can hold, received a text with half of a surrogate pair", *path)
    elif not isinstance(value, str | int | float | None):
        received = f"a {type(value).__name__}"
        raise WrongValue(f"expected what JSON can hold, received {received}: quote it if it is text", *path)


def check_interval(every_seconds: float, host: str | None) -> None:
    """A source of others is not asked more often than once a second."""
    least = LEAST_LOOPBACK_SECONDS if on_loopback(host or "") else LEAST_POLL_SECONDS
    if every_seconds < least:
        raise WrongValue(f"expected a number of at least {least:g}, received {every_seconds:g}", "every_seconds")


def check_list(names: Sequence[str], *path: Step) -> None:
    """Each once."""
    for number, name in enumerate(names):
        if name in names[:number]:
            raise WrongValue(f"expected each once, received {name!r} again", *path, number)


def refuse_secrets_among(options: Any, *path: Step) -> None:
    """A client's options are no place for what belongs under `credentials`."""
    if isinstance(options, Mapping):
        for name, value in options.items():
            if isinstance(value, str) and value and _is_option_secret(str(name)):
                raise WrongValue("expected no secret here: write it as ${NAME} under `credentials`", *path, str(name))
            if isinstance(value, str) and VARIABLE.search(value):
                raise WrongValue("expected no ${NAME}: it is not filled here", *path, str(name))
            refuse_secrets_among(value, *path, str(name))
    elif isinstance(options, list):
        for number, value in enumerate(options):
            refuse_secrets_among(value, *path, number)


def _is_option_secret(name: str) -> bool:
    return bool(_SECRET.fullmatch(_bare(name))) or _bare(name) in ("token", "authorization", "uid", "login")


def texts(value: Any, *path: Step) -> Iterable[tuple[tuple[Step, ...], str]]:
    """Every text in a value of built-in types, with the keys to it."""
    return ((keys, one) for keys, one in _leaves(value, *path) if isinstance(one, str))


def _texts_and_numbers(value: Any, *path: Step) -> Iterable[tuple[tuple[Step, ...], str]]:
    """The same, and each number as text: a key may consist of digits."""
    for keys, one in _leaves(value, *path):
        if isinstance(one, str | int | float) and not isinstance(one, bool):
            yield keys, str(one)


def _leaves(value: Any, *path: Step) -> Iterable[tuple[tuple[Step, ...], Any]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _leaves(one, *path, str(name))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from _leaves(one, *path, number)
    else:
        yield path, value
