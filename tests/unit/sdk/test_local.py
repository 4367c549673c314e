"""The engine of a process that is no server."""

from pathlib import Path
from typing import Self

import pytest

from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.engine.engine import Engine
from onegai.sdk import local
from onegai.sdk.local import LocalEngine


class Failing(Engine):
    async def __aenter__(self) -> Self:
        raise OSError("no more files")


def test_one_that_cannot_be_made_leaves_the_folder_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    jsonfile.write(home.services, {})
    monkeypatch.setattr(local, "Engine", Failing)
    with pytest.raises(OSError, match="no more files") as failed:
        LocalEngine(home)
    monkeypatch.undo()
    made = LocalEngine(home)
    assert made.run(made.engine.apps()) == {}
    made.close()
    del failed  # which has kept what there was of the first one
