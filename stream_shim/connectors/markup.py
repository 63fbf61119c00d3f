"""XML from outside, parsed in a process of its own with little memory and time, which gives back plain JSON.

Neither of its parsers can be bounded from within: 200 kB of line ends before the root, or of an author's name, take
feedparser minutes, and a long namespace times many names takes ElementTree what memory there is. Neither fetches
entities from elsewhere, and expat limits what those of the document itself may grow to.
"""

import json
import resource
import subprocess
import sys
from io import BytesIO
from typing import Any

MEMORY_BYTES = 1024 * 1024 * 1024  # of address space, of which the interpreter takes a fifth
SECONDS = 20
NO_XML, BEYOND = 3, 4  # exit codes


def parse(kind: str, body: bytes, *, most: int, path: str = "") -> Any:
    """What `_feed` or `_elements` finds, called in a process that has nothing of this one's but the body.

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
        found = json.dumps(_feed(body) if kind == "feed" else _elements(body, path)).encode()
    except (MemoryError, RecursionError):
        return BEYOND
    except (SyntaxError, LookupError, ValueError) as error:  # ElementTree's ParseError is a SyntaxError
        sys.stderr.write(f"{type(error).__name__}: {error}")
        return NO_XML
    if len(found) > int(most):
        return BEYOND
    sys.stdout.buffer.write(found)
    return 0


def _feed(body: bytes) -> dict[str, Any]:
    """What feedparser says of a feed: `version`, empty where it is none, and its entries."""
    import feedparser

    parsed = feedparser.parse(BytesIO(body))  # bare bytes that are a file's name would be read as that file
    return {"version": parsed.version, "entries": [_plain(entry) for entry in parsed.entries]}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if not str(key).endswith("_parsed")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _elements(body: bytes, path: str) -> list[dict[str, str | None]]:
    """The elements at `path` (root.element): attributes, and the text of children that hold no other. No namespaces."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(body)
    first, *steps = path.split(".")
    if _local(root.tag) != first:
        raise LookupError(f"the root is {root.tag}")
    found = [root]
    for step in steps:
        found = [child for element in found for child in element if _local(child.tag) == step]
    return [
        {**{_local(name): value for name, value in element.attrib.items()},
         **{_local(child.tag): child.text for child in element if not len(child)}}
        for element in found
    ]  # fmt: skip


def _local(name: str) -> str:
    return name.rpartition("}")[2]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
