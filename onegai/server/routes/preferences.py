"""What a request says of how it wants to be answered."""

from __future__ import annotations

from contextlib import suppress
from typing import get_args
from urllib.parse import parse_qs

from starlette.types import Scope

from onegai.errors import BadRequest
from onegai.schema import FileForm
from onegai.server.guards import HEAD

_FORMS: dict[str, FileForm] = {form: form for form in get_args(FileForm)}


def file_form(scope: Scope) -> FileForm:
    """``?files=``. Raises BadRequest."""
    if not scope["query_string"]:
        return "url"
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if (form := _FORMS.get(query.get("files", ["url"])[-1])) is not None:
        return form
    forms = ", ".join(_FORMS)
    raise BadRequest(
        reason=f"files: must be one of {forms}",
        do="see /docs",
        detail={"errors": [{"field": "files", "message": f"must be one of {forms}"}]},
    )


def wants_job(scope: Scope) -> bool:
    """``Prefer: respond-async`` (RFC 7240)."""
    return any(preference == "respond-async" for preference, _ in _listed(scope, b"prefer"))


def wants_events(scope: Scope) -> bool:
    """``Accept: text/event-stream``, beside which nothing is accepted more (RFC 9110, 12.5.1)."""
    weights = {kind: _weight(parameters) for kind, parameters in _listed(scope, b"accept")}
    wanted = weights.get("text/event-stream", 0.0)
    return wanted > 0 and wanted >= max(weights.values())


def _weight(parameters: str) -> float:
    """Its ``q``; one that cannot be read is none."""
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            with suppress(ValueError):
                return float(value)
    return 1.0


def _listed(scope: Scope, name: bytes) -> list[tuple[str, str]]:
    """The items of a header that is a list and may be repeated, in lower case, each with its
    parameters."""
    if name not in scope[HEAD].headers:
        return []
    values = (value for header, value in scope["headers"] if header == name)
    items = b",".join(values).decode("latin-1").lower().split(",")
    parted = (item.partition(";") for item in items)
    return [(item.strip(), parameters) for item, _, parameters in parted]
