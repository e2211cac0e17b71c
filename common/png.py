"""PNG's chunks, see https://www.w3.org/TR/png-3."""

import struct
import zlib

SIGNATURE, IHDR = 8, 33  # Bytes up to the end of the signature, and of the first chunk.


def read_chunks(content):
    """Gives the chunks of a PNG file's content, bytes, in turn: (kind, data)."""
    at = SIGNATURE
    while at + 12 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + 8 + size]
        at += 12 + size


def insert_chunk(content, kind, data):
    """A PNG file's content with one chunk more, ahead of its pixels."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content[:IHDR] + chunk + content[IHDR:]
