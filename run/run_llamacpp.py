"""Starts llama.cpp's server with the model that config.json names: apps.llamacpp.model.

``python3 run/run_llamacpp.py --port N`` in apps/llamacpp; becomes bin/llama-server.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("ONEGAI_HOME") or ROOT)


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="run_llamacpp", description="Serve a model over HTTP.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    settings = own_settings()
    model = str(settings.get("model") or "12b")
    folder = Path("models").resolve()
    found = subprocess.run(
        [sys.executable, ROOT / "install/llamacpp_models.py", "find", model, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        hint = f"run_llamacpp: bash run.sh call llamacpp pull model={model}"
        sys.exit(f"run_llamacpp: {found.stderr.strip()}\n{hint}")
    path, _, eyes = found.stdout.partition("\n")
    command = ["bin/llama-server", "-m", str(folder / path), "--alias", model]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["-c", str(settings.get("context") or 16384)]
    command += ["--reasoning", "off", "--cors-origins", ""]
    if eyes.strip():
        command += ["--mmproj", str(folder / eyes.strip())]
    options = settings.get("options") or []
    command += [str(option) for option in options]
    libraries = [str(Path("bin").resolve()), os.environ.get("LD_LIBRARY_PATH", "")]
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    print("run_llamacpp: " + " ".join(command), flush=True)
    os.execv(command[0], command)  # noqa: S606 - it is what runs, under the same pid


def own_settings() -> dict:
    """What config.json has under apps.llamacpp."""
    try:
        found = json.loads((HOME / "config.json").read_text("utf-8-sig"))["apps"]["llamacpp"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    main()
