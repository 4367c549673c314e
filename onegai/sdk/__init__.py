"""What a func file imports: handles to services, and the app's own settings.

    from onegai.sdk import service

    voicevox = service("voicevox")     # lazy: no I/O here

    def raw(args: Speech) -> bytes:
        return voicevox.post("/synthesis", json=...).content

``async_service`` is the same for ``async def`` functions. ``File`` is an argument that is a file:
``audio: File`` in the model of the arguments; and a file to give back: ``File(wav, "a.wav")``.
"""

from onegai.files import File
from onegai.sdk.context import config
from onegai.sdk.handles import AsyncHandle, Handle, async_service, service
from onegai.sdk.http import Response

__all__ = ["AsyncHandle", "File", "Handle", "Response", "async_service", "config", "service"]
