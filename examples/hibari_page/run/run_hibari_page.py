"""A page that speaks English: hibari behind Gradio.

Gradio takes the port from the environment, where OneGAI puts it. ``speak`` becomes
``POST /api/hibari_page/speak`` by its name alone: there is no func file.
"""

import gradio as gr
import numpy as np
from hibari import SAMPLE_RATE, Hibari

voice = Hibari()
voice("Ready.")  # the page opens once the model is loaded


def speak(text: str, speed: float = 1.0) -> tuple[int, np.ndarray]:
    """Say a text in English."""
    if not text.strip():
        raise gr.Error("There is nothing to say.")
    audio = voice(text, speed=speed)
    return SAMPLE_RATE, (np.clip(audio, -1.0, 1.0) * 32767).astype(np.int16)


with gr.Blocks(title="hibari") as page:
    text = gr.Textbox(label="Text", value="Good evening, and welcome.", lines=3)
    speed = gr.Slider(0.5, 2.0, value=1.0, step=0.1, label="Speed")
    speech = gr.Audio(label="Speech", format="wav")
    gr.Button("Speak").click(speak, [text, speed], speech, api_name="speak")

page.launch(show_error=True)
