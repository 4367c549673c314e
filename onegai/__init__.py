"""OneGAI: one polite Web API server in front of every generative AI app on a machine.

``Client`` and ``AsyncClient`` speak to a server, with errors that are an ``OneGAIError``. They are
loaded at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onegai.async_client import AsyncClient
    from onegai.client import Client
    from onegai.errors import OneGAIError

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "OneGAIError", "__version__"]

_HOMES = {
    "AsyncClient": "onegai.async_client",
    "Client": "onegai.client",
    "OneGAIError": "onegai.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
