"""data/curlrc, which gives curl user name and password without their being on the screen."""

from __future__ import annotations

import logging

from onegai.config import jsonfile
from onegai.config.home import Home
from onegai.config.settings import Settings

log = logging.getLogger(__name__)

EVERY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound
"""The address at which this machine itself finds a server that listens on all of them."""


def url_of(host: str, port: int) -> str:
    """Where this machine finds a server that listens there."""
    host = host.strip("[]")
    host = EVERY.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write(home: Home, settings: Settings) -> None:
    """Make it say what is in effect, readable by its owner only. A failure is logged."""
    running = home.running_server() or {}
    url = running.get("url") or url_of(settings.host, settings.port)
    user = f"{settings.username}:{settings.password}".replace("\\", "\\\\").replace('"', '\\"')
    text = f'# curl -K {home.relative(home.curlrc)} {url}/service/status\nuser = "{user}"\n'
    try:
        jsonfile.write_text(home.curlrc, text, durable=False)
    except OSError as error:
        log.warning("%s could not be written: %s", home.relative(home.curlrc), error.strerror)
