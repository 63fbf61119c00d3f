"""Write the files of a generated session so that the same content gives the same bytes."""

import gzip
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it; one that ends in .gz is packed, without a time in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = text.encode()
    path.write_bytes(gzip.compress(body, mtime=0) if path.suffix == ".gz" else body)
