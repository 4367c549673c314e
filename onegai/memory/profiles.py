"""VRAM profiles: what the recent runs of each app took, kept in data/vram.json.

The file is ``{app: {GPU's name: {"of": …, "runs": [{"when", "ready", "peak"}, …]}}}``, MiB. ``of``
stands for how the app was started: runs of another command line say nothing of this one.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from onegai.config import jsonfile
from onegai.config.entry import AppSpec
from onegai.memory.learning import Sample

log = logging.getLogger(__name__)

RECENT_RUNS = 5

_Mib = Annotated[int, Field(ge=0, lt=1 << 31)]


class _Run(BaseModel):
    when: FiniteFloat
    ready: _Mib
    peak: _Mib


class _Profile(BaseModel):
    of: str
    runs: list[_Run]


_FILE = TypeAdapter(dict[str, dict[str, _Profile]])


class Profiles:
    """The profiles of a home's apps. Making it reads the file; one that is broken is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._apps: dict[str, dict[str, _Profile]] = {}
        try:
            self._apps = _FILE.validate_python(jsonfile.read(path) or {})
        except (jsonfile.Unreadable, ValidationError) as error:
            reason = error.reason if isinstance(error, jsonfile.Unreadable) else "not a profile"
            log.warning("%s cannot be read (%s): learning begins anew", path.name, reason)

    def learnt(self, spec: AppSpec) -> dict[str, int]:
        """Per name of a GPU: the median of what its recent runs took at most, MiB."""
        profiles = self._apps.get(spec.app)
        if not profiles:
            return {}
        of = spec.started_as
        return {
            gpu: math.ceil(statistics.median(run.peak for run in profile.runs))
            for gpu, profile in profiles.items()
            if profile.of == of and profile.runs
        }

    def add(self, spec: AppSpec, sample: Sample) -> None:
        """One more run. ``save`` makes it last."""
        of = spec.started_as
        profiles = self._apps.setdefault(spec.app, {})
        profile = profiles.get(sample.gpu)
        if profile is None or profile.of != of:
            profile = profiles[sample.gpu] = _Profile(of=of, runs=[])
        run = _Run(when=round(time.time(), 1), ready=sample.ready, peak=sample.peak)
        profile.runs = [*profile.runs, run][-RECENT_RUNS:]

    def content(self) -> dict[str, Any]:
        """What belongs into the file now."""
        content: dict[str, Any] = _FILE.dump_python(self._apps)
        return content

    def save(self, content: dict[str, Any]) -> None:
        """Write the file. Raises OSError."""
        jsonfile.write(self._path, content)
