"""A batch's bytes, inflated only as far as they are asked for: a batch of a few kB in Kafka may hold a GB."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator

import cramjam
import lz4.frame
import zstandard
from kafka.errors import CorruptRecordError, UnsupportedCodecError

Read = Callable[[int], bytes]  # at most so many bytes more; none at the end

XERIAL = b"\x82SNAPPY\x00"  # how Java's clients begin a snappy stream: 16 bytes, then blocks with their lengths
MOST_SNAPPY_GAIN = 32  # snappy makes at most 64 bytes of three; a header that promises more is not one

_FAULTS = (EOFError, OSError, RuntimeError, struct.error, zlib.error, zstandard.ZstdError, cramjam.DecompressionError)


def inflating(codec: int, data: bytes) -> Read:
    """What reads the records of a batch; `codec` as the batch's header has it.

    CorruptRecordError where the bytes are not of that codec; UnsupportedCodecError where there is no such codec.
    """
    if codec == 0:
        return io.BytesIO(data).read
    if codec not in _CODECS:
        raise UnsupportedCodecError(f"expected a codec of {', '.join(map(str, _CODECS))}, received {codec}")
    try:
        read = _CODECS[codec](data)
    except _FAULTS as error:
        raise CorruptRecordError(f"expected bytes of codec {codec}, received {error}") from None

    def read_sound(size: int) -> bytes:
        try:
            return read(size)
        except _FAULTS as error:
            raise CorruptRecordError(f"expected bytes of codec {codec}, received {error}") from None

    return read_sound


def _gzip(data: bytes) -> Read:
    return gzip.GzipFile(fileobj=io.BytesIO(data)).read


def _lz4(data: bytes) -> Read:
    frame = lz4.frame.LZ4FrameDecompressor()
    given = iter((data,))
    return lambda size: b"" if frame.eof else frame.decompress(next(given, b""), max_length=size)


def _zstd(data: bytes) -> Read:
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read


def _snappy(data: bytes) -> Read:
    blocks = _blocks(data) if data.startswith(XERIAL) else iter((data,))
    held = io.BytesIO()

    def read(size: int) -> bytes:
        nonlocal held
        while not (piece := held.read(size)):
            if (block := next(blocks, None)) is None:
                return b""
            if cramjam.snappy.decompress_raw_len(block) > MOST_SNAPPY_GAIN * len(block):
                raise CorruptRecordError("expected a snappy block of the length in its header")
            held = io.BytesIO(bytes(cramjam.snappy.decompress_raw(block)))
        return piece

    return read


def _blocks(data: bytes) -> Iterator[bytes]:
    at = 16
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)
        if size < 0:
            raise CorruptRecordError(f"expected the length of a snappy block, received {size}")
        yield data[at + 4 : (at := at + 4 + size)]


_CODECS: dict[int, Callable[[bytes], Read]] = {1: _gzip, 2: _snappy, 3: _lz4, 4: _zstd}
