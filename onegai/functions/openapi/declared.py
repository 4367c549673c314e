"""What an entry says of functions: declared, renamed, hidden.

``"functions": {"speak": {"path": "/tts", "args": {…}}, "say": "tts_post", "reset": null}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onegai.config.entry import AppSpec
from onegai.functions.discovered import Again
from onegai.functions.function import Function
from onegai.functions.openapi.arguments import FILE
from onegai.functions.openapi.document import METHODS, Document
from onegai.functions.openapi.functions import Doubt, function_of
from onegai.functions.openapi.names import function_names
from onegai.functions.openapi.operation import Operation
from onegai.functions.source import NOTHING, Found
from onegai.schema import Problem

_KEYS = frozenset("path method about args form answer".split())
_AS_IS = ("parameters", "requestBody", "responses", "summary", "description", "deprecated")
_FORMS = {"form": "application/x-www-form-urlencoded", "multipart": "multipart/form-data"}
_TYPES = ("json", *_FORMS, "query")


def declares(functions: Mapping[str, Any] | None) -> bool:
    """Is there a function of which the entry says all that is to be known?"""
    return any(isinstance(one, Mapping) for one in (functions or {}).values())


def functions_of(
    app: str, entry: Mapping[str, Any], operations: Sequence[Operation], again: Again
) -> tuple[dict[str, Function], list[str]]:
    """The functions of a document, by the names that the entry gives them, and what is wrong."""
    names = function_names([(one.id, one.method.lower(), one.path) for one in operations])
    known = {one.id: number for number, one in enumerate(operations)}
    known |= {name: number for number, name in enumerate(names)}
    wanted, settled, wrong = dict[str, int](), set[int](), list[str]()
    for name, said in entry.items():
        if isinstance(said, Mapping):
            continue
        if (number := known.get(name if said is None else str(said))) is None:
            wrong.append(f"functions.{name} of its entry: it has no operation {said or name}")
            continue
        settled.add(number)
        if said is not None:
            wanted[name] = number
    for number, name in enumerate(names):
        if number in settled or isinstance(entry.get(name), Mapping):
            continue
        if name in wanted:
            what = f"{operations[number].method} {operations[number].path}"
            wrong.append(f"functions.{name} of its entry: {what} has no name now")
        else:
            wanted[name] = number
    doubt = Doubt(again)
    found = {
        name: function_of(app, name, operations[number], doubt)
        for name, number in sorted(wanted.items(), key=lambda both: both[1])
    }
    return found, wrong


class Declared:
    """The functions that the entries of webapi apps declare: a ``Source``. Nobody is asked."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[AppSpec, Found]] = {}

    def last(self, spec: AppSpec) -> Found:
        """See Source."""
        if spec.type != "webapi" or not declares(spec.functions):
            self._known.pop(spec.app, None)
            return NOTHING
        known = self._known.get(spec.app)
        if known is None or known[0] != spec:
            known = self._known[spec.app] = (spec, _declared(spec))
        return known[1]

    async def refresh(self, spec: AppSpec, look: object = None) -> Found:  # noqa: ARG002
        """See Source."""
        return self.last(spec)


def _declared(spec: AppSpec) -> Found:
    found: dict[str, Function] = {}
    wrong: list[str] = []
    for name, said in (spec.functions or {}).items():
        if not isinstance(said, Mapping):
            continue
        try:
            operation = _operation(name, said)
            found[name] = function_of(spec.app, name, operation, Doubt(None))
        except ValueError as error:
            wrong.append(f"functions.{name}: {error}")
    if not wrong:
        return Found(found)
    return Found(
        found,
        Problem(app=spec.app, file="services.json", reason="; ".join(wrong), remark=True),
    )


def _operation(name: str, said: Mapping[str, Any]) -> Operation:
    """Raises ValueError."""
    path, method = said.get("path"), str(said.get("method", "post")).lower()
    if not name.isidentifier() or name.startswith("_"):
        raise ValueError("it is no name like speak")
    if unknown := sorted(said.keys() - _KEYS - {*_AS_IS}):
        raise ValueError(f"there is no key {unknown[0]}, only {', '.join(sorted(_KEYS))}")
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError("path must be one like /speak")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}")
    raw = {key: said[key] for key in _AS_IS if key in said}
    if "about" in said:
        raw["summary"] = str(said["about"])
    if "args" in said or not raw.keys() & {"parameters", "requestBody"}:
        raw = {**_taken(path, method, said), **raw}
    if "answer" in said:
        raw["responses"] = {"200": {"description": "", "content": {str(said["answer"]): {}}}}
    document = Document({"openapi": "3.1.0", "paths": {path: {method: raw}}}, "", "http://app")
    if not document.operations:
        raise ValueError(document.remarks[0].partition(": ")[2])
    return document.operations[0]


def _taken(path: str, method: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and body of ``args``: name → JSON Schema, required without a ``default``."""
    args, form = said.get("args", {}), said.get("form")
    if not isinstance(args, Mapping) or not all(isinstance(one, Mapping) for one in args.values()):
        raise ValueError("args must be an object of JSON Schemas by name")
    if form is not None and form not in _TYPES:
        raise ValueError(f"form must be one of {', '.join(_TYPES)}")
    schemas = {name: FILE | _bare(one) if _is_file(one) else one for name, one in args.items()}
    files = [name for name, one in args.items() if _is_file(one)]
    in_path = [name for name in schemas if f"{{{name}}}" in path]
    rest = {name: one for name, one in schemas.items() if name not in in_path}
    needed = [name for name in rest if "default" not in args[name]]
    if form is None:
        form = "multipart" if files else "query" if method in ("get", "delete") else "json"
    if files and form != "multipart":
        raise ValueError(f"a file is sent by form multipart, not {form}")
    parameters = [{"name": name, "in": "path", "schema": schemas[name]} for name in in_path]
    if form == "query":
        parameters += [
            {"name": name, "in": "query", "required": name in needed, "schema": one}
            for name, one in rest.items()
        ]
        return {"parameters": parameters}
    schema: dict[str, Any] = {"type": "object", "properties": rest, "required": needed}
    if not args:
        schema["additionalProperties"] = True
    content = {_FORMS.get(form, "application/json"): {"schema": schema}}
    return {"parameters": parameters, "requestBody": {"required": True, "content": content}}


def _is_file(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "file"


def _bare(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key in ("title", "description")}
