"""Making a PNG, and looking into one, without any library beyond the standard one."""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int) -> bytes:
    """One of 8-bit RGB, in which no two columns are alike."""
    rows = b"".join(b"\0" + bytes(range(3 * width)) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def rows(content: bytes) -> list[list[tuple[int, ...]]]:
    """The pixels, row by row, of one whose rows are filtered by what is left or above of them."""
    assert content.startswith(SIGNATURE)
    width, height, data = 0, 0, b""
    at = len(SIGNATURE)
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        body = content[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 2)
        elif kind == b"IDAT":
            data += body
        at += 12 + length
    plain = zlib.decompress(data)
    above = bytes(3 * width)
    found = []
    for number in range(height):
        kind, *line = plain[number * (3 * width + 1) : (number + 1) * (3 * width + 1)]
        assert kind in (0, 1, 2)
        for place, value in enumerate(line):
            other = (
                line[place - 3] if kind == 1 and place >= 3 else above[place] if kind == 2 else 0
            )
            line[place] = (value + other) % 256
        above = bytes(line)
        found.append([tuple(line[3 * x : 3 * x + 3]) for x in range(width)])
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
