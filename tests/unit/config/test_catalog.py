"""services.json, services.local.json and config.json's ``apps`` become specs and problems."""

import json
from pathlib import Path
from typing import Any

import pytest

from onegai.config import jsonfile
from onegai.config.catalog import RESERVED, Catalog, load_catalog
from onegai.config.home import Home
from onegai.errors import BrokenEntry, Inactive, UnknownApp, UnreadableFile

WEB = {"type": "webapi", "port": 5001, "exec": "run --port {port}"}


def catalog(
    root: Path,
    services: Any,
    local: Any = None,
    overrides: dict[str, dict[str, Any]] | None = None,
) -> Catalog:
    """Load what the two files hold; text is written as it is."""
    home = Home(root)
    for path, content in ((home.services, services), (home.services_local, local)):
        if content is not None:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_catalog(home, overrides or {})


def only_problem(found: Catalog) -> tuple[str, str]:
    """Key and reason, when there is one problem and it is the app ``a``'s."""
    [problem] = found.problems
    assert problem.app == "a"
    assert found.broken == {"a": problem}
    return problem.key, problem.reason


def test_no_files_no_apps(tmp_path: Path) -> None:
    assert load_catalog(Home(tmp_path), {}) == Catalog({})


def test_comments_are_no_apps_and_no_keys(tmp_path: Path) -> None:
    found = catalog(tmp_path, {"_": "x", "_old": WEB, "a": {**WEB, "_why": "because"}})
    assert set(found.specs) == {"a"}
    assert found.problems == ()


def test_local_file_is_merged_per_app(tmp_path: Path) -> None:
    found = catalog(
        tmp_path,
        {"a": {**WEB, "vram": 4}, "b": {**WEB, "port": 5002}},
        {"a": {"port": 6001, "env": {"X": "1"}}, "c": {**WEB, "port": 5003}},
    )
    assert found.problems == ()
    a = found.specs["a"]
    assert (a.port, a.vram, a.exec, a.env) == (6001, 4, "run --port {port}", {"X": "1"})
    assert (found.specs["b"].port, found.specs["c"].port) == (5002, 5003)


def test_config_is_laid_over_and_its_own_settings_are_apart(tmp_path: Path) -> None:
    found = catalog(
        tmp_path,
        {"a": {**WEB, "vram": 4}},
        {"a": {"vram": 6}},
        {"a": {"vram": 8, "voice": "heart"}, "gone": {"vram": 1}},
    )
    assert found.specs["a"].vram == 8
    assert found.own_settings["a"] == {"voice": "heart"}
    [problem] = found.problems
    assert (problem.app, problem.file, problem.key) == ("gone", "config.json", "apps.gone")


def test_mistyped_override_is_told_and_a_setting_of_the_apps_own_is_not(tmp_path: Path) -> None:
    own = {"vrma": 6, "_vram": "was 8", "voice": "heart", "tag": "x"}
    (tmp_path / "func").mkdir()
    (tmp_path / "func" / "a.py").write_text('tag = config("a").get("tag")\n')
    found = catalog(tmp_path, {"a": WEB}, None, {"a": own})
    assert found.own_settings["a"] == own
    [problem] = found.problems
    assert (problem.file, problem.key) == ("config.json", "apps.a.vrma")
    assert problem.reason == "unknown key; did you mean vram?"


def test_broken_entry_of_an_app_that_is_off_is_a_remark(tmp_path: Path) -> None:
    broken = {**WEB, "exec": "cd x && y"}
    found = catalog(tmp_path, {"off": {**broken, "active": 0}, "on": broken})
    assert {problem.app: problem.remark for problem in found.problems} == {"off": True, "on": False}


def test_an_app_may_be_in_a_file_that_does_not_parse(tmp_path: Path) -> None:
    (tmp_path / "services.local.json").write_text("{,}")
    found = catalog(tmp_path, {"a": WEB})
    assert found.spec("a").app == "a"
    with pytest.raises(UnreadableFile, match=r"services\.local\.json can not be read: .*line 1"):
        found.spec("b")


def test_bad_override_is_a_problem_of_that_app_only(tmp_path: Path) -> None:
    found = catalog(tmp_path, {"a": WEB, "b": {**WEB, "port": 5002}}, None, {"a": {"vram": "much"}})
    assert set(found.specs) == {"b"}
    [problem] = found.problems_of("a")
    assert problem.key == "vram"
    assert "config.json" in problem.file


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"vrma": 1}, "vrma", "unknown key; did you mean vram?"),
        ({"colour": 1}, "colour", "unknown key"),
        ({"release": {"post": "/", "jsn": {}}}, "release.jsn", "unknown key"),
        ({"app": "b"}, "app", "entry's name"),
        ({"ready": {"htpp": "/"}}, "ready.htpp", "unknown key"),
        ({"type": "docker"}, "type", "'gradio', 'webapi', 'command', 'inline' or 'functions'"),
        ({"type": None}, "type", ""),
        ({"port": 0}, "port", "greater than or equal to 1"),
        ({"port": 70000}, "port", "less than or equal to 65535"),
        ({"port": "high"}, "port", "integer"),
        ({"active": 2}, "active", "boolean"),
        ({"vram": -1}, "vram", "greater than or equal to 0"),
        ({"vram": float("inf")}, "vram", "finite"),
        ({"vram": 1e308}, "vram", "less than or equal to"),
        ({"ram": 1e308}, "ram", "less than or equal to"),
        ({"env": {"N": 1}}, "env.N", "string"),
        ({"env": {"N": "a\0"}}, "env.N", "zero byte"),
        ({"env": {"A=B": "1"}}, "env.A=B.[key]", "cannot be the name of a variable"),
        ({"exec": "run \0"}, "exec", "zero byte"),
        ({"cwd": "/etc"}, "cwd", "below apps"),
        ({"cwd": "a/../.."}, "cwd", "below apps"),
        ({"data": ["models", "../b"]}, "data.1", "below apps"),
        ({"ready": {}}, "ready", "exactly one"),
        ({"ready": {"http": "/", "tcp": True}}, "ready", "exactly one"),
        ({"ready": {"tcp": False}}, "ready", "exactly one"),
        ({"ready": {"log": "("}}, "ready", "no regular expression"),
        ({"ready": {"log": "a{99999999999}"}}, "ready", "no regular expression"),
        ({"ready": {"http": "health"}}, "ready.http", "match pattern"),
        ({"start_timeout": 0}, "start_timeout", "greater than 0"),
        ({"restart": "always"}, "restart", "'on-failure' or 'never'"),
        ({"exec": None}, "", "needs exec"),
        ({"port": None}, "", "needs a port"),
        ({"url": "localhost:80", "exec": None}, "url", "match pattern"),
    ],
)
def test_bad_key_is_named_and_hides_no_other_app(
    tmp_path: Path, change: dict[str, Any], key: str, says: str
) -> None:
    found = catalog(tmp_path, {"a": {**WEB, **change}, "b": {**WEB, "port": 5002}})
    assert set(found.specs) == {"b"}
    named, reason = only_problem(found)
    assert named == key
    assert says in reason


@pytest.mark.parametrize(
    "name", ["A", "1a", "a-b", "a b", "あ", "a/b", "", "a" * 65, "a\n", *sorted(RESERVED)]
)
def test_bad_names(tmp_path: Path, name: str) -> None:
    found = catalog(tmp_path, {name: WEB, "ok": {**WEB, "port": 5002}})
    assert set(found.specs) == {"ok"}
    assert list(found.broken) == [name]


@pytest.mark.parametrize("name", ["a", "a" * 64, "a_1", "apps", "v2"])
def test_good_names(tmp_path: Path, name: str) -> None:
    assert set(catalog(tmp_path, {name: WEB}).specs) == {name}


@pytest.mark.parametrize("entry", [[], "x", 1, None])
def test_entry_that_is_no_object(tmp_path: Path, entry: object) -> None:
    assert "object" in only_problem(catalog(tmp_path, {"a": entry}))[1]


def test_file_that_does_not_parse_leaves_the_other_file(tmp_path: Path) -> None:
    found = catalog(tmp_path, '{\n  "a": {\n', {"b": WEB})
    assert set(found.specs) == {"b"}
    [problem] = found.problems
    assert (problem.file, problem.line, problem.app) == ("services.json", 3, "")


def test_shared_port_is_a_remark_for_both(tmp_path: Path) -> None:
    found = catalog(tmp_path, {"a": WEB, "b": WEB, "c": {"type": "webapi", "url": "http://x"}})
    assert set(found.specs) == {"a", "b", "c"}
    assert found.broken == {}
    assert [(problem.app, problem.key) for problem in found.problems] == [
        ("a", "port"),
        ("b", "port"),
    ]
    assert "5001" in found.problems[0].reason
    assert "b" in found.problems[0].reason


def test_a_func_file_alone_is_an_app(tmp_path: Path) -> None:
    (tmp_path / "func").mkdir()
    for name in ("a.py", "chain.py", "other.py", "bad.py", "_words.py", "A.py", "v1.py", "x.txt"):
        (tmp_path / "func" / name).write_text("")
    jsonfile.write(tmp_path / "services.json", {"a": WEB, "bad": {"type": "sever"}})
    config = {"chain": {"concurrency": 1, "voice": "x"}, "other": {"concurrency": "x"}}
    found = load_catalog(Home(tmp_path), config)
    assert set(found.specs) == {"a", "chain"}
    assert found.specs["a"].has_service
    chain = found.specs["chain"]
    assert (chain.type, chain.has_service, chain.calls_at_once) == ("functions", False, 1)
    assert found.own_settings["chain"] == {"voice": "x"}
    assert set(found.broken) == {"bad", "other"}
    assert found.broken["other"].file == "func/other.py with apps.other of config.json"


def test_an_app_is_looked_up(tmp_path: Path) -> None:
    found = catalog(tmp_path, {"a": WEB, "off": {**WEB, "port": 5002, "active": 0}})
    assert found.spec("a") is found.active("a") is found.specs["a"]
    assert found.spec("off") is found.specs["off"]
    with pytest.raises(Inactive):
        found.active("off")
    with pytest.raises(UnknownApp) as raised:
        found.active("b")
    assert raised.value.advice == "the apps are: a, off"


def test_without_entries_nothing_is_found() -> None:
    with pytest.raises(UnknownApp) as raised:
        Catalog({}).spec("a")
    assert raised.value.advice == "services.json is empty"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({**WEB, "colour": "red"}, "colour: unknown key"),
        ([], "the entry must be an object, {...}"),
    ],
)
def test_looking_up_a_broken_entry_says_what_is_wrong(
    tmp_path: Path, entry: object, reason: str
) -> None:
    found = catalog(tmp_path, {"a": entry, "b": WEB})
    with pytest.raises(BrokenEntry) as raised:
        found.active("a")
    assert (raised.value.params["app"], raised.value.params["reason"]) == ("a", reason)
    assert raised.value.params["file"] == "services.json"
    assert found.active("b").app == "b"


def test_shipped_entries_are_good(root: Path) -> None:
    found = load_catalog(Home(root), {})
    shipped = jsonfile.content(json.loads((root / "services.json").read_text())).keys()
    assert found.problems == ()
    assert set(found.specs) >= shipped


def test_no_shipped_app_phones_home(root: Path) -> None:
    """ONNX Runtime's wheels send telemetry unless told not to (its docs/Privacy.md)."""
    specs = load_catalog(Home(root), {}).specs
    locks = {path.stem: path.read_text() for path in (root / "install").glob("*.lock")}
    using = [app for app, lock in locks.items() if "\nonnxruntime==" in f"\n{lock}"]
    assert "hibari" in using
    for app in using:
        assert specs[app].env.get("ORT_DISABLE_TELEMETRY") == "1", app
