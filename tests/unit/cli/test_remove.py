"""The copies that ``onegai remove`` keeps."""

from pathlib import Path

from onegai.cli.remove import ENTRIES, Removable, keep_copy
from onegai.config.home import Home


def test_each_copy_has_a_folder_of_its_own_within_a_second_too(tmp_path: Path) -> None:
    home = Home(tmp_path)
    copies = [keep_copy(home, "a", Removable([], {"config.json": n})) for n in range(3)]
    assert len(set(copies)) == 3
    for number, copy in enumerate(copies):
        assert f'"config.json": {number}' in (copy / ENTRIES).read_text()
