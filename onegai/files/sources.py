"""Getting the files that a call's arguments name, before its function runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onegai.config.settings import MIB
from onegai.errors import FileTooLarge, PathRefused
from onegai.files.fetch import AddressRule, Unfetchable, fetch, refuse_this_machine
from onegai.files.file import File, JobResult, from_base64, pending
from onegai.files.local import linked, readable_size, unusable
from onegai.files.workspace import Workspace, safe_name

PATH_LENGTH = 4096
"""Of the longest path there can be; a longer text is base64."""


class _Unusable(Exception):
    """Why an argument gives no file."""


@dataclass(frozen=True)
class Sources:
    """Where files may come from. ``limit`` is in bytes.

    ``of_job`` gives the result of a job as a file, or raises OneGAIError. It may read disks, so it
    is called in a thread.
    """

    roots: tuple[Path, ...]
    limit: int
    of_job: Callable[[str], File]
    refused: AddressRule = refuse_this_machine

    async def resolve(
        self, arguments: Any, workspace: Workspace, *, own_paths: bool = False
    ) -> None:
        """Fetch every pending File of the arguments, all at once.

        With ``own_paths`` they are those of a program of the user's, which may name any path.
        Raises BadArguments with the field's name, PathRefused, AddressRefused, FileTooLarge,
        DiskFull, and what is wrong with a job.
        """
        tasks = [
            asyncio.create_task(self._arrive(field or "args", file, workspace, own_paths))
            for field, file in pending(arguments, workspace)
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _arrive(self, field: str, file: File, workspace: Workspace, own_paths: bool) -> None:
        source = file.source
        try:
            if isinstance(source, str) and _is_url(source):
                path = await asyncio.to_thread(workspace.new, "fetched")
                got = await fetch(source, path, field=field, limit=self.limit, refused=self.refused)
                # Under its name: some programs go by the suffix of a path.
                path = path.rename(path.with_name(safe_name(got.name)))
                file.arrive(path, got.name, got.media_type)
            elif isinstance(source, JobResult):
                found = await asyncio.to_thread(self._of_job, source.job, workspace)
                file.arrive(found.path, found.name, found.media_type)
            elif source is not None:
                file.arrive(await asyncio.to_thread(self._local, field, source, own_paths))
        except (_Unusable, Unfetchable) as error:
            raise unusable(field, str(error)) from None

    def _of_job(self, job: str, workspace: Workspace) -> File:
        """Its file under its name, which stays for the call when the job's own is removed."""
        found = self.of_job(job)
        return File(linked(found.path, workspace, found.name), found.name, found.media_type)

    def _local(self, field: str, source: str | Path, own_paths: bool) -> bytes | Path:
        """The path that is meant, or the bytes that its base64 stands for."""
        if isinstance(source, Path):
            return _existing(field, source.expanduser(), self.limit)
        if len(source) > PATH_LENGTH or not (own_paths or source.startswith("/")):
            try:
                return from_base64(source)
            except ValueError:
                raise _Unusable(
                    "it is neither a data: or http(s) URL, nor a whole path, nor base64"
                ) from None
        if own_paths:
            return _existing(field, Path(source).expanduser(), self.limit)
        try:
            path = Path(source).resolve()
        except (OSError, ValueError, RuntimeError):
            raise _Unusable("there is no such path") from None
        if not any(path.is_relative_to(root) for root in self.roots):
            raise PathRefused(field=field, path=source)
        return _existing(field, path, self.limit)


def _existing(field: str, path: Path, limit: int) -> Path:
    try:
        size = readable_size(path)
    except ValueError as error:
        raise _Unusable(str(error)) from None
    if size > limit:
        raise FileTooLarge(what=f"{field}: the file", limit_mib=round(limit / MIB, 1))
    return path.absolute()


def roots(folders: tuple[str, ...]) -> tuple[Path, ...]:
    """``file_roots`` of the settings as they really are, symlinks followed."""
    # Not Path.resolve, which raises on a symlink that leads to itself.
    return tuple(Path(os.path.realpath(Path(folder).expanduser())) for folder in folders)


def _is_url(text: str) -> bool:
    return text.strip()[:8].lower().startswith(("http://", "https://"))
