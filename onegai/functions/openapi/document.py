"""An OpenAPI document, 3.0 or 3.1, as operations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from onegai.functions.openapi.arguments import arguments
from onegai.functions.openapi.operation import Answers, Operation
from onegai.functions.openapi.schemas import Raw, Schemas, Wrong

METHODS = ("get", "post", "put", "patch", "delete")
MOST = 2000
"""Operations of a document; the rest is left out."""

_HERE = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1"})  # noqa: S104
EVENTS = "text/event-stream"
LINES = frozenset(
    "application/x-ndjson application/ndjson application/jsonl application/x-jsonlines "
    "application/json-lines application/stream+json".split()
)


class Document:
    """One document, found at ``place`` (a path or a URL) of an app with this base URL.

    ``operations`` are those that can be called; ``remarks`` says of the others why not.
    """

    def __init__(self, document: Raw, place: str, base: str) -> None:
        self.remarks: list[str] = []
        self._document = document
        self._schemas = Schemas(document)
        self._place = urljoin(f"{base}/", place.lstrip("/") if "://" not in place else place)
        self._base = base
        self._schemes = self._described_schemes()
        self.operations = list(self._all())

    def _all(self) -> Iterator[Operation]:
        paths = self._document.get("paths", {})
        if not isinstance(paths, Mapping):
            self.remarks.append("its paths are no object")
            return
        count = 0
        for path, item in paths.items():
            try:
                methods = self._schemas.followed(item, "the path")
            except Wrong as wrong:
                self.remarks.append(f"{path}: {wrong}")
                continue
            for method in METHODS:
                if method not in methods:
                    continue
                if (count := count + 1) > MOST:
                    self.remarks.append(f"there are more than {MOST} operations")
                    return
                try:
                    yield self._operation(str(path), method, methods)
                except Wrong as wrong:
                    self.remarks.append(f"{method.upper()} {path}: {wrong}")
                except RecursionError:
                    self.remarks.append(f"{method.upper()} {path}: too deep")

    def _operation(self, path: str, method: str, item: Raw) -> Operation:
        raw = self._schemas.followed(item[method], "the operation")
        body = raw.get("requestBody")
        credentials, added = self._credentials(raw)
        taken = arguments(
            self._schemas,
            self._parameters(item, raw),
            None if body is None else self._schemas.followed(body, "the body"),
            added,
        )
        named = {one.name for one in taken.parameters if one.place == "path"}
        for name in _placeholders(path):
            if name not in named:
                raise Wrong(f"{{{name}}} of the path is no parameter")
        given = raw.get("operationId")
        return Operation(
            id=given if isinstance(given, str) else "",
            method=method.upper(),
            path=self._prefixed(path, raw, item),
            doc=_doc(path, method, raw),
            schema=taken.schema,
            parameters=taken.parameters,
            body=taken.body,
            answers=self._answers(raw),
            credentials=credentials,
        )

    def _parameters(self, item: Raw, raw: Raw) -> list[Raw]:
        """Those of the operation, and those of its path that it has no other of."""
        found: dict[tuple[str, str], Raw] = {}
        for several in (item.get("parameters", []), raw.get("parameters", [])):
            for one in several if isinstance(several, list) else []:
                parameter = self._schemas.followed(one, "a parameter")
                place, name = parameter.get("in"), parameter.get("name")
                if not isinstance(place, str) or not isinstance(name, str) or not name:
                    raise Wrong("a parameter has no place or no name")
                found[place, name] = parameter
        return list(found.values())

    # --- where it is -------------------------------------------------------------------------

    def _prefixed(self, path: str, *levels: Raw) -> str:
        """The path below the app's base URL."""
        for level in (*levels, self._document):
            servers = level.get("servers")
            if isinstance(servers, list) and servers:
                break
        else:
            return path
        base = urlsplit(self._base)
        for server in servers:
            url = _expanded(server)
            if url is None:
                continue
            there = urlsplit(urljoin(self._place, url))
            if there.netloc == base.netloc or _both_here(there.hostname, base.hostname):
                whole = there.path.rstrip("/") + path
                own = base.path.rstrip("/")
                return whole.removeprefix(own) if whole.startswith(f"{own}/") else whole
        return path

    # --- who may -----------------------------------------------------------------------------

    def _described_schemes(self) -> dict[str, Raw]:
        components = self._document.get("components", {})
        schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
        found = {}
        for name, one in schemes.items() if isinstance(schemes, Mapping) else ():
            try:
                found[str(name)] = self._schemas.followed(one, "a security scheme")
            except Wrong as wrong:
                self.remarks.append(f"securitySchemes.{name}: {wrong}")
        return found

    def _credentials(self, raw: Raw) -> tuple[str, frozenset[tuple[str, str]]]:
        """What the entry's ``credentials`` are to be, and the parameters that they are.

        A scheme's parameter is never asked of the caller, whichever operation has it.
        """
        added = frozenset(
            (str(scheme.get("in")), str(scheme.get("name")).lower())
            for scheme in self._schemes.values()
            if scheme.get("type") == "apiKey"
        )
        wanted = raw.get("security", self._document.get("security"))
        first = wanted[0] if isinstance(wanted, list) and wanted else {}
        names = first if isinstance(first, Mapping) else {}
        said: dict[str, Any] = {}
        for name in names:
            said |= _as_credentials(self._schemes.get(name, {}))
        return json.dumps(said, ensure_ascii=False) if said else "", added

    # --- what comes of it --------------------------------------------------------------------

    def _answers(self, raw: Raw) -> Answers:
        responses = raw.get("responses", {})
        if not isinstance(responses, Mapping):
            return Answers()
        good = [one for code, one in responses.items() if str(code)[:1] == "2"]
        content: dict[str, Any] = {}
        for one in good or [responses.get("default", {})]:
            try:
                told = self._schemas.followed(one, "an answer").get("content")
            except Wrong:
                continue
            content |= told if isinstance(told, Mapping) else {}
        return _answers(content)


def _answers(content: Mapping[str, Any]) -> Answers:
    kinds = {str(name).partition(";")[0].strip().lower(): one for name, one in content.items()}
    if not kinds:
        return Answers()
    order = sorted(kinds, key=lambda kind: kind != EVENTS)
    accept = ", ".join(order if "*/*" in order else [*order, "*/*;q=0.1"])
    yields: type[str] | type[bytes] | None = None
    if all(_is_bytes(kind) for kind in kinds):
        yields = bytes
    elif all(_is_text(kind) for kind in kinds):
        yields = str
    return Answers(accept, any(_streams(kind, one) for kind, one in kinds.items()), yields)


def is_json(kind: str) -> bool:
    """Is a media type, without its parameters, one of JSON?"""
    return kind == "application/json" or (kind.endswith("+json") and kind not in LINES)


def is_text(kind: str) -> bool:
    """Is it one of text?"""
    return kind.startswith("text/") or kind.endswith(("/xml", "+xml", "/yaml"))


def _is_text(kind: str) -> bool:
    return is_text(kind) and kind != EVENTS


def _is_bytes(kind: str) -> bool:
    return not (is_json(kind) or is_text(kind) or kind in LINES or kind == "*/*")


def _streams(kind: str, media: Any) -> bool:
    """JSON of which nothing is said is what FastAPI says of an answer that it knows nothing of."""
    if not is_json(kind):
        return True
    schema = media.get("schema") if isinstance(media, Mapping) else None
    return not schema or (isinstance(schema, Mapping) and not schema.keys() - {"title"})


def _as_credentials(scheme: Raw) -> dict[str, Any]:
    kind, name, place = scheme.get("type"), scheme.get("name"), scheme.get("in")
    if kind == "apiKey" and place in ("header", "query"):
        return {str(place): {str(name): "…"}}
    if kind == "apiKey":
        return {"header": {"Cookie": f"{name}=…"}}
    if kind == "http" and str(scheme.get("scheme")).lower() == "basic":
        return {"basic": ["…", "…"]}
    return {"bearer": "…"} if kind in ("http", "oauth2", "openIdConnect") else {}


def _placeholders(path: str) -> list[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:] if "}" in part]


def _doc(path: str, method: str, raw: Raw) -> str:
    summary, about = (
        text.strip() if isinstance(text, str) else ""
        for text in (raw.get("summary"), raw.get("description"))
    )
    if not summary or (about and _says_its_name(summary, raw.get("operationId"))):
        summary, _, about = about.partition("\n")
    elif about.startswith(summary):
        about = about.removeprefix(summary)
    parts = [summary.strip() or f"{method.upper()} {path}", about.strip()]
    if raw.get("deprecated") is True:
        parts.append("Deprecated: the app may lose it.")
    if summary:
        parts.append(f"{method.upper()} {path}")
    return "\n\n".join(part for part in parts if part)


def _says_its_name(summary: str, name: Any) -> bool:
    """FastAPI's "Read Item" of ``read_item`` says nothing that is not known."""
    words, known = (re.sub(r"[\W_]", "", str(text)).lower() for text in (summary, name))
    return known.startswith(words)


def _expanded(server: Any) -> str | None:
    """Its URL, with the defaults of its variables."""
    url = server.get("url") if isinstance(server, Mapping) else None
    if not isinstance(url, str):
        return None
    variables = server.get("variables", {})
    for name, one in variables.items() if isinstance(variables, Mapping) else ():
        default = one.get("default") if isinstance(one, Mapping) else None
        url = url.replace(f"{{{name}}}", str(default if default is not None else ""))
    return url


def _both_here(one: str | None, other: str | None) -> bool:
    return one in _HERE and other in _HERE
