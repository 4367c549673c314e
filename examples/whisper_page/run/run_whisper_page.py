"""A page that writes down what is said: Whisper base behind Gradio.

Gradio takes the port from the environment, where OneGAI puts it. ``listen`` becomes
``POST /api/whisper_page/listen`` by its name alone: there is no func file.
"""

import gradio as gr
import numpy as np
from faster_whisper import WhisperModel

ears = WhisperModel("model", device="cpu", compute_type="int8", local_files_only=True)
list(ears.transcribe(np.zeros(16_000, np.float32), language="en")[0])  # loads what is left


def listen(audio: str, language: str = "auto") -> str:
    """Write down what is said in a sound file."""
    if audio is None:
        raise gr.Error("There is nothing to hear.")
    heard, about = ears.transcribe(audio, language=None if language == "auto" else language)
    space = "" if about.language in ("ja", "zh") else " "
    return space.join(part.text.strip() for part in heard)


with gr.Blocks(title="Whisper") as page:
    audio = gr.Audio(label="Audio", type="filepath", sources=["upload", "microphone"])
    language = gr.Dropdown(["auto", "ja", "en"], value="auto", label="Language")
    text = gr.Textbox(label="Text", lines=3)
    gr.Button("Listen").click(listen, [audio, language], text, api_name="listen")

page.launch(show_error=True)
