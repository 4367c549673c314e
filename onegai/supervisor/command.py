"""How an app is started: its program, the folder and the environment."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from onegai.config.entry import AppSpec
from onegai.config.home import Home
from onegai.errors import ExecNotFound
from onegai.process import tree
from onegai.process.environment import inherited_environment


def service_command(
    home: Home, spec: AppSpec, gpu: int | None = None
) -> tuple[list[str], Path, dict[str, str]]:
    """Argument list, working directory and environment to start an app with, on that GPU.

    Raises ExecNotFound when the folder or the program is not there.
    """
    app_dir = home.apps / spec.app
    places = {"{port}": str(spec.port), "{app_dir}": str(app_dir), "{root}": str(home.root)}

    def fill(text: str) -> str:
        for place, value in places.items():
            text = text.replace(place, value)
        return text

    folder = app_dir / spec.cwd if app_dir.is_dir() else home.root / spec.cwd
    if not folder.is_dir():
        raise ExecNotFound(app=spec.app, reason=f"the folder {folder} does not exist")
    arguments = [fill(word) for word in shlex.split(spec.exec or "")]
    arguments[0] = _find_program(spec.app, arguments[0], folder)
    environment = inherited_environment()
    if spec.type == "gradio":
        environment |= {
            "GRADIO_SERVER_PORT": str(spec.port),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(home.root / "data" / "gradio" / spec.app),
        }
    if gpu is not None:
        # CUDA counts the fastest card first, unless it is told to count as NVML does.
        environment |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(gpu)}
    environment |= {key: fill(value) for key, value in spec.env.items()}
    environment |= tree.Tag(spec.app, home.root).environment()
    return arguments, folder, environment


def _find_program(app: str, program: str, folder: Path) -> str:
    if "/" not in program:
        found = shutil.which(program)
        if found is None:
            raise ExecNotFound(app=app, reason=f"there is no program {program!r} on PATH")
        return found
    path = folder / program
    if not path.exists():
        raise ExecNotFound(app=app, reason=f"{path} does not exist")
    if path.is_dir() or not os.access(path, os.X_OK):
        raise ExecNotFound(app=app, reason=f"{path} is not an executable program")
    return str(path)
