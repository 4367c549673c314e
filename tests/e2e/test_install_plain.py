"""Install scripts as people write them: git clone, python3 -m venv, pip, and no helpers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
from harness import Server, alive, copy_install, fake, strays, until
from scripts import Home

Make = Callable[..., Server]

GOOD = "mkdir mikan\npython3 -m venv --without-pip mikan/venv\necho one >mikan/version\n"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Scripts alone, in a home whose name is none for a shell."""
    root = tmp_path / "One GAI's"
    root.mkdir()
    return Home(root)


def install(home: Home, script: str | None = None, *, update: bool = False) -> tuple[int, str]:
    """As the engine does it."""
    if script is not None:
        (home.root / "install/probe.sh").write_text(script)
    home.env["ONEGAI_UPDATE"] = "1" if update else ""
    return home.run("../install/lib.sh", "probe")


def found(home: Home) -> dict[str, str]:
    """The files of the app, but for the marker and Git's."""
    files = {str(path.relative_to(home.app)): path for path in home.app.rglob("*")}
    return {
        name: path.read_text()
        for name, path in files.items()
        if path.is_file() and path != home.marker and not name.startswith(".git/")
    }


def beside(home: Home) -> set[str]:
    return {path.name for path in home.apps.iterdir()} - {"probe", ".probe.lock"}


# --- what counts -----------------------------------------------------------------------------


def test_a_script_that_ends_with_0_and_made_the_folder_has_installed_the_app(home: Home) -> None:
    code, output = install(home, "mkdir probe\necho one >probe/version\n")
    assert (code, home.state()) == (0, "")
    assert output.endswith("==> probe is installed\n")
    assert json.loads(home.marker.read_text())["app"] == "probe"
    assert install(home) == (0, "==> probe is already installed\n")


def test_a_real_venv_with_a_package_of_ones_own(home: Home) -> None:
    script = f"""
git clone --quiet {repository(home)} probe
cd probe
{quote(sys.executable)} -m venv --without-pip venv
source venv/bin/activate
echo 'print("sweet")' >"$(echo venv/lib/python3*/site-packages)/mikan.py"
python -m mikan
"""
    for update in (False, True):
        code, output = install(home, script, update=update)
        assert (code, home.state()) == (0, ""), output
        assert "sweet" in output
        assert home.marker.exists()
        assert beside(home) == set()


def repository(home: Home) -> str:
    """A Git repository with a README and a folder models; for a shell."""
    path = home.root / "repository"
    (path / "models").mkdir(parents=True)
    (path / "README").write_text("read me")
    (path / "models/list").write_text("shipped")
    (path / "models/new").write_text("shipped")
    for command in (
        ["init", "--quiet"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-m", "x"],
    ):
        subprocess.run(["git", "-C", path, *command], check=True)
    return quote(str(path))


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("exit 1", 1),
        ("false\necho on >probe/on", 1),
        ("no-such-command\necho on >probe/on", 127),
        ("kill -9 $$", 137),
        ("exit 75", 1),
    ],
)
def test_one_that_fails_in_the_middle_is_broken_and_the_next_starts_clean(
    home: Home, ending: str, code: int
) -> None:
    failed, output = install(home, f"mkdir -p probe/venv\necho half >probe/half\n{ending}\n")
    assert (failed, home.state()) == (code, "broken")
    assert output.endswith("fix the cause and run it again, it starts clean\n")
    assert set(found(home)) == {"half"}
    assert not home.marker.exists()
    code, output = install(home, "mkdir probe\necho one >probe/version\n")
    assert (code, home.state()) == (0, "")
    assert "removed from apps/probe what a try that failed has left: 0 MB" in output
    assert found(home) == {"version": "one\n"}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("true", "has made no apps/probe"),
        ("mkdir Probe", "it made apps/Probe"),
        ("mkdir probe\nmv probe probe-main", "it made apps/probe-main"),
        ("echo >probe", "not as a folder"),
        ("ln -s /usr probe", "not as a folder"),
        ("source ../install/lib.sh\ninstall_begin other\ninstall_end", "says install_begin other"),
        ("mkdir probe\r\nexit 0\r\n", "saved as Windows does it"),
        ("\ufeffmkdir probe\n", "saved as Windows does it"),
    ],
)
def test_one_that_makes_no_app_is_told_what_it_did(home: Home, script: str, said: str) -> None:
    (home.root / "install/probe.sh").write_bytes(script.encode())
    code, output = home.run("../install/lib.sh", "probe")
    assert code != 0
    assert said in output
    assert not home.marker.exists()
    assert not home.app.exists()
    assert install(home, "mkdir probe")[0] == 0


def test_what_windows_has_saved_is_mended_by_the_line_that_is_told(home: Home) -> None:
    (home.root / "install/probe.sh").write_bytes("\ufeffmkdir probe\r\n\r\nexit 0\r\n".encode())
    output = home.run("../install/lib.sh", "probe")[1]
    fix = output.split("  fix: ")[1].splitlines()[0]
    subprocess.run(["bash", "-c", fix], check=True)
    assert install(home)[0] == 0


def test_neither_a_shebang_nor_the_x_bit_is_needed(home: Home) -> None:
    script = home.root / "install/probe.sh"
    script.write_text("[[ -n $BASH_VERSION ]]\nmkdir probe\n")
    script.chmod(0o444)
    assert install(home)[0] == 0


def test_it_gets_its_arguments_and_a_safe_environment(home: Home) -> None:
    home.env |= {"VIRTUAL_ENV": "/some/venv", "PYTHONPATH": "/some/path"}
    (home.root / "install/probe.sh").write_text(
        "mkdir probe\nprintf '<%s>' \"$@\" >probe/arguments\nenv >probe/env\n"
        "readlink /proc/self/fd/0 >probe/stdin\n"
    )
    assert home.run("../install/lib.sh", "probe", "a b", "")[0] == 0
    files = found(home)
    assert files["arguments"] == "<a b><>"
    assert files["stdin"] == "/dev/null\n"
    env = files["env"].splitlines()
    assert {"PIP_REQUIRE_VIRTUALENV=1", "UV_PROJECT_ENVIRONMENT=venv"} <= set(env)
    assert not [line for line in env if line.startswith(("VIRTUAL_ENV=", "PYTHONPATH="))]


def test_a_script_may_install_another_app_by_its_own_script(home: Home) -> None:
    (home.root / "install/other.sh").write_text("mkdir other\n")
    assert install(home, "mkdir probe\nbash ../install/lib.sh other\n")[0] == 0
    assert (home.apps / "other/.onegai-installed").exists()
    assert home.marker.exists()


def test_lib_itself_wants_an_app(home: Home) -> None:
    assert home.run("../install/lib.sh")[0] == 1
    code, output = home.run("../install/lib.sh", "nobody")
    assert code == 1
    assert "there is no install/nobody.sh" in output


# --- data ------------------------------------------------------------------------------------


def test_data_folders_come_back_after_the_script_and_win(home: Home) -> None:
    home.services({"data": ["models", "cache/voices"]})
    script = f"git clone --quiet {repository(home)} probe\n"
    assert install(home, script)[0] == 0
    (home.app / "models/list").write_text("mine")
    (home.app / "models/mine").write_text("mine")
    (home.app / "cache/voices").mkdir(parents=True)
    (home.app / "cache/voices/x").write_text("x")
    (home.app / "models/new").unlink()
    (home.app / "rubbish").touch()
    assert install(home, update=True)[0] == 0
    assert found(home) == {
        "README": "read me",
        "models/list": "mine",
        "models/mine": "mine",
        "models/new": "shipped",
        "cache/voices/x": "x",
    }
    assert beside(home) == set()


def test_a_failed_install_keeps_data_and_the_next_one_gives_it_back(home: Home) -> None:
    home.services({"data": ["models"]})
    script = f"git clone --quiet {repository(home)} probe\n"
    install(home, script + "echo mine >probe/models/list\nexit 1\n")
    for _ in range(2):
        assert install(home, script + "exit 1\n")[0] == 1
        assert home.state() == "broken"
        assert found(home)["models/list"] == "mine\n"
    assert install(home, script)[0] == 0
    assert found(home)["models/list"] == "mine\n"
    assert beside(home) == set()


# --- by hand, and taken over -----------------------------------------------------------------


def by_hand(home: Home) -> None:
    home.services({"data": ["models"]})
    (home.app / "models").mkdir(parents=True, exist_ok=True)
    (home.app / "models/list").write_text("mine")
    (home.app / "precious").write_text("x")


@pytest.mark.parametrize("helpers", [False, True])
def test_what_was_made_by_hand_is_replaced_and_kept(home: Home, helpers: bool) -> None:
    home.recipe("touch probe/new\ninstall_end")
    script = None if helpers else "mkdir probe\ntouch probe/new"
    for number in ("", "1"):
        by_hand(home)
        code, output = install(home, script, update=bool(number))
        assert (code, home.state()) == (0, ""), output
        assert found(home) == {"new": "", "models/list": "mine"}
        kept = home.apps / f"probe.by-hand{number}"
        assert f"what was made by hand is in apps/{kept.name} now" in output
        assert (kept / "precious").read_text() == "x"
        assert not (kept / ".onegai-kept").exists()
        home.marker.unlink()


@pytest.mark.parametrize("ending", ["exit 1", "kill -9 $$", "kill -9 $PPID $$", "rm -r probe"])
def test_what_was_made_by_hand_comes_back_if_the_script_fails(home: Home, ending: str) -> None:
    by_hand(home)
    code, _ = install(home, f"mkdir -p probe/venv\n{ending}\n")
    assert code != 0
    if "PPID" in ending:  # a power cut, say: the next one brings it back, and then replaces it
        assert (home.apps / ".probe.old/precious").exists()
        assert install(home, "false")[0] == 1
    assert found(home) == {"precious": "x", "models/list": "mine"}
    assert home.state() == ""
    assert beside(home) == set()


# --- by the engine ---------------------------------------------------------------------------


def with_script(make_server: Make, script: str, **keys: Any) -> Server:
    server = make_server({"mikan": fake("ready", **keys)})
    copy_install(server.home)
    server.write("install/mikan.sh", script)
    return server.start()


def app(server: Server) -> dict[str, Any]:
    return dict(server.get("/app/list").result[0])


def test_installed_updated_and_uninstalled_as_any(lend: Make) -> None:
    server = with_script(lend, GOOD)
    server.edit("func/mikan.py", "def main(args): return 1")
    asked = {"app": "mikan", "wait": True}
    assert server.post("/app/install", asked).result["state"] == "done"
    listed = app(server)
    assert (listed["installed"], listed["by_hand"], listed["problems"]) == (True, False, [])
    assert server.post("/service/start", asked).result["state"] == "ready"
    server.write("install/mikan.sh", GOOD.replace("one", "two"))
    (remark,) = app(server)["problems"]
    assert remark["remark"]
    assert "install/mikan.sh or its lock has changed" in remark["reason"]
    assert server.post("/app/update", asked).result["log"][-1] == "==> mikan is updated"
    assert (server.home / "apps/mikan/version").read_text() == "two\n"
    assert app(server)["problems"] == []
    server.write("install/mikan.sh", "mkdir mikan\nfalse\n")
    assert server.post("/app/update", asked).detail["code"] == "update_failed"
    assert (server.home / "apps/mikan/version").read_text() == "two\n"
    assert server.post("/app/uninstall", asked).result["state"] == "done"
    assert app(server)["state"] == "absent"


def test_a_half_made_venv_is_never_started(lend: Make) -> None:
    server = with_script(lend, f"{GOOD}exit 1\n")
    for _ in range(2):
        answer = server.post("/app/install", {"app": "mikan", "wait": True})
        assert answer.detail["code"] == "install_failed"
        listed = app(server)
        assert (listed["installed"], listed["by_hand"], listed["state"]) == (False, False, "failed")
        assert server.post("/service/start", {"app": "mikan"}).detail["code"] == "install_broken"


def test_what_it_leaves_running_is_ended_and_holds_up_nobody(lend: Make) -> None:
    script = (
        "mkdir mikan\n(trap '' TERM; exec sleep 600) &\necho $! >mikan/pid\n"
        "setsid sleep 600 &\necho $! >mikan/pid2\n"
    )
    server = with_script(lend, script, stop_timeout=1)
    assert server.post("/app/install", {"app": "mikan", "wait": True}).result["state"] == "done"
    for name in ("pid", "pid2"):
        assert not alive(int((server.home / "apps/mikan" / name).read_text()))
    assert app(server)["installed"]


def test_what_was_made_by_hand_stops_first_and_comes_back(lend: Make) -> None:
    server = with_script(lend, "until [[ -e ../go ]]; do sleep 0.02; done\nfalse\n")
    (server.home / "apps/mikan/venv").mkdir(parents=True)
    assert app(server)["by_hand"]
    first = server.post("/service/start", {"app": "mikan"}).result["pid"]
    job = server.post("/app/install", {"app": "mikan"}).result["id"]
    until(lambda: server.service("mikan")["state"] == "installing")
    assert not alive(first)
    server.write("go", "")
    until(lambda: server.get(f"/job/{job}").result["state"] == "failed")
    assert app(server)["by_hand"]
    assert server.post("/service/start", {"app": "mikan"}).result["state"] == "ready"


def test_a_cancelled_script_leaves_no_zombie(lend: Make) -> None:
    script = """
(sleep 0.01 & echo $! >../pid)
while [[ -e /proc/$(<../pid)/exe ]]; do sleep 0.01; done
sleep 600 & (sleep 600 & sleep 600) & setsid sleep 600 & echo here
wait
"""
    server = with_script(lend, script)
    assert server.process is not None
    for _ in range(2):
        job = server.post("/app/install", {"app": "mikan"}).result["id"]
        until(lambda job=job: "here" in server.get(f"/job/{job}").result["log"])
        assert server.request("DELETE", f"/job/{job}").result["state"] == "cancelled"
        assert len(strays(server.home)) == 1
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        assert children.read_text() == ""
