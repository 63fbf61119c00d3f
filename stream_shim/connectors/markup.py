"""XML from outside, parsed in a process of its own with little memory and time, which gives back plain JSON.

Neither of its parsers can be bounded from within: 200 kB of line ends before the root, or of an author's name, take
feedparser minutes, and a long namespace times many names takes ElementTree what memory there is. Neither fetches
entities from elsewhere, and expat limits what those of the document itself may grow to.
"""

import json
import re
import resource
import subprocess
import sys
from io import BytesIO
from typing import Any

MEMORY_BYTES = 1024 * 1024 * 1024  # of address space, of which the interpreter takes a fifth
SECONDS = 20
NO_XML, BEYOND = 3, 4  # exit codes
LINKS = ("link", "href", "url", "comments", "wfw_comment", "wfw_commentrss", "license")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|$")
_RELATIVE_IN_HTML = re.compile(r"""(?:href|src)=["'](?![A-Za-z][A-Za-z0-9+.-]*:)""")
_DECLARED = re.compile(rb"<!ENTITY\s+([^\s%]+)\s")
_LITERAL = re.compile(rb"<!\[CDATA\[.*?\]\]>|<!--.*?-->", re.DOTALL)
_ENTITY = re.compile(rb"&([^\s#&;<>]{1,100});")
_OF_XML = {b"amp", b"lt", b"gt", b"quot", b"apos"}
_ABOUT_THE_DOCUMENT = "{http://www.w3.org/2001/XMLSchema-instance}"  # xsi:schemaLocation, xsi:type


def parse(kind: str, body: bytes, *, most: int, path: str) -> Any:
    """What `_feed` or `_elements` finds at a path, called in a process that has nothing of this one's but the body.

    ValueError where the body is none; BeyondBounds where the process came to its limits, or found too much.
    """
    from tidemark.bounded import BeyondBounds, refuse_too_many

    beyond = BeyondBounds(f"XML that takes its parser more than {MEMORY_BYTES >> 20} MB or {SECONDS} s, or gives more")
    command = [sys.executable, "-I", __file__, kind, str(most), path]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=SECONDS, env={}, check=False)
    except subprocess.TimeoutExpired:
        raise beyond from None
    if done.returncode == NO_XML:
        raise ValueError(done.stderr.decode())
    if done.returncode == BEYOND or done.returncode < 0:
        raise beyond
    if done.returncode:
        raise ValueError(f"its parser ended with {done.returncode}: {done.stderr.decode().strip()[-200:]}")
    refuse_too_many(done.stdout, (b",", b"{", b"["), most)
    return json.loads(done.stdout)


def main(kind: str, most: str, path: str) -> int:
    """The process: the body on standard input, what was found on standard output, its size at most `most`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    body = sys.stdin.buffer.read()
    try:
        found = json.dumps(_feed(body, path) if kind == "feed" else _elements(body, path)).encode()
    except (MemoryError, RecursionError):
        return BEYOND
    except (SyntaxError, LookupError, ValueError) as error:  # ElementTree's ParseError is a SyntaxError
        sys.stderr.write(str(error))
        return NO_XML
    if len(found) > int(most):
        return BEYOND
    sys.stdout.buffer.write(found)
    return 0


def _feed(body: bytes, base: str) -> dict[str, Any]:
    """What feedparser says of a feed in UTF-8: `version`, empty where it is none, and pairs of an entry as it stands.

    The other of each pair is the entry with its links, in its texts too, absolute: `base` is where the feed was.
    """
    import feedparser

    utf_8 = {"content-type": "application/xml; charset=utf-8"}  # it looks no further for a charset
    parsed = feedparser.parse(BytesIO(body), response_headers=utf_8)  # bare bytes could be the name of a file
    entries = whole = [_plain(entry) for entry in parsed.entries]
    if base and _is_relative(entries):
        there = {**utf_8, "content-location": base}
        whole = [_plain(entry) for entry in feedparser.parse(BytesIO(body), response_headers=there).entries]
    if parsed.version.startswith("atom"):
        for entry in [*entries, *whole]:
            _drop_invented_link(entry)
    return {"version": parsed.version, "entries": list(zip(entries, whole, strict=True))}


def _drop_invented_link(entry: dict[str, Any]) -> None:
    """Of an Atom entry without a link feedparser makes one of its id, as it may of an RSS item's guid."""
    if entry.get("guidislink") and entry.get("link") not in [one.get("href") for one in entry.get("links", [])]:
        entry.pop("link", None)
        entry["guidislink"] = False


def _is_relative(value: Any, name: str = "") -> bool:
    """Whether an entry holds a link that is relative: itself, or in a text of HTML."""
    if isinstance(value, dict):
        return any(_is_relative(inner, key) for key, inner in value.items())
    if isinstance(value, list):
        return any(_is_relative(inner, name) for inner in value)
    if not isinstance(value, str):
        return False
    return not _ABSOLUTE.match(value) if name in LINKS else bool(_RELATIVE_IN_HTML.search(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if not str(key).endswith("_parsed")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _elements(body: bytes, path: str) -> dict[str, list[Any]]:
    """The elements at `path` (root.element) of a document in UTF-8, by names without their namespaces.

    `records` are pairs: which of `above` an element stands in, and its fields. `above` are lists of (name, name with
    its element's, value): the fields of the elements above, the nearest first.
    """
    from xml.etree import ElementTree

    _refuse_undeclared(body)
    root = ElementTree.fromstring(body, ElementTree.XMLParser(encoding="utf-8"))
    first, *steps = [_local(step.replace(":", "}")) for step in path.split(".")]
    if _local(root.tag) != first:
        raise LookupError(f"the root is {_local(root.tag)}, expected {first}")
    found: list[tuple[int, Any]] = [(0, root)]
    above: list[list[Any]] = [[]]
    for number, step in enumerate(steps, start=1):
        inner = []
        for at, element in found:
            children = [child for child in element if _local(child.tag) == step]
            if children:
                fields = _fields(element, besides=step)
                names = [(name, f"{_local(element.tag)}.{name}", value) for name, value in fields.items()]
                above.append(names + above[at])
                inner += [(len(above) - 1, child) for child in children]
        if not inner and number < len(steps):  # no record of the last step is an empty list
            raise LookupError(f"no {step!r} at {'.'.join([first, *steps[: number - 1]])} but {_inside(found)}")
        found = inner
    return {"above": above, "records": [(at, _fields(element)) for at, element in found]}


def _refuse_undeclared(body: bytes) -> None:
    """ValueError for what a DTD elsewhere declares: expat leaves it out of attributes, so that `1&nbsp;2` is 12."""
    if b"<!DOCTYPE" not in body:
        return  # it says itself what is undeclared
    found = {*_ENTITY.findall(_LITERAL.sub(b"", body))} - {*_DECLARED.findall(body)} - _OF_XML
    if found:
        raise ValueError(f"the entity &{min(found).decode()};, which the document itself does not declare")


def _inside(found: list[tuple[int, Any]]) -> str:
    names = list(dict.fromkeys(_local(child.tag) for _, element in found for child in element))
    return f"elements {', '.join(map(repr, names[:10]))}" if names else "no element"


def _fields(element: Any, besides: str = "") -> dict[str, Any]:
    """An element's fields: its attributes, the texts and attributes of its children, its own text as `value`.

    Of a child's attribute the name is child.attribute, of a grandchild child.grandchild; what is there more than once
    is a list. A <Value> with `concept` or `id` and `value` (SDMX) is a field of that name. `besides` is what records
    are called: of an element above them, they and what is deep in their siblings are left out.

    A text that goes on after a child is {"mixed": all of it}: what its first part says is not what the whole says.
    """
    fields: dict[str, Any] = {}
    for name, value in element.attrib.items():
        if not name.startswith(_ABOUT_THE_DOCUMENT):
            _put(fields, _local(name), value)
    below: list[tuple[Any, Any]] = [(child, None) for child in reversed(element) if _local(child.tag) != besides]
    while below:
        child, outer = below.pop()
        name = (_local(child.tag), outer)
        if pair := _pair(child):
            _put(fields, *pair)
        elif not (besides and outer):
            _put_all(fields, child, name)
        if not (besides and outer):
            below += [(inner, name) for inner in reversed(child)]
    own = _own(element)
    if own and not (besides and isinstance(own, dict)):  # what stands between records says nothing of one
        _put(fields, "text" if "value" in fields else "value", own)
    return fields


def _own(element: Any) -> str | dict[str, str]:
    """An element's own text, of one that holds others too: {"mixed": with them} where it goes on after one of them."""
    own = (element.text or "").strip()
    if not any((child.tail or "").strip() for child in element):
        return own
    parts = [element.text or ""]
    for child in element:
        name, inner = _local(child.tag), "…" if len(child) else child.text or ""
        parts += [f"<{name}>{inner}</{name}>" if inner else f"<{name}/>", child.tail or ""]
    return {"mixed": "".join(parts).strip()}


def _put_all(fields: dict[str, Any], child: Any, name: Any) -> None:
    """A child's attributes, and its text."""
    for attribute, value in child.attrib.items():
        if not attribute.startswith(_ABOUT_THE_DOCUMENT):
            _put(fields, _dotted((_local(attribute), name)), value)
    if own := _own(child):
        _put(fields, _dotted(name), own if len(child) else child.text)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    if name not in fields:
        fields[name] = value
    elif isinstance(fields[name], list):
        fields[name].append(value)
    else:
        fields[name] = [fields[name], value]


def _pair(child: Any) -> tuple[str, str] | None:
    concept = child.get("concept") or child.get("id")
    if _local(child.tag) != "Value" or not concept or "value" not in child.keys():  # noqa: SIM118 (it is no dict)
        return None
    return concept, child.get("value")


def _dotted(name: Any) -> str:
    parts = []
    while name:
        part, name = name
        parts.append(part)
    return ".".join(reversed(parts))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
