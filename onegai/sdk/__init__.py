"""What a func file imports: handles to services, and the app's own settings.

    from onegai.sdk import service

    voicevox = service("voicevox")     # lazy: no I/O here

    def raw(args: Speech) -> bytes:
        return voicevox.post("/synthesis", json=...).content

``async_service`` is the same for ``async def`` functions.
"""

from onegai.sdk.context import config
from onegai.sdk.handles import AsyncHandle, Handle, async_service, service
from onegai.sdk.http import Response

__all__ = ["AsyncHandle", "Handle", "Response", "async_service", "config", "service"]
