"""What kind of bytes these are, told from their first ones.

Signatures after the WHATWG MIME Sniffing Standard and the formats' own documents; names as
registered with IANA where there is one.
"""

from __future__ import annotations

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"glTF", "model/gltf-binary"),
)
_RIFF = {b"WAVE": "audio/wav", b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}
_ISO_BRANDS = {b"M4A ": "audio/mp4", b"avif": "image/avif", b"heic": "image/heic"}


def sniff(data: bytes) -> str:
    """The media type of ``data``; text/plain for UTF-8 text, else application/octet-stream."""
    for prefix, media_type in _PREFIXES:
        if data.startswith(prefix):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] in _RIFF:
        return _RIFF[data[8:12]]
    if data[4:8] == b"ftyp":
        return _ISO_BRANDS.get(data[8:12], "video/mp4")
    # An MPEG audio frame without a tag: 11 bits of sync, layer not 0 (ISO/IEC 11172-3).
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "audio/mpeg"
    return "text/plain; charset=utf-8" if _is_text(data) else "application/octet-stream"


def _is_text(data: bytes) -> bool:
    head = data[:4096]
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in two by the end of the sample is no proof against text.
        return len(data) > len(head) and error.start >= len(head) - 3
    return True
