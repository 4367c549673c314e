"""Apps of Gradio: every endpoint that such an app shows is a function."""
