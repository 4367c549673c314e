"""install/lib.sh and setup/onegai.sh, as real scripts in a home of their own, without a network."""

import fcntl
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripts import FAKE_UV, REPOSITORY, Home


def until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Dead, or dead and not yet reaped by whoever inherited it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    root = tmp_path / "One GAI's"
    root.mkdir()
    return Home(root)


SUCCESS = "echo ran >>probe/log\ninstall_end"
HANG = """
(trap '' INT; sleep 600) & echo $! >probe/pid.background
echo $BASHPID >probe/pid.script
sleep 600
install_end
"""


@pytest.fixture
def hanging(home: Home) -> Iterator[subprocess.Popen[str]]:
    """A recipe in the middle of its work."""
    home.recipe(HANG)
    with home.start() as process:
        until((home.app / "pid.script").exists, "recipe is under way")
        yield process
        for pid in pids(home):
            if not gone(pid):
                os.killpg(os.getpgid(pid), signal.SIGKILL)


def pids(home: Home) -> list[int]:
    return [int(file.read_text()) for file in home.app.glob("pid.*")]


def test_a_fresh_install_ends_with_the_marker(home: Home) -> None:
    home.recipe(SUCCESS)
    code, output = home.run()
    assert (code, home.state()) == (0, "")
    assert output.endswith("==> probe is installed\n")
    marker = json.loads(home.marker.read_text())
    assert marker["app"] == "probe"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", marker["time"])
    assert not home.lock_is_held()


def test_a_second_run_changes_nothing(home: Home) -> None:
    home.recipe(SUCCESS)
    home.run()
    assert home.run() == (0, "==> probe is already installed\n")
    assert (home.app / "log").read_text() == "ran\n"


def test_an_update_keeps_data_only(home: Home) -> None:
    home.services({"data": ["models"]})
    home.recipe("mkdir -p probe/models\necho x >>probe/models/kept\n" + SUCCESS)
    home.run()
    home.env["ONEGAI_UPDATE"] = "1"
    assert home.run()[0] == 0
    assert (home.app / "log").read_text() == "ran\n"
    assert (home.app / "models/kept").read_text() == "x\nx\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_update_that_is_ended_by_hand_is_undone(home: Home, number: int) -> None:
    home.recipe("echo one >probe/version\n" + SUCCESS)
    home.run()
    home.recipe("echo two >probe/version\n" + HANG)
    home.env["ONEGAI_UPDATE"] = "1"
    with home.start() as process:
        until((home.app / "pid.script").exists, "recipe is under way")
        assert home.state() == "updating"
        script = pids(home)[0]
        os.kill(process.pid, number)
        if number == signal.SIGKILL:
            os.killpg(os.getpgid(script), signal.SIGKILL)
        process.communicate(timeout=60)
    del home.env["ONEGAI_UPDATE"]
    if number == signal.SIGKILL:
        until(lambda: not home.lock_is_held(), "lock is free")
        assert not home.marker.exists()
        code, output = home.run()
        assert code == 0
        assert output.startswith("==> the last try to install or update probe was cut off")
    assert home.run() == (0, "==> probe is already installed\n")
    assert (home.app / "version").read_text() == "one\n"
    assert {path.name for path in home.apps.iterdir()} == {"probe", ".probe.lock"}
    assert home.state() == ""


def test_an_update_of_what_is_not_installed_is_an_install(home: Home) -> None:
    home.recipe(SUCCESS)
    home.env["ONEGAI_UPDATE"] = "1"
    assert home.run() == (0, "==> probe is installed\n")


def test_a_failure_says_so_and_the_next_run_starts_clean(home: Home) -> None:
    home.recipe("echo half >probe/half\nexit 3")
    code, output = home.run()
    assert (code, home.state()) == (3, "broken")
    assert output.splitlines()[-1] == (
        "install of probe failed (exit 3): fix the cause and run it again, it starts clean"
    )
    assert not home.marker.exists()
    home.recipe(SUCCESS)
    assert home.run()[0] == 0
    assert {path.name for path in home.app.iterdir()} == {"log", ".onegai-installed"}


def test_a_failing_command_ends_the_recipe(home: Home) -> None:
    home.recipe("false\n" + SUCCESS)
    assert home.run()[0] == 1
    assert not (home.app / "log").exists()


def test_without_install_end_it_is_not_installed(home: Home) -> None:
    home.recipe("echo ran >probe/log")
    code, output = home.run()
    assert (code, home.state()) == (1, "broken")
    assert "ended without install_end" in output


def test_a_failure_after_install_end_counts(home: Home) -> None:
    home.recipe("install_end\nexit 4")
    assert (home.run()[0], home.state(), home.marker.exists()) == (4, "broken", False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interruption_takes_everything_down(
    home: Home, hanging: subprocess.Popen[str], number: int, code: int
) -> None:
    assert home.state() == "installing"
    assert home.lock_is_held()
    os.kill(hanging.pid, number)  # to the script alone, as a supervisor does
    output, _ = hanging.communicate(timeout=60)
    assert (hanging.returncode, home.state()) == (code, "broken")
    assert output.splitlines()[-1].startswith(f"install of probe failed (exit {code})")
    for pid in pids(home):
        until(lambda pid=pid: gone(pid), f"process {pid} is gone")
    assert not home.lock_is_held()


def test_what_ignores_the_signal_is_killed(home: Home) -> None:
    home.recipe("trap '' TERM INT\n" + HANG)
    with home.start() as process:
        until((home.app / "pid.script").exists, "recipe is under way")
        process.terminate()
        process.communicate(timeout=60)
    assert (process.returncode, home.state()) == (143, "broken")
    for pid in pids(home):
        until(lambda pid=pid: gone(pid), f"process {pid} is gone")


def test_after_kill_9_the_next_run_starts_clean(home: Home, hanging: subprocess.Popen[str]) -> None:
    hanging.kill()
    os.killpg(os.getpgid(pids(home)[0]), signal.SIGKILL)
    hanging.communicate()
    until(lambda: not home.lock_is_held(), "lock is free")
    assert home.state() == "installing"
    home.recipe(SUCCESS)
    assert home.run()[0] == 0
    assert not pids(home)


def test_one_install_at_a_time(home: Home, hanging: subprocess.Popen[str]) -> None:
    code, output = home.run()
    assert code == 75
    assert "being installed or removed by another process" in output
    assert home.state() == "installing"
    assert hanging.poll() is None


def test_what_a_recipe_leaves_running_is_stopped(home: Home) -> None:
    home.recipe("sleep 600 </dev/null &>/dev/null &\necho $! >probe/pid.left\n" + SUCCESS)
    assert home.run()[0] == 0
    until(lambda: gone(pids(home)[0]), "the process left behind is gone")


def test_what_an_uninstall_has_kept_is_not_foreign(home: Home) -> None:
    home.services({"data": ["models", "cache/voices"]})
    home.recipe(SUCCESS)
    for folder in ("models", "cache/voices"):
        (home.app / folder).mkdir(parents=True)
        (home.app / folder / "x").touch()
    assert home.run()[0] == 0
    assert (home.app / "models/x").exists()


def test_cleaning_keeps_data_folders_and_follows_no_link(home: Home, tmp_path: Path) -> None:
    home.services({"data": ["models", "cache/voices"]})
    home.services({"data": ["linked", "cache/voices"]}, "services.local.json")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    home.recipe(
        "mkdir -p probe/models probe/cache/voices probe/cache/other probe/tree\n"
        "touch probe/cache/voices/kept probe/cache/other/x\n"
        f"ln -s '{outside}' probe/linked; ln -s '{outside}' probe/link\n"
        f"ln -s '{outside}' probe/tree/link; exit 1"
    )
    home.run()
    home.recipe(SUCCESS)
    assert home.run()[0] == 0
    left = {str(path.relative_to(home.app)) for path in home.app.rglob("*")}
    assert left - {"log", ".onegai-installed"} == {
        "cache",
        "cache/voices",
        "cache/voices/kept",
        "linked",
    }
    assert (outside / "deep").is_dir()


def test_a_linked_app_folder_is_refused(home: Home, tmp_path: Path) -> None:
    home.recipe(SUCCESS)
    (tmp_path / "elsewhere").mkdir()
    home.app.symlink_to(tmp_path / "elsewhere")
    home.lock.write_text("broken\n")
    code, output = home.run()
    assert code == 1
    assert "is a symbolic link" in output
    assert home.app.is_symlink()


def test_a_linked_apps_folder_is_fine(home: Home, tmp_path: Path) -> None:
    home.recipe(SUCCESS)
    home.apps.rename(tmp_path / "big disk")
    home.apps.symlink_to(tmp_path / "big disk")
    assert home.run(str(home.root / "install/probe.sh"))[0] == 0
    assert home.marker.exists()


@pytest.mark.parametrize("by", ["argument", "services.json"])
def test_too_small_a_disk_is_told_in_numbers(home: Home, by: str) -> None:
    if by == "argument":
        home.recipe(SUCCESS, begin="install_begin probe 9000000.5")
    else:
        home.services({"disk": 9000000.5})
        home.recipe(SUCCESS)
    code, output = home.run()
    assert code == 1
    assert re.search(r"needs 9216000512 MB, \d+ MB are free", output)
    assert not home.app.exists()
    assert home.state() == ""


def test_a_broken_services_file_deletes_nothing(home: Home) -> None:
    home.recipe("touch probe/half; exit 1")
    home.run()
    (home.root / "services.local.json").write_text('{"probe": }')
    code, output = home.run()
    assert code == 1
    assert "services.local.json is not valid JSON" in output
    assert (home.app / "half").exists()


def test_a_data_folder_outside_the_app_is_refused(home: Home) -> None:
    home.services({"data": ["../other"]})
    home.recipe(SUCCESS)
    code, output = home.run()
    assert code == 1
    assert "not inside the app's folder" in output


def test_elsewhere_than_in_apps_it_says_where_to_go(home: Home) -> None:
    home.recipe(SUCCESS)
    code, output = home.run("install/probe.sh", cwd=home.root)
    assert code == 1
    assert str(home.apps) in output


def test_a_recipe_gets_its_arguments_and_a_safe_environment(home: Home) -> None:
    home.recipe(
        "printf '<%s>' \"$@\" >probe/arguments\n"
        'env >probe/env; readlink /proc/self/fd/0 >probe/stdin\necho "$APP_DIR" >probe/dir\n'
        "install_end"
    )
    home.env |= {"VIRTUAL_ENV": "/some/venv", "PYTHONPATH": "/some/path"}
    assert home.run("../install/probe.sh", "a b", "")[0] == 0
    assert (home.app / "arguments").read_text() == "<a b><>"
    assert (home.app / "stdin").read_text() == "/dev/null\n"
    assert (home.app / "dir").read_text() == f"{home.app}\n"
    env = (home.app / "env").read_text().splitlines()
    assert {"PIP_REQUIRE_VIRTUALENV=1", "UV_PROJECT_ENVIRONMENT=venv"} <= set(env)
    assert not [line for line in env if line.startswith(("VIRTUAL_ENV=", "PYTHONPATH="))]


def test_packages_are_installed_by_hash_without_building(home: Home) -> None:
    home.recipe(
        "app_venv\napp_pip --copy probe.lock\necho $UV_LINK_MODE >probe/mode\n"
        "app_check 'import json'\ninstall_end"
    )
    code, output = home.run()
    assert code == 0, output
    venv, install = home.uv_calls.read_text().splitlines()
    assert venv.startswith("venv ")
    assert venv.endswith(f"{home.app}/venv")
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:", "install/probe.lock"):
        assert option in install
    assert (home.app / "mode").read_text() == "copy\n"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "1.0"),
        ('{"apps": {"probe": {"version": "2.0"}}}', "2.0"),
        ('\ufeff{"apps": {"probe": {"version": "$(id) 2"}}}', "$(id) 2"),
        ('{"apps": {"other": {"version": "2.0"}}}', "1.0"),
        ('{"apps": []}', "1.0"),
    ],
)
def test_a_recipe_reads_the_settings_of_its_app(home: Home, config: str | None, said: str) -> None:
    if config is not None:
        (home.root / "config.json").write_text(config)
    home.recipe('version=$(app_setting version 1.0)\necho "it is <$version>"\ninstall_end')
    code, output = home.run()
    assert code == 0, output
    assert f"it is <{said}>" in output


def test_the_log_of_an_install_has_each_line_once(home: Home) -> None:
    home.recipe("app_venv\napp_pip probe.lock\necho done\ninstall_end")
    (home.root / "uv").write_text(FAKE_UV + "echo one line\n")
    home.run()
    log = home.root / "data/logs/install-probe.log"
    assert log.read_text().count("one line\n") == 2  # by hand: what uv said, the venv and pip
    home.env["ONEGAI_UPDATE"] = "1"
    with log.open("w") as file:  # as the engine runs it
        subprocess.run(
            ["bash", "../install/probe.sh"], cwd=home.apps, env=home.env, stdout=file, check=True
        )
    assert log.read_text().count("one line\n") == 2
    assert log.read_text().endswith("done\n==> probe is updated\n")


def test_a_check_that_fails_fails_the_install(home: Home) -> None:
    home.recipe("app_venv\napp_check 'import no_such_module'\ninstall_end")
    code, output = home.run()
    assert (code, home.state()) == (1, "broken")
    assert "does not work here" in output


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("error: failed to write: No space left on device (os error 28)", "the disk is full"),
        ("  Caused by: invalid peer certificate: UnknownIssuer", "certificate is not trusted"),
        ("dns error: failed to lookup address information", "no network"),
        ("Hash mismatch for `x==1`", "not the one that was locked"),
        ("Because x has no wheels with a matching Python ABI tag", "has no build for"),
        ("failed to create file: Permission denied (os error 13)", "no permission"),
        ("something new", "making venv failed"),
    ],
)
def test_setup_explains_a_failure_in_one_line(home: Home, said: str, cause: str) -> None:
    requirements(home)
    home.env["FAKE_UV_ERROR"] = said
    code, output = home.setup()
    assert code == 1
    assert said in output
    assert len([line for line in output.splitlines() if line.startswith("error: making")]) == 1
    assert cause in output
    assert said in (home.root / "data/logs/setup.log").read_text()


def requirements(home: Home, **content: str) -> None:
    (home.root / "requirements").mkdir(exist_ok=True)
    for name in ("onegai", "dev"):
        (home.root / f"requirements/{name}.lock").write_text(content.get(name, "x==1\n"))


def test_setup_is_silent_when_nothing_changed(home: Home) -> None:
    requirements(home)
    assert home.setup()[0] == 0
    assert home.setup() == (0, "")
    venv, install = home.uv_calls.read_text().splitlines()
    assert venv.startswith("venv ")
    assert "dev.lock" not in install
    assert home.setup("--dev")[0] == 0
    assert home.setup("--dev") == home.setup() == (0, "")


def test_setup_adds_what_a_changed_lock_wants(home: Home) -> None:
    requirements(home)
    home.setup()
    home.uv_calls.unlink()
    requirements(home, onegai="x==2\n")
    assert home.setup()[0] == 0
    (install,) = home.uv_calls.read_text().splitlines()  # the venv stays, with inline apps in it
    assert "--reinstall" not in install


def test_setup_makes_a_half_made_venv_again(home: Home) -> None:
    requirements(home)
    home.setup()
    (home.root / "venv/.onegai-stamp").unlink()
    (home.root / "venv/half").touch()
    assert home.setup()[0] == 0
    assert not (home.root / "venv/half").exists()


@pytest.mark.parametrize("how", ["interrupted", "moved"])
def test_setup_mends_a_venv(home: Home, how: str) -> None:
    requirements(home)
    home.setup()
    stamp = home.root / "venv/.onegai-stamp"
    first, rest = stamp.read_text().split("\n", 1)
    assert first == str(home.root)
    stamp.write_text(("changing" if how == "interrupted" else "/old/place") + "\n" + rest)
    home.uv_calls.unlink()
    assert home.setup()[0] == 0
    assert "--reinstall" in home.uv_calls.read_text()
    assert home.setup() == (0, "")


def test_a_removed_interpreter_keeps_the_packages(home: Home) -> None:
    requirements(home)
    home.setup()
    (home.root / "venv/bin/python").unlink()
    (home.root / "venv/library").touch()
    assert home.setup()[0] == 0
    assert (home.root / "venv/library").exists()
    assert (home.root / "venv/bin/python").exists()


def test_a_second_setup_waits_for_the_first(home: Home) -> None:
    requirements(home)
    (home.root / "data").mkdir()
    with (home.root / "data/.setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with home.start("setup/onegai.sh", cwd=home.root) as process:
            assert process.stdout
            assert "waiting" in process.stdout.readline()
            fcntl.flock(lock, fcntl.LOCK_UN)
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.endswith("==> OneGAI is set up\n")


def test_setup_refuses_unknown_arguments(home: Home) -> None:
    assert home.setup("--development") == (2, "usage: setup/onegai.sh [--dev]\n")


def test_a_wrong_onegai_uv_is_named(home: Home) -> None:
    requirements(home)
    home.env["ONEGAI_UV"] = "/nowhere/uv"
    code, output = home.setup()
    assert code == 1
    assert "ONEGAI_UV=/nowhere/uv is not a uv that runs" in output


LOCKS = sorted(
    path
    for folder in ("requirements", "install", "examples/*/install", "tests")
    for path in REPOSITORY.glob(f"{folder}/*.lock")
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_no_address_and_pins_by_hash(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    pins = re.findall(r"^[a-zA-Z0-9._-]+(?:\[[\w,-]+\])?==\S+.*\\\n +--hash=sha256:", text, re.M)
    assert len(pins) == len(re.findall(r"^\w", text, re.M)) > 0


def test_every_lock_has_its_script_and_every_script_its_lib() -> None:
    scripts = {path.stem for path in REPOSITORY.glob("install/*.sh")} - {"lib"}
    of_lib = {"py7zr"}
    assert {path.stem for path in REPOSITORY.glob("install/*.lock")} - of_lib <= scripts
    for name in scripts:
        text = (REPOSITORY / f"install/{name}.sh").read_text()
        assert f"\ninstall_begin {name}" in text
        assert text.endswith("\ninstall_end\n")
