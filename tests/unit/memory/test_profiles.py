"""VRAM profiles: the median of recent runs, kept in a file."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from onegai.config.entry import AppSpec
from onegai.memory.learning import Sample
from onegai.memory.profiles import RECENT_RUNS, Profiles


def spec(app: str = "chat", **keys: Any) -> AppSpec:
    return AppSpec(app=app, type="webapi", **{"port": 8000, "exec": "serve {port}", **keys})


def sample(peak: int, gpu: str = "RTX 3060") -> Sample:
    return Sample(gpu, peak // 2, peak)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "vram.json"


def learnt(path: Path, *peaks: int) -> dict[str, int]:
    profiles = Profiles(path)
    for peak in peaks:
        profiles.add(spec(), sample(peak))
    return profiles.learnt(spec())


@pytest.mark.parametrize(
    ("peaks", "median"), [([4000], 4000), ([4000, 5001], 4501), ([4000, 9000, 4200], 4200)]
)
def test_the_median_counts(path: Path, peaks: list[int], median: int) -> None:
    assert learnt(path, *peaks) == {"RTX 3060": median}


def test_nothing_is_known_at_first(path: Path) -> None:
    assert learnt(path) == {}
    assert not path.exists()


def test_only_recent_runs_count(path: Path) -> None:
    assert learnt(path, *[9000] * 10, *[4000] * (RECENT_RUNS // 2 + 1)) == {"RTX 3060": 4000}


def test_each_gpu_and_each_app_for_itself(path: Path) -> None:
    profiles = Profiles(path)
    profiles.add(spec(), sample(4000))
    profiles.add(spec(), sample(6000, "RTX 4090"))
    profiles.add(spec("image"), sample(8000))
    assert profiles.learnt(spec()) == {"RTX 3060": 4000, "RTX 4090": 6000}
    assert profiles.learnt(spec("image")) == {"RTX 3060": 8000}
    assert profiles.learnt(spec("voice")) == {}


@pytest.mark.parametrize("keys", [{"exec": "serve --large"}, {"cwd": "x"}, {"env": {"A": "1"}}])
def test_another_command_line_begins_anew(path: Path, keys: dict[str, Any]) -> None:
    profiles = Profiles(path)
    for _ in range(3):
        profiles.add(spec(), sample(9000))
    assert profiles.learnt(spec(**keys)) == {}
    assert profiles.learnt(spec(vram=2, keep=1)) == {"RTX 3060": 9000}
    profiles.add(spec(**keys), sample(4000))
    assert profiles.learnt(spec(**keys)) == {"RTX 3060": 4000}


def test_it_lasts(path: Path) -> None:
    profiles = Profiles(path)
    profiles.add(spec(env={"TOKEN": "hush-hush"}), sample(4000))
    profiles.save(profiles.content())
    assert Profiles(path).learnt(spec(env={"TOKEN": "hush-hush"})) == {"RTX 3060": 4000}
    assert "hush" not in path.read_text()
    run = json.loads(path.read_text())["chat"]["RTX 3060"]["runs"][0]
    assert (run["ready"], run["peak"]) == (2000, 4000)


RUN = '{"when": %s, "ready": 0, "peak": %s}'
BROKEN = [
    "{",
    "[]",
    '{"chat": 3}',
    '{"chat": {"RTX": {"runs": []}}}',
    *(
        '{"chat": {"RTX": {"of": "x", "runs": [%s]}}}' % (RUN % figures)
        for figures in [(1, -1), ("NaN", 1), (1, "1e400"), (1, "1" + "0" * 400), ("Infinity", 1)]
    ),
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_begun_anew(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        profiles = Profiles(path)
    assert "vram.json cannot be read" in caplog.text
    assert profiles.learnt(spec()) == {}
    profiles.add(spec(), sample(4000))
    profiles.save(profiles.content())
    assert Profiles(path).learnt(spec()) == {"RTX 3060": 4000}
