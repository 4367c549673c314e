"""OneGAI: one polite Web API server in front of every generative AI app on a machine.

``Client`` and ``AsyncClient`` speak to a server, with errors that are an ``OneGAIError``. They are
loaded at their first use.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onegai.client.async_client import AsyncClient
    from onegai.client.client import Client
    from onegai.errors import OneGAIError

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "OneGAIError", "__version__"]

_HOMES = {
    "AsyncClient": "onegai.client.async_client",
    "Client": "onegai.client.client",
    "OneGAIError": "onegai.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except (ImportError, SyntaxError) as error:
        raise wrong_python(error) from None


def wrong_python(error: Exception) -> BaseException:
    """What to raise instead, where a Python other than the checkout's own cannot import OneGAI."""
    venv = Path(__file__).resolve().parent.parent / "venv"
    if Path(sys.prefix).resolve() == venv or not (venv / "bin" / "python").exists():
        return error
    script = sys.argv[0] if sys.argv[0] not in ("", "-c") else "SCRIPT"
    reason = f"this Python, {sys.executable}, lacks what OneGAI needs ({error})"
    return SystemExit(f"onegai: {reason}\n        run it with: {venv}/bin/python {script}")
