"""What a child sees of the environment of this program."""

from __future__ import annotations

import os
from collections.abc import Mapping

_EXACT = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR DISPLAY LD_LIBRARY_PATH "
    "REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS "
    "HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy".split()
)
_PREFIXES = ("LC_", "XDG_", "CUDA", "NVIDIA_", "SSL_", "GIT_SSL_", "HF_", "UV_", "PIP_", "WSL_")


def inherited_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What children may see of OneGAI's own environment; none of its secrets is among it."""
    return {
        key: value
        for key, value in environ.items()
        if key in _EXACT or key.startswith(_PREFIXES) or key.endswith("_CA_BUNDLE")
    }
