"""What an endpoint of a Gradio app takes as a function: by names, or as a list in its own order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from onegai.functions.described import Described
from onegai.functions.function import Unfit
from onegai.functions.gradio.document import Endpoint, Input

DATA = "data"
SESSION = "session"
_SESSION_SCHEMA = {
    "type": ["string", "null"],
    "minLength": 1,
    "maxLength": 200,
    "description": "a name of your own: calls of one name share what the app keeps of a visitor",
    "default": None,
}
_SCALARS = (str, int, float, bool)


class Arguments:
    """A ``function.Accepts``: each input by its name, or ``{"data": […]}`` in the app's order.

    ``check`` gives a dict by name. An input that is not given has its initial value where there
    is one; it may be left out of what ``check`` gives.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        given = endpoint.given
        self._names = [one.name for one in given]
        self._all = endpoint.inputs
        properties = {one.name: _schema(one) for one in given}
        if SESSION not in properties:
            properties[SESSION] = dict(_SESSION_SCHEMA)
        self._takes_data = DATA not in properties
        self._described = Described(
            {
                "type": "object",
                "properties": properties,
                "required": [one.name for one in given if not one.optional],
                "additionalProperties": False,
            }
        )
        self.takes_files = self._described.takes_files

    def schema(self) -> dict[str, Any]:
        """See ``function.Accepts``. ``data`` is not in it: it says the same in another way."""
        return self._described.schema()

    def check(self, given: Any) -> dict[str, Any]:
        """See ``function.Accepts``."""
        if self._takes_data and isinstance(given, Mapping) and DATA in given:
            given = self._named(given)
        return self._described.check(given)

    def _named(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The items of ``data`` by name; there may be items for the hidden inputs, too."""
        data = given[DATA]
        names, most = ", ".join(self._names) or "nothing", len(self._names)
        if not isinstance(data, list | tuple):
            raise _unfit(f"it must be a list of {names}")
        if len(data) > most and len(data) == len(self._all):
            data = [item for item, one in zip(data, self._all, strict=True) if not one.hidden]
        if len(data) > most:
            raise _unfit(f"it has {len(data)} items, and may have {most}: {names}")
        rest = {name: value for name, value in given.items() if name != DATA}
        return dict(zip(self._names, data, strict=False)) | rest


def session_of(arguments: Mapping[str, Any], endpoint: Endpoint) -> str | None:
    """The session that the caller names, unless that is an input of the app's own."""
    if any(one.name == SESSION for one in endpoint.given):
        return None
    return arguments.get(SESSION)


def _unfit(message: str) -> Unfit:
    return Unfit([{"field": DATA, "message": message}])


def _schema(one: Input) -> dict[str, Any]:
    schema = dict(one.schema)
    about = ". ".join(text for text in (one.about, schema.get("description")) if text)
    if about:
        schema["description"] = about
    if one.label:
        schema["title"] = one.label
    if one.optional and _is_default(one.initial, schema):
        schema["default"] = one.initial
    return schema


def _is_default(value: Any, schema: dict[str, Any]) -> bool:
    """Can it be shown as the default? A file of the app's own, say, cannot be given by a caller."""
    plain = isinstance(value, _SCALARS) or (
        isinstance(value, list) and all(isinstance(one, _SCALARS) for one in value)
    )
    return plain and bool(jsonschema_rs.is_valid(schema, value))
