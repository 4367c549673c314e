"""What kind of file some bytes are, told from the bytes.

Patterns and the MP4, WebM and MP3 algorithms are those of the WHATWG MIME Sniffing standard
(https://mimesniff.spec.whatwg.org/, sections 6.1, 6.2), which writes ``audio/wave`` for what
everybody else calls ``audio/wav``. FLAC is RFC 9639; audio/ogg and video/ogg are RFC 5334.
"""

from __future__ import annotations

BINARY = "application/octet-stream"
HEAD = 1445
"""As many bytes as the standard asks a reader to keep for sniffing."""

_PREFIXES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"%PDF-", "application/pdf"),
)
_RIFF = ((b"WAVE", "audio/wav"), (b"WEBPVP", "image/webp"))
_OGG = (
    (b"OpusHead", "audio/ogg"),
    (b"\x01vorbis", "audio/ogg"),
    (b"\x7fFLAC", "audio/ogg"),
    (b"Speex   ", "audio/ogg"),
    (b"\x80theora", "video/ogg"),
)
_MP3_KBIT = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP25_KBIT = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_HERTZ = (44100, 48000, 32000)


def sniff(head: bytes) -> str:
    """Return the media type of a file that begins with head (HEAD bytes are enough)."""
    for prefix, media_type in _PREFIXES:
        if head.startswith(prefix):
            return media_type
    if head.startswith(b"RIFF"):
        return _first(_RIFF, head, 8)
    if head.startswith(b"OggS\0"):  # the first page: 27 bytes and its one-entry segment table
        kind = _first(_OGG, head, 28)
        return kind if kind != BINARY else "application/ogg"
    if head[4:8] == b"ftyp":
        return _mp4(head)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm" if _is_webm(head) else BINARY
    return "audio/mpeg" if _is_mp3(head) else BINARY


def _first(patterns: tuple[tuple[bytes, str], ...], head: bytes, offset: int) -> str:
    return next((kind for mark, kind in patterns if head.startswith(mark, offset)), BINARY)


def _mp4(head: bytes) -> str:
    size = int.from_bytes(head[:4], "big")
    if size < 12 or size % 4 or len(head) < size:
        return BINARY
    if head[8:12] in (b"M4A ", b"M4B "):
        return "audio/mp4"
    brands = [head[8:11]] + [head[at : at + 3] for at in range(16, size, 4)]
    return "video/mp4" if b"mp4" in brands else BINARY


def _is_webm(head: bytes) -> bool:
    at = head.find(b"\x42\x82", 4, 38)  # EBML DocType, then a length of 1 to 8 bytes
    if at < 0 or at + 2 >= len(head):
        return False
    length = 9 - head[at + 2].bit_length()
    return head[at + 2 + length :].lstrip(b"\0").startswith(b"webm")


def _is_mp3(head: bytes) -> bool:
    """Two frame headers in a row; one alone matches too much."""
    length = _mp3_frame(head, 0)
    return length > 0 and _mp3_frame(head, length) > 0


def _mp3_frame(head: bytes, at: int) -> int:
    """Length of the layer III frame at this offset, 0 if there is none."""
    if len(head) < at + 4 or head[at] != 0xFF or head[at + 1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[at + 1] >> 3 & 3, head[at + 1] >> 1 & 3
    bits, hertz = head[at + 2] >> 4, head[at + 2] >> 2 & 3
    if version == 1 or layer != 1 or bits in (0, 15) or hertz == 3:
        return 0
    first = version == 3  # MPEG 1; 2 is MPEG 2, 0 is MPEG 2.5
    rate = (_MP3_KBIT if first else _MP25_KBIT)[bits] * 1000
    sample_rate = _MP3_HERTZ[hertz] // (1 if first else 2 if version == 2 else 4)
    return (144 if first else 72) * rate // sample_rate + (head[at + 2] >> 1 & 1)
