"""Real Gradio apps of each generation: what they tell, calls in every protocol, files, ends.

One app for all (tests/gradio/app.py), on one server. Arguments are given in the app's own order
where their names, which differ between the generations, are not what is tested.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gradio_apps import LOCKS, NoVenv, Relay, Space, venvs
from harness import PASSWORD, ROOT, Answer, Server, form, new_server, until
from picture import png

MOST = 1 << 20
OPTIONS = {
    "3.38.0": ("--api-closed",),
    "4.44.1": ("--api-closed", "--root-path", "/behind/a/proxy"),
    "5.50.0": (),
    "6.31.0": ("--api-closed", "--root-path", "/behind/a/proxy"),
}
FUNCTIONS = (
    "greet slowly two_slowly count chat shrink told fails crashes breaks remember turned drawn "
    "loud movie upper sizes gallery table choices large _hidden_name_2"
).split()


@pytest.fixture(scope="module")
def made() -> dict[str, Path | NoVenv]:
    return venvs()


@pytest.fixture(scope="module")
def server(
    made: dict[str, Path | NoVenv], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """All apps start at once."""
    home = tmp_path_factory.mktemp("gradio") / "home"
    spaces = [_space(made, home, version) for version in LOCKS]
    entries = {one.app: one.entry(*OPTIONS[one.version]) for one in spaces if one is not None}
    with new_server(home, entries) as server:
        settings = {"max_result": MOST, "file_roots": [str(home / "given")]}
        server.write("config.json", {"username": "onegai", "password": PASSWORD, **settings})
        server.write("func/__init__.py", (ROOT / "func" / "__init__.py").read_text())
        server.start()
        for app in entries:
            server.post("/service/start", {"app": app, "wait": False})
        yield server


def _space(made: dict[str, Path | NoVenv], folder: Path, version: str) -> Space | None:
    python = made[version]
    return Space(version, python, folder) if isinstance(python, Path) else None


@pytest.fixture(scope="module", params=LOCKS)
def version(request: pytest.FixtureRequest, made: dict[str, Path | NoVenv]) -> str:
    if isinstance(why := made[request.param], NoVenv):
        pytest.skip(str(why))
    return str(request.param)


@dataclass
class App:
    """One of the apps, and what is asked of it."""

    server: Server
    space: Space

    @property
    def app(self) -> str:
        return self.space.app

    @property
    def port(self) -> int:
        return int(self.server.service(self.app)["port"])

    @property
    def old(self) -> bool:
        return self.space.generation < 4

    def post(self, function: str, *data: Any, **more: Any) -> Answer:
        return self.server.post(f"/api/{self.app}/{function}", {"data": data, **more})

    def call(self, function: str, *data: Any, **more: Any) -> Any:
        answer = self.post(function, *data, **more)
        assert answer.status == 200, answer.body
        return answer.result

    def events(self, function: str, *data: Any) -> list[tuple[str, dict[str, Any]]]:
        with self.server.client() as client:
            stream = client.stream(self.app, function, {"data": list(data)})
            return [(one.event, one.data) for one in stream]

    def noted(self, text: str, before: int = 0) -> int:
        """How often that was noted since there were so many."""
        return self.space.notes().count(text) - before


@dataclass
class Elsewhere(App):
    """One of them behind a port that may lead to another."""

    name: str
    relay: Relay

    @property
    def app(self) -> str:
        return self.name

    def lead_to(self, port: int) -> None:
        self.relay.target = port
        self.relay.cut()


@pytest.fixture(scope="module")
def app(server: Server, made: dict[str, Path | NoVenv], version: str) -> App:
    space = _space(made, server.home, version)
    assert space is not None
    server.post("/service/start", {"app": space.app, "wait": True})
    return App(server, space)


def base64_of(content: bytes, name: str) -> dict[str, str]:
    return {"base64": base64.b64encode(content).decode(), "name": name}


def wav(frames: int) -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(b"\1\2" * frames)
        return file.getvalue()


def of(events: list[tuple[str, dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    return [data for event, data in events if event == name]


class TestEachGeneration:
    # --- what it tells -----------------------------------------------------------------------

    def test_each_endpoint_that_gradio_shows_is_a_function(self, app: App) -> None:
        functions = app.server.get(f"/api/{app.app}").result
        unnamed = "fn_22" if app.old else "lambda_"
        assert [one["name"] for one in functions] == [*FUNCTIONS, unnamed]
        streams = {one["name"] for one in functions if one["streams"]}
        assert streams == {"count", "chat", "shrink", "breaks"}
        document = app.server.get("/openapi.json").json
        assert f"/api/{app.app}/greet" in document["paths"]

    def test_arguments_are_described_by_the_components(self, app: App) -> None:
        functions = {one["name"]: one for one in app.server.get(f"/api/{app.app}").result}
        greet = functions["greet"]["schema"]
        assert [name for name in greet["properties"] if name != "session"] == (
            ["some_text", "times_1_5", "polite"] if app.old else ["name", "times", "polite"]
        )
        assert len(greet["required"]) == 1
        text, times, polite, _session = greet["properties"].values()
        assert (text["type"], text["title"]) == ("string", "Some text")
        assert (times["minimum"], times["maximum"], times["default"]) == (1, 5, 2)
        assert (polite["type"], polite["default"]) == ("boolean", False)
        assert list(functions["choices"]["schema"]["properties"])[:2] == ["colour", "size"]
        colour, size, tags, extras, *_ = functions["choices"]["schema"]["properties"].values()
        assert (colour["enum"], colour["default"]) == (["red", "green"], "red")
        assert size["enum"] == ["small", "large", None]
        assert (tags["items"]["enum"], extras["items"]["enum"]) == (["a", "b", "c"], ["x", "y"])
        for name in ("turned", "loud", "movie", "upper", "sizes", "gallery"):
            [file, _session] = functions[name]["schema"]["properties"].values()
            assert "x-onegai-file" in json.dumps(file)
        assert list(functions["remember"]["schema"]["properties"])[1:] == ["session"]  # no state

    def test_where_info_fails_the_page_tells(self, app: App) -> None:
        with app.space.refusing("/info 500"):
            changed = app.server.get(f"/api/{app.app}").result
            names = {one["name"]: list(one["schema"]["properties"]) for one in changed}
            assert names["greet"] == ["some_text", "times_1_5", "polite", "session"]
            assert names["choices"][:2] == ["colour", "size"]
            said = app.server.post(f"/api/{app.app}/greet", {"some_text": "you", "times_1_5": 1})
            assert said.result == "hello you"
            old_names = app.server.post(f"/api/{app.app}/greet", {"name": "you"})
            assert old_names.status == (422 if "name" not in names["greet"] else 200)
        app.server.get(f"/api/{app.app}")

    def test_where_config_fails_it_says_so_and_keeps_what_it_knew(self, app: App) -> None:
        for status, words in ((401, "asks for a login"), (500, "no JSON")):
            with app.space.refusing(f"/config {status}"):
                functions = app.server.get(f"/api/{app.app}").result
                problems = app.server.get("/service/status").result["problems"]
                [told] = [one for one in problems if one["app"] == app.app]
                assert words in told["reason"]
                assert app.call("greet", "you", 1) == "hello you"
            assert {"greet", "large"} <= {one["name"] for one in functions}
        app.server.get(f"/api/{app.app}")
        problems = app.server.get("/service/status").result["problems"]
        assert [one for one in problems if one["app"] == app.app] == []

    # --- calls -------------------------------------------------------------------------------

    def test_by_names_and_in_its_own_order(self, app: App) -> None:
        first, second, _third = app.space.names(app.server, "greet")
        path = f"/api/{app.app}/greet"
        assert app.server.post(path, {first: "you"}).result == "hello you hello you"
        assert app.server.post(path, {first: "you", second: 1}).result == "hello you"
        assert app.call("greet", "you", 1, True) == "hello you, please"
        assert app.call("_hidden_name_2", "ab") == "abab"
        assert app.call("fn_22" if app.old else "lambda_", "ab", "cd") == "abcd"

    def test_from_plain_python(self, app: App) -> None:
        names = (app.space.names(app.server, name)[0] for name in ("greet", "count", "turned"))
        greet, count, turned = names
        script = f"""
from func import {app.app} as app
print(app.greet({greet}="you"))
print(app.count({count}=2)[1])
print(app.turned({turned}={{"base64": {base64_of(png(3, 2), "")["base64"]!r}}}).media_type)
"""
        ended = subprocess.run(
            [sys.executable, "-c", script],
            cwd=app.server.home,
            env={**os.environ, "PYTHONPATH": str(ROOT), "ONEGAI_HOME": str(app.server.home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        said, counted, kind = ended.stdout.splitlines()
        assert (said, counted) == ("hello you hello you", "1.0" if app.old else "1")
        assert kind in ("image/png", "image/webp")

    def test_every_kind_of_value(self, app: App) -> None:
        more = {"a": [1, None, "ü"], "b": {"c": True}}
        given = ["green", None, ["a", "c"], ["x"], 7, more]
        keys = ("colour", "size", "tags", "extras", "number", "more")
        assert app.call("choices", *given) == dict(zip(keys, given, strict=True))
        rows = [["1", "2"], ["3", "4"]]
        assert app.call("table", rows)["data"] == rows
        assert app.call("table", {"headers": ["a", "b"], "data": rows})["data"] == rows

    def test_progress_and_what_the_app_says_are_events(self, app: App) -> None:
        events = app.events("slowly", 0.5)
        assert events[-1] == ("done", {"result": 1, "detail": {}})
        told = [one for one in of(events, "progress") if "fraction" in one]
        fractions = [one["fraction"] for one in told]
        assert len(fractions) >= 3
        assert fractions == sorted(fractions)
        assert 0 < fractions[-1] <= 1
        assert {one.get("text") for one in told} >= {"working"}
        log = of(app.events("told", "it"), "progress")[-1]["log"]
        assert [(one["level"], one["text"]) for one in log] == [
            ("info", "an info: it"),
            ("warning", "a warning: it"),
        ]

    def test_calls_wait_in_the_apps_own_queue(self, app: App) -> None:
        with ThreadPoolExecutor(3) as threads:
            calls = [threads.submit(app.events, "slowly", 0.3) for _ in range(3)]
            all_events = [call.result() for call in calls]
        assert [events[-1][1]["result"] for events in all_events] == [1, 1, 1]
        ranks = {
            one["rank"] for events in all_events for one in of(events, "progress") if "rank" in one
        }
        assert 1 in ranks
        assert any(
            "before it" in one.get("text", "")
            for events in all_events
            for one in of(events, "progress")
        )

    def test_as_many_at_once_as_the_app_lets(self, app: App) -> None:
        if app.old:
            pytest.skip("3.x has one limit for the whole app")
        with ThreadPoolExecutor(2) as threads:
            calls = [threads.submit(app.call, "two_slowly", 0.4) for _ in range(2)]
            assert [call.result() for call in calls] == [2, 2]

    def test_outputs_of_a_generator_come_as_they_are_made(self, app: App) -> None:
        events = app.events("count", 3)
        pieces = [one["result"] for one in of(events, "output")]
        assert pieces == [["0", 0], ["0 1", 1], ["0 1 2", 2]]
        detail = {"labels": ["the output", "the number"]}
        assert events[-1] == ("done", {"result": ["0 1 2", 2], "detail": detail})
        answer = app.post("count", 3)
        assert (answer.result, answer.detail) == (["0 1 2", 2], detail)

    def test_outputs_that_change_inside_or_become_shorter(self, app: App) -> None:
        events = app.events("shrink", 5)
        assert [one["result"] for one in of(events, "output")] == [
            {"list": list(range(size)), "size": size} for size in (5, 4, 3, 2, 1)
        ]
        talk = [one["result"] for one in of(app.events("chat", "hey", []), "output")]
        said = (
            [turn[-1][1] for turn in talk]
            if app.space.generation < 6
            else [turn[-1]["content"][0]["text"] for turn in talk]
        )
        assert said == ["H", "HE", "HEY"]
        again = app.call("chat", "you", talk[-1])
        assert len(again) == 2 * len(talk[-1])

    def test_as_a_job(self, app: App) -> None:
        with app.server.client() as client:
            job = client.submit(app.app, "count", {"data": [3]})
            names = [one.event for one in client.events(job.id)]
            assert names.count("output") == 3
            assert client.result(job).result == ["0 1 2", 2]

    def test_a_session_keeps_the_state_of_its_calls(self, app: App) -> None:
        assert app.call("remember", "one", session="mine") == "one"
        assert app.call("remember", "two", session="mine") == "one, two"
        assert app.call("remember", "three", session="other") == "three"
        assert app.call("remember", "four") == "four"
        assert app.call("remember", "five") == "five"
        with ThreadPoolExecutor(3) as threads:  # Gradio tells the events of a session once
            calls = [threads.submit(app.call, "remember", "x", session="same") for _ in range(3)]
            lengths = sorted(len(call.result().split(", ")) for call in calls)
        assert lengths == [1, 2, 3]

    # --- files -------------------------------------------------------------------------------

    def test_a_picture_comes_back_as_bytes(self, app: App) -> None:
        answer = app.post("turned", base64_of(png(3, 2), "a.png"))
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] in ("image/png", "image/webp")
        assert answer.body[:4] in (b"\x89PNG", b"RIFF")
        assert app.post("turned", None).json["result"] is None

    def test_a_drawing_in_parts_or_a_picture_alone(self, app: App) -> None:
        first, second = ("image", "mask") if app.old else ("background", "composite")
        parts = {first: base64_of(png(3, 2), "a.png"), second: base64_of(png(3, 2), "b.png")}
        assert app.call("drawn", parts) == {first: [3, 2], second: [3, 2]}
        if not app.old:
            alone = app.call("drawn", base64_of(png(3, 2), "a.png"))
            assert alone == {first: [3, 2], second: [3, 2]}

    def test_a_sound_beside_another_output_is_a_link(self, app: App) -> None:
        sound, frames = app.call("loud", base64_of(wav(800), "a.wav"))
        assert (sound["media_type"], frames) == ("audio/wav", 800)
        with wave.open(io.BytesIO(app.server.get(sound["url"]).body)) as file:
            assert file.getnframes() == 800

    def test_every_form_of_a_file(self, app: App) -> None:
        path = f"/api/{app.app}/upper"
        [name] = app.space.names(app.server, "upper")
        below = app.server.write("given/here it is.txt", "path")
        forms: list[tuple[Any, bytes]] = [
            (base64_of(b"bytes", "a.txt"), b"BYTES"),
            ("data:text/plain;base64,dXJs", b"URL"),
            (str(below), b"PATH"),
        ]
        for given, expected in forms:
            assert app.server.post(path, {name: given}).body == expected
        body, content_type = form((name, "ünïcode name.txt", b"part"))
        answer = app.server.post(path, body, Content_Type=content_type)
        assert (answer.body, answer.headers["content-type"]) == (
            b"PART",
            "text/plain; charset=utf-8",
        )
        with app.server.client() as client:
            job = client.submit(app.app, "upper", {name: base64_of(b"job", "a.txt")})
            for _ in client.events(job.id):
                pass
        again = app.server.post(path, {name: {"job": job.id}})
        assert again.body == b"JOB"

    def test_several_files_and_a_gallery_and_a_video(self, app: App) -> None:
        files = [base64_of(b"hello", "a.txt"), base64_of(b"he", "b.txt")]
        sizes, back = app.call("sizes", files)
        assert sizes == {"a.txt": 5, "b.txt": 2}
        assert [(one["name"], one["size"]) for one in back] == [("a.txt", 5), ("b.txt", 2)]
        pictures = app.call(
            "gallery", [base64_of(png(2, 2), "a.png"), base64_of(png(2, 3), "b.png")]
        )
        assert [one["caption"] for one in pictures] == ["number 0", "number 1"]
        assert {one["image"]["media_type"] for one in pictures} <= {"image/png", "image/webp"}
        assert (
            app.post("movie", base64_of(b"no video, but moved", "a.mp4")).body
            == b"no video, but moved"
        )

    # --- what goes wrong ---------------------------------------------------------------------

    def test_the_apps_own_errors(self, app: App) -> None:
        for function, words in (("fails", "no: it"), ("crashes", "does not say why")):
            answer = app.post(function, "it")
            assert (answer.status, answer.detail["code"]) == (502, "error_answer")
            assert (answer.detail["src"], "secret" in str(answer.json)) == (app.app, False)
            assert words in answer.result
            assert answer.result.count("'") == 0
        events = app.events("breaks", 1)
        assert [one["result"] for one in of(events, "output")] == ["one"]
        assert (events[-1][0], events[-1][1]["code"]) == ("error", "error_answer")
        assert "in the middle" in events[-1][1]["message"]

    def test_wrong_arguments_are_told_before_the_app_is_asked(self, app: App) -> None:
        first, second, third = app.space.names(app.server, "greet")
        path = f"/api/{app.app}/greet"
        for given, fields in (
            ({}, {first}),
            (
                {first: 1, second: 9, third: "perhaps", "nonsense": 1},
                {first, second, third, "nonsense"},
            ),
            ({"data": ["a", 1, True, 4, 5]}, {"data"}),
            ({"data": "a"}, {"data"}),
            ({"data": [None]}, {first}),
        ):
            answer = app.server.post(path, given)
            assert (answer.status, answer.detail["code"]) == (422, "bad_arguments")
            assert {error["field"] for error in answer.detail["errors"]} == fields
            assert first in answer.detail["hint"]
        answer = app.post("choices", "blue", None, [], [], 1, 1)
        assert answer.status == 422
        assert "red" in answer.result

    def test_too_large_an_answer(self, app: App) -> None:
        answer = app.post("large", MOST / (1 << 20) + 1)
        assert (answer.status, answer.detail["code"]) == (500, "result_too_large")
        assert app.call("large", 1 / (1 << 20)) == "x"

    # --- ends --------------------------------------------------------------------------------

    def test_who_leaves_ends_the_call_in_the_app(self, app: App) -> None:
        """A generator of 50 s, behind which the next call would wait."""

        def nothing_else_counts() -> None:
            assert app.call("count", 1) == ["0", 0]
            counted = app.space.notes().count("count counts")
            assert app.call("count", 5)[1] == 4
            assert app.noted("count counts", counted) == 5

        with app.server.client() as client:
            with closing(client.stream(app.app, "count", {"data": [1000]})) as events:
                next(one for one in events if one.event == "output")
            nothing_else_counts()
            job = client.submit(app.app, "count", {"data": [1000]})
            next(one for one in client.events(job.id) if one.event == "output")
            client.cancel(job.id)
            nothing_else_counts()

    def test_what_cannot_be_ended_is_waited_for(self, app: App) -> None:
        """A function in a thread: the next one does not run beside it."""
        begun = app.space.notes().count("slowly begins")
        with app.server.client() as client:
            with closing(client.stream(app.app, "slowly", {"data": [0.5]})) as events:
                next(one for one in events if one.event == "progress")  # so its stream is open
                until(lambda: app.noted("slowly begins", begun) == 1)
            assert app.call("slowly", 0.1) == 1

    def test_who_leaves_the_queue_is_not_served(self, app: App) -> None:
        begun = app.space.notes().count("slowly begins")
        with ThreadPoolExecutor(1) as threads, app.server.client() as client:
            first = threads.submit(app.call, "slowly", 0.8)
            until(lambda: app.noted("slowly begins", begun) == 1)
            with closing(client.stream(app.app, "slowly", {"data": [0.8]})) as events:
                next(one for one in events if "rank" in one.data)
            assert first.result() == 1
        assert app.call("slowly", 0.1) == 1
        assert app.noted("slowly begins", begun) == 2


@pytest.fixture
def two(server: Server, made: dict[str, Path | NoVenv]) -> tuple[App, App]:
    """Those of which the one takes the other's place."""
    spaces = [_space(made, server.home, version) for version in ("4.44.1", "6.31.0")]
    if None in spaces:
        pytest.skip("there are no two apps")
    first, second = (App(server, space) for space in spaces if space is not None)
    for one in (first, second):
        server.post("/service/start", {"app": one.app, "wait": True})
    return first, second


class TestElsewhere:
    """An app that OneGAI does not start, as a Space is: behind a URL."""

    @pytest.fixture
    def elsewhere(self, two: tuple[App, App]) -> Iterator[Elsewhere]:
        """It leads to the first of the two, until it is led to another port."""
        server = two[0].server
        entries = json.loads((server.home / "services.json").read_text())
        with Relay(two[0].port) as relay:
            app = f"elsewhere_{relay.port}"
            url = f"http://127.0.0.1:{relay.port}"
            server.edit(
                "services.json",
                {**entries, app: {"type": "gradio", "url": url, "concurrency": 2}},
            )
            yield Elsewhere(server, two[0].space, app, relay)
            server.edit("services.json", entries)

    def test_it_is_called_through_call_where_its_queue_is_refused(
        self, two: tuple[App, App], elsewhere: Elsewhere
    ) -> None:
        for one in two:
            elsewhere.lead_to(one.port)
            one.server.get(f"/api/{elsewhere.app}")
            with one.space.refusing("/queue/join 404"):
                events = elsewhere.events("count", 3)
                assert [piece["result"][1] for piece in of(events, "output")][-1] == 2
                assert events[-1][1]["result"] == ["0 1 2", 2]
                assert elsewhere.call("remember", "x") == "x"
                session = f"of {one.app}"
                assert elsewhere.call("remember", "x", session=session) == "x"
                assert elsewhere.call("remember", "y", session=session) == "x, y"
                answer = elsewhere.post("fails", "it")
                assert (answer.status, answer.detail["code"]) == (502, "error_answer")
                with one.server.client() as client:
                    stream = client.stream(elsewhere.app, "count", {"data": [1000]})
                    with closing(stream) as some:
                        next(event for event in some if event.event == "output")
                assert one.call("count", 1) == ["0", 0]
            assert elsewhere.call("greet", "you", 1) == "hello you"

    def test_another_app_on_its_port_is_noticed(
        self, two: tuple[App, App], elsewhere: Elsewhere
    ) -> None:
        assert elsewhere.call("greet", "you", 1) == "hello you"
        for port in (two[1].port, elsewhere.server.port):  # another Gradio; no Gradio app at all
            elsewhere.lead_to(port)
            answer = elsewhere.post("remember", "x")
            assert (answer.status, answer.detail["code"]) == (409, "app_changed")
            assert answer.detail["src"] == elsewhere.app
            elsewhere.lead_to(two[1].port)
            assert elsewhere.call("remember", "x") == "x"  # as that one has it

    def test_a_connection_that_breaks(self, elsewhere: Elsewhere) -> None:
        with elsewhere.server.client() as client:
            for event in client.stream(elsewhere.app, "count", {"data": [1000]}):
                if event.event == "output":
                    elsewhere.relay.cut()
            assert (event.event, event.data["code"]) == ("error", "unreachable")
        assert elsewhere.call("count", 1) == ["0", 0]


def test_an_app_that_ends_in_the_middle(two: tuple[App, App]) -> None:
    first, _second = two
    events = first.events("breaks", 9)
    assert [one["result"] for one in of(events, "output")] == ["one"]
    assert (events[-1][0], events[-1][1]["code"]) == ("error", "died")
