"""The request of an operation, made of its arguments (OpenAPI 3.1, 4.8.12: styles)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from urllib3 import encode_multipart_formdata
from urllib3.fields import RequestField

from onegai.files.file import BINARY, File
from onegai.files.pieces import well_formed
from onegai.functions.described import Described
from onegai.functions.function import Unfit
from onegai.functions.openapi.operation import BODY, Body, Operation, Parameter, Part, Written

_RESERVED = ":/?@!$'()*,;"
"""Of those that ``allowReserved`` leaves as they are; the others would end the value."""
_SEPARATORS = {"spaceDelimited": "%20", "pipeDelimited": "%7C"}
_NAME = re.compile(r"\{([^{}]+)\}")
_IN_A_HEADER = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_JSON_PART = "application/json"


@dataclass(frozen=True)
class Sent:
    """A request below the app's base URL."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes | None


class Fitting(Described):
    """The arguments of an operation, which also must be such that they can be sent."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(operation.schema, plain_definitions=True)
        self._plain = [one for one in operation.parameters if one.place in ("path", "header")]

    def check(self, given: Any) -> dict[str, Any]:
        """See ``function.Accepts``."""
        arguments = super().check(given)
        errors = []
        for one in self._plain:
            if one.argument in arguments:
                message = _unsendable(one, arguments[one.argument])
                if message:
                    errors.append({"field": one.argument, "message": message})
        if errors:
            raise Unfit(errors)
        return arguments


def _unsendable(parameter: Parameter, value: Any) -> str:
    text = "".join(_words(parameter, value))
    if parameter.place == "path":
        if not text:
            return "it stands in a path, and must not be empty"
        if text in (".", ".."):
            return f"it stands in a path, and must not be {text}"
    elif _IN_A_HEADER.fullmatch(text) is None:
        return "it is sent in a header, and must not have line breaks"
    return ""


def sent(operation: Operation, arguments: Mapping[str, Any]) -> Sent:
    """The request. Reads the files among the arguments, so it may block."""
    headers = {"accept": operation.answers.accept}
    values: dict[str, str] = {}
    query: list[str] = []
    cookies: list[str] = []
    for one in operation.parameters:
        if (value := arguments.get(one.argument)) is None:
            continue
        match one.place:
            case "path":
                values[one.name] = "".join(_words(one, value))
            case "query":
                query += _pairs(one.name, value, one.written)
            case "header":
                headers[one.name.lower()] = _latin("".join(_words(one, value)))
            case "cookie":
                cookies += _pairs(one.name, value, one.written)
    if cookies:
        headers["cookie"] = "; ".join(cookies)
    target = _NAME.sub(lambda found: values.get(found[1], ""), operation.path)
    if query:
        target += ("&" if "?" in target else "?") + "&".join(query)
    content, media_type = _body(operation, arguments)
    if content is not None:
        headers["content-type"] = media_type
    return Sent(operation.method, target, headers, content)


# --- one value as text -----------------------------------------------------------------------


def text_of(value: Any) -> str:
    """A value that is no list and no object; one that is, as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _quoted(text: str, safe: str = "") -> str:
    return quote(well_formed(text), safe=f"-._~{safe}")


def _words(parameter: Parameter, value: Any) -> Iterable[str]:
    """What stands in a path or a header: styles simple, label and matrix."""
    written, name = parameter.written, parameter.name
    plain = parameter.place == "header"

    def word(one: Any) -> str:
        return text_of(one) if plain else _quoted(text_of(one))

    if written.as_json:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        yield text if plain else _quoted(text)
        return
    items: list[str]
    if isinstance(value, Mapping):
        tie = "=" if written.explode else ","
        items = [f"{word(key)}{tie}{word(one)}" for key, one in value.items()]
    elif isinstance(value, list | tuple):
        items = [word(one) for one in value]
    else:
        items = [word(value)]
    match written.style:
        case "label":
            yield "." + ("." if written.explode else ",").join(items)
        case "matrix" if written.explode and isinstance(value, Mapping):
            yield "".join(f";{item}" for item in items)
        case "matrix" if written.explode:
            yield "".join(f";{_quoted(name)}={item}" for item in items)
        case "matrix":
            yield f";{_quoted(name)}={','.join(items)}"
        case _:
            yield ",".join(items)


def _pairs(name: str, value: Any, written: Written) -> list[str]:
    """``name=value`` of a query, a cookie or a form, each percent-encoded."""
    safe = _RESERVED if written.reserved else ""

    def pair(key: str, one: Any) -> str:
        return f"{_quoted(key)}={_quoted(text_of(one), safe)}"

    if written.as_json:
        return [pair(name, json.dumps(value, ensure_ascii=False, separators=(",", ":")))]
    if not isinstance(value, Mapping | list | tuple):
        return [pair(name, value)]
    if written.style == "deepObject":
        return [pair(key, one) for key, one in _deep(name, value)]
    if written.explode:
        if isinstance(value, Mapping):
            return [pair(str(key), one) for key, one in value.items() if one is not None]
        return [pair(name, one) for one in value]
    flat = (
        [part for both in value.items() for part in both] if isinstance(value, Mapping) else value
    )
    if not flat:
        return []
    separator = _SEPARATORS.get(written.style, ",")
    joined = separator.join(_quoted(text_of(one), safe) for one in flat)
    return [f"{_quoted(name)}={joined}"]


def _deep(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _deep(f"{name}[{key}]", one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _deep(name, one)
    elif value is not None:
        yield name, value


def _latin(text: str) -> str:
    """A header as aiohttp sends it: in UTF-8."""
    return well_formed(text).strip(" \t")


# --- the body --------------------------------------------------------------------------------


def _body(operation: Operation, arguments: Mapping[str, Any]) -> tuple[bytes | None, str]:
    body = operation.body
    if body is None:
        return None, ""
    if body.flat:
        others = {one.argument for one in operation.parameters}
        value: Any = {key: one for key, one in arguments.items() if key not in others}
    elif BODY in arguments:
        value = arguments[BODY]
    else:
        return None, ""
    match body.kind:
        case "json":
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            return well_formed(text).encode(), body.media_type
        case "form":
            return _form(body, value), body.media_type
        case "multipart":
            return _multipart(body, value)
        case "text":
            return well_formed(str(value)).encode(), f"{body.media_type}; charset=utf-8"
        case "file":
            return value.read(), _type_of(value, body.media_type)


def _form(body: Body, fields: Mapping[str, Any]) -> bytes:
    pairs: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        part = body.parts.get(name, Part())
        if part.written is not None:
            pairs += _pairs(name, value, part.written)
        elif isinstance(value, list | tuple):
            pairs += _pairs(name, value, Written())
        else:
            pairs.append(f"{_quoted(name)}={_quoted(text_of(value))}")
    return "&".join(pairs).encode()


def _multipart(body: Body, fields: Mapping[str, Any]) -> tuple[bytes, str]:
    parts: list[RequestField] = []
    for name, value in fields.items():
        several: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
        said = body.parts.get(name, Part()).media_type
        parts += [_part(name, one, said) for one in several if one is not None]
    content, media_type = encode_multipart_formdata(parts)
    return content, media_type


def _part(name: str, value: Any, said: str) -> RequestField:
    name = well_formed(name)
    if isinstance(value, File):
        part = RequestField(name, value.read(), filename=well_formed(value.name))
        part.make_multipart(content_type=_type_of(value, said or "*/*"))
        return part
    part = RequestField(name, well_formed(text_of(value)).encode())
    is_json = isinstance(value, Mapping | list)
    part.make_multipart(content_type=said or (_JSON_PART if is_json else None))
    return part


def _type_of(file: File, said: str) -> str:
    """The media type that a file is sent with: what the app asks for, if that is but one."""
    if "*" not in said and said != BINARY:
        return said
    return file.media_type if "*" in said else said
