"""The files that calls gave: kept on disk for an hour, for the links in answers."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from onegai.config import jsonfile, private
from onegai.errors import UnknownFile
from onegai.files import pieces
from onegai.files.file import File
from onegai.files.links import Links
from onegai.files.workspace import full_disk
from onegai.schema import FileForm

log = logging.getLogger(__name__)

SECONDS = 3600.0
TOTAL = 4 << 30
"""Bytes of all files together; beyond it the oldest go before their time."""
SWEEP_SECONDS = 60.0


@dataclass(frozen=True)
class StoredFile:
    """One file. ``made`` is Unix seconds."""

    id: str
    name: str
    media_type: str
    size: int
    made: float

    @property
    def url_path(self) -> str:
        """Where it is served, not quoted."""
        return f"/file/{self.id}/{self.name}"


class FileStore:
    """A folder of files, from any thread. An async context manager that removes the old ones."""

    def __init__(self, folder: Path, links: Links, *, total: int = TOTAL) -> None:
        self._folder = folder
        self._links = links
        self._total = total
        self._kept: dict[str, StoredFile] = {}
        self._lock = threading.Lock()
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._load)
        self._sweeping = asyncio.create_task(self._sweep_for_ever())
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping

    def keep(self, file: File, media_type: str = "") -> StoredFile:
        """A copy of the file, of this media type or the one it has. Raises DiskFull."""
        media_type = media_type or file.media_type
        kept = StoredFile(secrets.token_hex(16), file.name, media_type, file.size, time.time())
        folder = self._folder / kept.id
        try:
            with full_disk(folder):
                private.make_folder(folder)
                file.copy_to(private.make_file(folder / "content"))
                private.make_file(folder / "about.json").write_text(json.dumps(asdict(kept)))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self._kept[kept.id] = kept
        self.sweep(sparing=kept.id)
        return kept

    def entry(self, file: File, form: FileForm) -> dict[str, Any]:
        """Keep the file, and describe it as answers do. Raises DiskFull."""
        kept = self.keep(file)
        url = self._links.signed(kept.url_path) if form == "signed" else quote(kept.url_path)
        about = {
            "name": kept.name,
            "media_type": kept.media_type,
            "size": kept.size,
            "url": url,
        }
        if form == "base64":
            about["base64"] = pieces.to_base64(file.read()).decode()
        return about

    def find(self, file_id: str, name: str) -> StoredFile:
        """The file of this id, if it has this name. Raises UnknownFile."""
        kept = self._kept.get(file_id)
        if kept is None or kept.name != name or time.time() > kept.made + SECONDS:
            raise UnknownFile(name=name)
        return kept

    def path(self, kept: StoredFile) -> Path:
        """Where its bytes lie."""
        return self._folder / kept.id / "content"

    def sweep(self, sparing: str = "") -> None:
        """Remove what is too old, then the oldest of what is too much."""
        now = time.time()
        with self._lock:
            total = sum(kept.size for kept in self._kept.values())
            gone = []
            for kept in sorted(self._kept.values(), key=lambda one: one.made):
                old = not kept.made - SECONDS < now <= kept.made + SECONDS
                if old or (total > self._total and kept.id != sparing):
                    total -= kept.size
                    gone.append(kept.id)
                    del self._kept[kept.id]
        for file_id in gone:
            shutil.rmtree(self._folder / file_id, ignore_errors=True)

    def _load(self) -> None:
        """What an earlier server left; a folder that is not whole goes."""
        for folder in self._folder.glob("*"):
            try:
                kept = StoredFile(**(jsonfile.read(folder / "about.json") or {}))
                whole = kept.id == folder.name and self.path(kept).stat().st_size == kept.size
            except (jsonfile.Unreadable, OSError, TypeError):
                whole = False
            if whole:
                self._kept[kept.id] = kept
            else:
                shutil.rmtree(folder, ignore_errors=True)
        self.sweep()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await asyncio.to_thread(self.sweep)
            except OSError:
                log.exception("cannot remove old files")
