"""What do func files and plain Python import?

    from onegai.sdk import service

    voicevox = service("voicevox")     # lazy: no I/O here

    def raw(args: Speech) -> bytes:
        return voicevox.post("/synthesis", json=...).content

``async_service`` is the same for ``async def`` functions. ``app_functions("space")`` has the
functions that an app tells of itself: ``space.predict(text="…")``.
``File`` is an argument that is a file:
``audio: File`` in the model of the arguments; and a file to give back: ``File(wav, "a.wav")``.
``progress(0.4, "step 4 of 10")`` tells whoever reads the call's events how far it is.
``@without_service`` is for functions that have no need of the app's service: it is not started.
"""

from onegai.files.file import File
from onegai.functions.direct import app_functions
from onegai.functions.function import without_service
from onegai.functions.imports import install_finder
from onegai.handles import context
from onegai.handles.context import config, progress
from onegai.handles.handle import AsyncHandle, Handle, async_service, service
from onegai.handles.http import Response
from onegai.sdk import local

__all__ = [
    "AsyncHandle",
    "File",
    "Handle",
    "Response",
    "app_functions",
    "async_service",
    "config",
    "progress",
    "service",
    "without_service",
]

context.outside = local
install_finder()
