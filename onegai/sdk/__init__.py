"""What do func files and plain Python import?

    from onegai.sdk import service

    voicevox = service("voicevox")     # lazy: no I/O here

    def raw(args: Speech) -> bytes:
        return voicevox.post("/synthesis", json=...).content

``async_service`` is the same for ``async def`` functions. ``File`` is an argument that is a file:
``audio: File`` in the model of the arguments; and a file to give back: ``File(wav, "a.wav")``.
"""

from onegai.files.file import File
from onegai.functions.funcfiles import install_finder
from onegai.handles import context
from onegai.handles.context import config
from onegai.handles.handle import AsyncHandle, Handle, async_service, service
from onegai.handles.http import Response
from onegai.sdk import local

__all__ = ["AsyncHandle", "File", "Handle", "Response", "async_service", "config", "service"]

context.outside = local
install_finder()
