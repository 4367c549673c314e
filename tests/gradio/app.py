"""One Gradio app for every generation, 3.14 to 6: each kind of component, of endpoint, of failure.

What happens inside of it is noted in the file ``--notes``, a line each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
import wave
from pathlib import Path

import gradio as gr
from starlette.responses import PlainTextResponse

GENERATION = int(gr.__version__.split(".")[0])
PROGRESS = getattr(gr, "Progress", lambda: lambda *_args, **_named: None)  # 3.14 has none
lock = threading.Lock()


class State:
    running = 0
    notes = os.devnull


def note(text):
    with lock, Path(State.notes).open("a") as notes:
        notes.write(text + "\n")


def greet(name: str, times: int = 2, polite: bool = False) -> str:
    """Greets somebody.

    So many times.
    """
    return " ".join(f"hello {name}{', please' if polite else ''}" for _ in range(int(times)))


def slowly(seconds: float, progress=PROGRESS()) -> int:  # noqa: B008 - Gradio's way
    """Takes a while; gives how many of it ran at the same time at most."""
    with lock:
        State.running += 1
    note("slowly begins")
    most, end = State.running, time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        progress(1 - left / seconds, desc="working")
        time.sleep(0.05)
        most = max(most, State.running)
    with lock:
        State.running -= 1
    note("slowly ends")
    return most


def two_slowly(seconds: float) -> int:
    return slowly(seconds, lambda *_args, **_named: None)


def count(to: float):
    text = ""
    for number in range(int(to)):
        note("count counts")
        text += f" {number}" if number else "0"
        yield text, number
        time.sleep(0.05)


def chat(message: str, history: list):
    history = [list(pair) if isinstance(pair, tuple) else pair for pair in history or []]
    answer = ""
    for letter in message.upper():
        answer += letter
        if GENERATION >= 6:
            yield [
                *history,
                {"role": "user", "content": message},
                {"role": "assistant", "content": answer},
            ]
        else:
            yield [*history, [message, answer]]


def shrink(to: float):
    """The list becomes shorter with each step: diffs that delete."""
    for size in range(int(to), 0, -1):
        yield {"list": list(range(size)), "size": size}


def tell(kind, text):
    getattr(gr, kind, print)(text)  # 3.14 has none


def told(text: str) -> str:
    tell("Info", "an info: " + text)
    tell("Warning", "a warning: " + text)
    time.sleep(0.3)
    return text


def fails(text: str) -> str:
    raise gr.Error("no: " + text)


def crashes(text: str) -> str:
    raise ValueError("secret " + text)


def breaks(to: float):
    yield "one"
    time.sleep(0.1)
    if to == 9:
        os._exit(9)
    raise gr.Error("in the middle")


def remember(text: str, state: list):
    state = [*(state or []), text]
    return ", ".join(state), state


def turned(picture):
    return picture.rotate(180) if picture is not None else None


def drawn(drawing):
    parts = ("image", "mask") if GENERATION < 4 else ("background", "composite")
    return {part: list(drawing[part].size) for part in parts}


def loud(sound):
    with wave.open(sound) as file:
        frames = file.getnframes()
    return sound, frames


def movie(video):
    return video


def path_of(file):
    """3.x gives an open file, later ones its path."""
    return Path(getattr(file, "name", file))


def upper(file):
    out = Path(tempfile.mkdtemp(), "upper.txt")
    out.write_text(path_of(file).read_text().upper())
    return str(out)


def sizes(files):
    paths = [path_of(file) for file in files or []]
    return {path.name: path.stat().st_size for path in paths}, [str(path) for path in paths]


def gallery(pictures):
    items = [item[0] if isinstance(item, (list, tuple)) else item for item in pictures or []]
    items = [item["name"] if isinstance(item, dict) else item for item in items]
    return [(item, f"number {place}") for place, item in enumerate(items)]


def table(rows):
    return rows


def choices(colour, size, tags, extras, number, more):
    return {
        "colour": colour,
        "size": size,
        "tags": tags,
        "extras": extras,
        "number": number,
        "more": more,
    }


def large(mib: float) -> str:
    return "x" * int(mib * 1024 * 1024)


def twice(text: str) -> str:
    return text * 2


def drawing():
    if GENERATION < 4:
        return gr.Image(type="pil", tool="sketch", label="Drawing")
    return gr.ImageEditor(type="pil", label="Drawing")


def build():
    kinds = {"queue": True} if GENERATION < 4 else {}
    with gr.Blocks(title="test app") as demo:
        text = gr.Textbox(label="Some text")
        other = gr.Textbox(label="Some text")
        out = gr.Textbox(label="the output")
        whole = gr.Number(label="how many")
        slider = gr.Slider(1, 5, value=2, step=1, label="Times (1-5)")
        check = gr.Checkbox(label="polite?")
        anything = gr.JSON(label="anything")
        state = gr.State([])
        button = gr.Button("go")

        button.click(greet, [text, slider, check], out, api_name="greet", queue=False)
        button.click(slowly, whole, gr.Number(label="at once"), api_name="slowly", **kinds)
        two = {"concurrency_limit": 2} if GENERATION >= 4 else {}
        button.click(two_slowly, whole, gr.Number(label="at once"), api_name="two_slowly", **two)
        button.click(count, whole, [out, gr.Number(label="the number")], api_name="count")
        history = (
            gr.Chatbot(label="talk") if GENERATION != 5 else gr.Chatbot(label="talk", type="tuples")
        )
        button.click(chat, [text, history], history, api_name="chat")
        button.click(shrink, whole, anything, api_name="shrink")
        button.click(told, text, out, api_name="told")
        button.click(fails, text, out, api_name="fails")
        button.click(crashes, text, out, api_name="crashes")
        button.click(breaks, whole, out, api_name="breaks")
        button.click(remember, [text, state], [out, state], api_name="remember")
        button.click(
            turned,
            gr.Image(type="pil", label="Picture"),
            gr.Image(type="pil", label="turned"),
            api_name="turned",
        )
        button.click(drawn, drawing(), anything, api_name="drawn")
        button.click(
            loud,
            gr.Audio(type="filepath", label="Sound"),
            [gr.Audio(label="as it came"), gr.Number(label="frames")],
            api_name="loud",
        )
        button.click(movie, gr.Video(label="Video"), gr.Video(label="the same"), api_name="movie")
        button.click(
            upper, gr.File(label="Text file"), gr.File(label="upper case"), api_name="upper"
        )
        files = gr.File(file_count="multiple", label="Files")
        button.click(
            sizes,
            files,
            [gr.JSON(label="bytes"), gr.File(file_count="multiple", label="back")],
            api_name="sizes",
        )
        button.click(
            gallery, gr.Gallery(label="Pictures"), gr.Gallery(label="captioned"), api_name="gallery"
        )
        grid = gr.Dataframe(headers=["a", "b"], type="array", label="Table", row_count=2)
        button.click(table, grid, gr.Dataframe(type="array", label="table"), api_name="table")
        button.click(
            choices,
            [
                gr.Dropdown(["red", "green"], value="red", label="Colour"),
                gr.Radio(["small", "large"], label="Size"),
                gr.Dropdown(["a", "b", "c"], multiselect=True, label="Tags"),
                gr.CheckboxGroup(["x", "y"], label="Extras"),
                gr.Number(value=3, label="Number", precision=0),
                gr.JSON(label="More"),
            ],
            anything,
            api_name="choices",
        )
        button.click(large, whole, out, api_name="large")
        button.click(twice, [text], out, api_name="_hidden-name.2")
        button.click(lambda one, two: one + two, [text, other], out)
        button.click(twice, text, out, api_name=False)
        button.click(None, None, None)
    return demo


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", default=os.devnull)
    parser.add_argument("--port", type=int, default=int(os.environ.get("GRADIO_SERVER_PORT", "0")))
    parser.add_argument("--root-path", default="")
    parser.add_argument("--limit", type=int, default=1, help="how many calls run at once")
    parser.add_argument("--api-closed", action="store_true", help="as on Spaces: no calls by run")
    parser.add_argument("--refusals", default=os.devnull, help="file: ends of paths and a status")
    return parser.parse_args()


def main():
    options = arguments()
    State.notes = options.notes
    demo = build()
    at_once = "concurrency_count" if GENERATION < 4 else "default_concurrency_limit"
    demo.queue(api_open=not options.api_closed, **{at_once: options.limit})
    more = {"root_path": options.root_path} if options.root_path else {}
    app, _local, _share = demo.launch(
        server_name="127.0.0.1",
        server_port=options.port,
        prevent_thread_lock=True,
        quiet=True,
        **more,
    )
    refuse(app, Path(options.refusals))
    demo.block_thread()


def refuse(app, refusals):
    """Some apps cannot describe themselves, and some Spaces let no program in.

    A line of the file is the end of a path, and the status that it is answered with.
    """
    whole = app.build_middleware_stack()

    async def instead(scope, receive, send):
        lines = refusals.read_text().splitlines() if refusals.exists() else []
        for end, status in (line.split() for line in lines):
            if scope["type"] == "http" and scope["path"].endswith(end):
                answer = PlainTextResponse("Internal Server Error", int(status))
                return await answer(scope, receive, send)
        return await whole(scope, receive, send)

    app.middleware_stack = instead


if __name__ == "__main__":
    main()
