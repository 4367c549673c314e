"""install/voicevox.sh and install/aivisspeech.sh: from the archives of a release to a voice.

The releases are on a web server of this machine, and have the shape of the real ones; the engine in
them is a script that starts Open JTalk's. 7-Zip makes one of the archives, if it is there.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sound
from harness import PASSWORD, ROOT, Answer, Server, copy_recipes, free_port, new_server

PACKAGES = {
    "voicevox": "voicevox_engine-linux-cpu-x64-0.25.2",
    "aivisspeech": "AivisSpeech-Engine-Linux-x64-1.2.0",
}
TARGETS = {"voicevox": "linux-cpu-x64", "aivisspeech": "Linux-x64"}
ENGINE = """#!/bin/sh
if [ $# -gt 4 ]; then set -- "$1" "$2" "$3" "$4"; fi
exec {python} {root}/run/run_openjtalk_engine.py --data "${{XDG_DATA_HOME:-x}}" "$@"
"""
PACK = """
import sys
import multivolumefile, py7zr
folder, name, target = sys.argv[1:]
path = f"{folder}/{name}.7z"
with multivolumefile.MultiVolume(path, "wb", volume=200_000, ext_digits=3) as parts:
    with py7zr.SevenZipFile(parts, "w") as archive:
        archive.writeall(f"{folder}/{target}", target)
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="module")
def packer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has py7zr."""
    uv = next(path for path in (ROOT / "data/tools/bin/uv", Path("/usr/bin/uv")) if path.exists())
    venv = tmp_path_factory.mktemp("packer") / "venv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, venv], check=True)
    lock = ROOT / "install/py7zr.lock"
    install = ["pip", "install", "-q", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([uv, *install, "--python", venv / "bin/python", "-r", lock], check=True)
    return venv / "bin/python"


@pytest.fixture(scope="module")
def releases(
    shipped: Server, packer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str]]:
    """A folder, and the address where it is served."""
    folder = tmp_path_factory.mktemp("releases")
    python = shipped.home / "apps/openjtalk_engine/venv/bin/python"
    for app, name in PACKAGES.items():
        made = folder / TARGETS[app]
        (made / "model").mkdir(parents=True)
        (made / "run").write_text(ENGINE.format(python=python, root=ROOT))
        (made / "run").chmod(0o755)
        (made / "model/voice.bin").write_bytes(os.urandom(450_000))
        (made / "model/link.bin").symlink_to("voice.bin")
        command: list[str | Path] = [packer, "-c", PACK, folder, name, TARGETS[app]]
        if app == "voicevox" and (packs := shutil.which("7zz") or shutil.which("7z")):
            command = [packs, "-r", "-v200k", "a", f"{name}.7z", f"{TARGETS[app]}/"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        parts = sorted(path.name for path in folder.glob(f"{name}.7z.*"))
        assert [part[-4:] for part in parts] == [".001", ".002", ".003"]
        (folder / f"{name}.7z.txt").write_text("\n".join(parts) + "\n")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(
    releases: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with the shipped recipes of both, which fetch from there."""
    with new_server(tmp_path_factory.mktemp("engines") / "home") as server:
        copy_recipes(server.home)
        keys = {
            app: {
                "port": free_port(),
                "vram": 0,
                "disk": 0.1,
                "from": releases[1],
                "target": target,
            }
            for app, target in TARGETS.items()
        }
        settings = json.loads((server.home / "config.json").read_text())
        server.write("config.json", settings | {"apps": keys})
        server.environment = {"no_proxy": "*"}
        yield server.start()


def change(server: Server, what: str, app: str) -> Answer:
    return server.request("POST", f"/app/{what}", {"app": app, "wait": True}, timeout=200)


@pytest.mark.parametrize("app", PACKAGES)
def test_from_the_release_to_a_voice(server: Server, app: str) -> None:
    answer = change(server, "install", app)
    assert answer.status == 200, server.log(f"install-{app}")
    folder = server.home / "apps" / app
    assert (folder / "target").read_text().strip() == TARGETS[app]
    voice, link = (folder / "engine/model" / name for name in ("voice.bin", "link.bin"))
    assert link.read_bytes() == voice.read_bytes()  # 7-Zip makes two files of it
    assert not list(folder.rglob("*.7z.*"))
    spoken = server.post(f"/api/{app}/raw", {"text": "こんにちは。", "speaker": "Mei"})
    assert spoken.status == 200, spoken.body
    assert sound.read(spoken.body).seconds > 0.4


def own_test(server: Server, app: str) -> str:
    """What tests/test_{app}.sh says."""
    keys = {"URL": server.url, "USERNAME": "onegai", "PASSWORD": PASSWORD, "PYTHON": sys.executable}
    environment = {f"ONEGAI_{key}": value for key, value in keys.items()}
    script = ROOT / "tests" / f"test_{app}.sh"
    done = subprocess.run(
        ["bash", script], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("app", PACKAGES)
def test_its_own_test_is_skipped_only_where_it_is_not_installed(
    server: Server, shipped: Server, app: str
) -> None:
    assert change(server, "install", app).status == 200
    assert own_test(server, app) == ""
    assert "not installed: skipped" in own_test(shipped, app)


def test_an_update_keeps_the_dictionary(server: Server) -> None:
    word = {"surface": "OneGAI", "pronunciation": "おねがい"}
    assert change(server, "install", "voicevox").status == 200
    added = server.post("/api/voicevox/add_word", word)
    assert added.status == 200, added.body
    assert change(server, "update", "voicevox").status == 200
    assert [one["id"] for one in server.post("/api/voicevox/words").result] == [added.result]


def test_a_damaged_part_is_noticed_and_what_worked_comes_back(
    server: Server, releases: tuple[Path, str]
) -> None:
    part = releases[0] / f"{PACKAGES['voicevox']}.7z.002"
    good = part.read_bytes()
    assert change(server, "install", "voicevox").status == 200
    try:
        part.write_bytes(good[:1000] + bytes(100) + good[1100:])
        answer = change(server, "update", "voicevox")
        assert answer.detail["code"] == "update_failed"
        assert "cannot be unpacked" in server.log("install-voicevox")
        part.unlink()
        assert change(server, "update", "voicevox").detail["code"] == "update_failed"
        assert "404" in server.log("install-voicevox")
    finally:
        part.write_bytes(good)
    assert server.post("/api/voicevox/raw", {"text": "はい。"}).status == 200


def test_a_list_that_is_none(server: Server, releases: tuple[Path, str]) -> None:
    names = releases[0] / f"{PACKAGES['aivisspeech']}.7z.txt"
    good = names.read_text()
    assert change(server, "uninstall", "aivisspeech").status == 200
    try:
        names.write_text("<html>Not the list</html>\n")
        assert change(server, "install", "aivisspeech").detail["code"] == "install_failed"
        assert "no list of its parts" in server.log("install-aivisspeech")
    finally:
        names.write_text(good)


EVIL = """
import sys
import py7zr
with py7zr.SevenZipFile(sys.argv[1], "w") as archive:
    archive.writestr("good", "good.txt")
    if len(sys.argv) > 2:
        archive.writef(__import__("io").BytesIO(b"evil"), "x")
        archive.header.files_info.files[-1]["filename"] = sys.argv[2]
"""


@pytest.mark.parametrize("name", ["", "../evil.txt", "/tmp/onegai-evil.txt", "a/../../evil.txt"])
def test_nothing_is_unpacked_outside(packer: Path, tmp_path: Path, name: str) -> None:
    archive, folder = tmp_path / "a.7z", tmp_path / "there" / "deep"
    subprocess.run([packer, "-c", EVIL, archive, *([name] if name else [])], check=True)
    done = subprocess.run(
        [packer, ROOT / "install/unpack.py", archive, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or name
    assert "Traceback" not in done.stderr
    outside = [path for path in tmp_path.rglob("*evil*") if folder not in path.parents]
    assert outside == []
    assert not Path("/tmp/onegai-evil.txt").exists()
    if not name:
        assert (folder / "good.txt").read_text() == "good"


def test_a_part_that_is_missing_is_told(packer: Path, tmp_path: Path) -> None:
    for number in (1, 3):
        (tmp_path / f"a.7z.00{number}").write_bytes(b"7z")
    command = [packer, ROOT / "install/unpack.py", tmp_path / "a.7z.001", tmp_path / "there"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "its parts are 001, 003, not 001, 002" in done.stderr


@pytest.mark.parametrize(
    ("target", "gpu", "wanted"),
    [
        ("linux-nvidia", True, True),
        ("linux-nvidia", False, False),
        ("linux-cpu-x64", True, False),
        ("Linux-x64", True, True),
    ],
)
def test_the_gpu_is_used_where_there_is_one(
    tmp_path: Path, target: str, gpu: bool, wanted: bool
) -> None:
    for name, text in (
        ("engine/run", 'echo "$@" "$XDG_DATA_HOME"'),
        ("bin/nvidia-smi", "exit $GPU"),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (tmp_path / "target").write_text(f"{target}\n")

    def started(**more: str) -> list[str]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        command = ["bash", str(ROOT / "run/run_voicevox.sh"), "50021"]
        environment = {**os.environ, "PATH": path, "GPU": "0" if gpu else "1", **more}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    data = str(tmp_path / "data")
    plain = ["--host", "127.0.0.1", "--port", "50021"]
    quiet = ["--disable_sentry"] if target.startswith("Linux") else []
    assert started() == [*plain, *(["--use_gpu"] if wanted else []), *quiet, data]
    assert started(VV_USE_GPU="0") == [*plain, *quiet, data]
