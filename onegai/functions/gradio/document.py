"""What a Gradio app tells of itself: cut down to what calls need, and read again from there.

``/config`` has the components and the endpoints, of every generation; ``/info`` has, from Gradio 4
on, the names of an endpoint's arguments as its Python function has them.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onegai.functions.gradio.schema import schema_of

_LONGEST_NAME = 64
_LARGEST = 20_000
"""Characters of JSON of a property or an initial value that is kept."""
_MOST_ENDPOINTS = 2000
"""Of an app; the rest is left out."""
_MOST_INPUTS = 1000
"""Of an endpoint; one that has more, or as many outputs, is left out."""
_PROPERTIES = (
    *("choices", "value", "multiselect", "max_choices", "allow_custom_value"),
    *("minimum", "maximum", "precision", "max_length", "file_count", "headers", "tool"),
)
_HIDDEN_IN_3 = frozenset(
    "state variable row column tabs tab tabitem box form accordion group interpretation "
    "dataset button".split()
)


class NotGradio(ValueError):
    """A document that no Gradio app has."""


@dataclass(frozen=True)
class Server:
    """How the app is spoken to."""

    version: str
    prefix: str
    """What its routes begin with: ``/gradio_api`` from 5 on."""
    protocol: str
    """Of its queue: ws (3.x), sse (4.0), sse_v1, sse_v2, sse_v2.1, sse_v3."""

    @property
    def generation(self) -> int:
        """3, 4, 5, 6."""
        return int(self.version.partition(".")[0])

    @property
    def sends_changes(self) -> bool:
        """Is a streamed output, after its first, what has changed since the one before?"""
        return self.protocol not in ("ws", "sse", "sse_v1")


@dataclass(frozen=True)
class Input:
    """One of an endpoint's inputs, in the app's order. ``name``: of the argument."""

    component: str
    name: str = ""
    label: str = ""
    hidden: bool = False
    """Nobody gives it: the state of a session, a button."""
    optional: bool = False
    initial: Any = None
    """What the page has, and so a call that does not give it."""
    about: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict)
    shape: str = ""
    """Keys of the object that Gradio wraps a file of this input in, or those of a list."""
    headers: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Output:
    """One of an endpoint's outputs."""

    component: str
    label: str = ""
    hidden: bool = False


@dataclass(frozen=True)
class Endpoint:
    """What becomes a function. ``api_name`` is empty for an unnamed one, of 3.x."""

    index: int
    api_name: str
    queued: bool
    generator: bool
    about: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    @property
    def given(self) -> list[Input]:
        """The inputs that a caller gives."""
        return [one for one in self.inputs if not one.hidden]


def told(config: Any, info: Any) -> dict[str, Any]:
    """What is kept of the two answers, as JSON; ``info`` is None where there is none.

    Nothing of it changes from one start of the same app to the next. Raises NotGradio.
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("dependencies"), list):
        raise NotGradio("its /config is not that of a Gradio app")
    version = str(config.get("version", "")).strip()
    if not version[:1].isdigit():
        raise NotGradio(f"it does not tell its version of Gradio, but {version[:40]!r}")
    generation = int(version.partition(".")[0])
    components = {one["id"]: one for one in config.get("components", []) if "id" in one}
    return {
        "version": version,
        "prefix": str(config.get("api_prefix") or "").rstrip("/"),
        "protocol": str(config.get("protocol") or ("ws" if generation < 4 else "sse")),
        "endpoints": [
            endpoint
            for place, dependency in enumerate(config["dependencies"][:_MOST_ENDPOINTS])
            if _is_shown(dependency)
            and (endpoint := _endpoint(place, dependency, components, config, info, generation))
        ],
    }


def server_of(document: Mapping[str, Any]) -> Server:
    """Of a kept document. Raises KeyError, TypeError for another one."""
    return Server(document["version"], document["prefix"], document["protocol"])


def endpoints_of(document: Mapping[str, Any]) -> Iterator[tuple[str, Endpoint]]:
    """Its endpoints with the names of their functions. Raises KeyError, TypeError."""
    taken: set[str] = set()
    for kept in document["endpoints"]:
        endpoint = Endpoint(
            **{
                **kept,
                "inputs": tuple(Input(**one) for one in kept["inputs"]),
                "outputs": tuple(Output(**one) for one in kept["outputs"]),
            }
        )
        name = identifier(endpoint.api_name) if endpoint.api_name else ""
        yield _unique(name or f"fn_{endpoint.index}", taken), endpoint


def identifier(text: str) -> str:
    """A name in Python that says the same, in lower case where it is ASCII; or nothing."""
    name = re.sub(r"\W+", "_", text.strip())
    begins = "_" if text[:1] == "_" else ""
    name = begins + name.strip("_")[:_LONGEST_NAME].rstrip("_")
    if not name.strip("_"):
        return ""
    if not name.isidentifier():
        name = "_" + name
    return name + "_" if keyword.iskeyword(name) else name


def _unique(name: str, taken: set[str]) -> str:
    free, number = name, 2
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    taken.add(free)
    return free


def _is_shown(dependency: Mapping[str, Any]) -> bool:
    """Would Gradio's own list of the API have it? What only cancels another is left out."""
    types = dependency.get("types") or {}
    return (
        dependency.get("backend_fn", True)
        and dependency.get("api_name") is not False
        and dependency.get("show_api") is not False
        and dependency.get("api_visibility", "public") == "public"
        and dependency.get("rendered_in") is None
        and not dependency.get("cancels")
        and not types.get("cancel")
    )


def _endpoint(
    place: int,
    dependency: Mapping[str, Any],
    components: Mapping[Any, Mapping[str, Any]],
    config: Mapping[str, Any],
    info: Any,
    generation: int,
) -> dict[str, Any] | None:
    index = dependency.get("id", place)
    api_name = dependency.get("api_name") or ""
    own = _information(info, api_name, index)
    ids = (dependency.get("inputs", []), dependency.get("outputs", []))
    if max(map(len, ids)) > _MOST_INPUTS or any(
        one not in components for some in ids for one in some
    ):
        return None  # it is of a part of the page that is not there; Gradio leaves it out, too
    inputs, outputs = ([components[one] for one in some] for some in ids)
    queue = dependency.get("queue")
    queued = bool(config.get("enable_queue", generation >= 4) if queue is None else queue)
    types = dependency.get("types") or {"generator": queued}  # the first 3.x do not say
    return {
        "index": index,
        "api_name": api_name,
        "queued": queued,
        "generator": bool(types.get("generator")),
        "about": str(own.get("description") or dependency.get("api_description") or ""),
        "inputs": list(_inputs(inputs, own.get("parameters"), generation)),
        "outputs": [_output(one, generation) for one in outputs],
    }


def _information(info: Any, api_name: str, index: int) -> Mapping[str, Any]:
    """What ``/info`` has of an endpoint; nothing is harmless."""
    if not isinstance(info, Mapping):
        return {}
    kind, key = ("named", f"/{api_name}") if api_name else ("unnamed", str(index))
    own = (info.get(f"{kind}_endpoints") or {}).get(key)
    return own if isinstance(own, Mapping) else {}


def _inputs(
    components: list[Mapping[str, Any]], parameters: Any, generation: int
) -> Iterator[dict[str, Any]]:
    visible = [one for one in components if not _is_hidden(one, generation)]
    told = parameters if isinstance(parameters, list) and len(parameters) == len(visible) else []
    parameter = iter(told)
    taken: set[str] = set()
    for number, component in enumerate(components, 1):
        kind = str(component.get("type", ""))
        if _is_hidden(component, generation):
            value = None if kind in ("state", "variable") else _properties(component).get("value")
            yield {"component": kind, "hidden": True, "initial": _small(value)}
        else:
            yield _input(component, next(parameter, {}), number, generation, taken)


def _input(
    component: Mapping[str, Any],
    parameter: Mapping[str, Any],
    number: int,
    generation: int,
    taken: set[str],
) -> dict[str, Any]:
    kind, properties = str(component.get("type", "")), _properties(component)
    label = str(properties.get("label") or "")
    name = str(parameter.get("parameter_name") or "")
    if re.fullmatch(r"param_\d+|", name):  # what Gradio calls those of *args and of partials
        name = identifier(label.lower() if label.isascii() else label)
    else:
        name = identifier(name)
    described = component.get("api_info_as_input", component.get("api_info"))
    if generation < 4:
        described = None
    value = properties.get("value")
    if generation < 5 and value == "":
        value = None  # every text of 3.x and of the first 4.x has that
    optional = value is not None or bool(parameter.get("parameter_has_default"))
    kept = {key: _small(properties.get(key)) for key in _PROPERTIES}
    return {
        "component": kind,
        "name": _unique(name or f"{kind}_{number}", taken),
        "label": label,
        "optional": optional,
        "initial": _small(value),
        "about": str(properties.get("info") or ""),
        "schema": schema_of(kind, kept, described),
        "shape": _shape(kind, described),
        "headers": kept["headers"] if isinstance(kept["headers"], list) else [],
    }


def _shape(component: str, described: Any) -> str:
    inside = described.get("properties") if isinstance(described, Mapping) else None
    if component == "video" and isinstance(inside, Mapping) and "video" in inside:
        return "video"
    return ""


def _output(component: Mapping[str, Any], generation: int) -> dict[str, Any]:
    label = _properties(component).get("label")
    return {
        "component": str(component.get("type", "")),
        "label": str(label or ""),
        "hidden": _is_hidden(component, generation),
    }


def _is_hidden(component: Mapping[str, Any], generation: int) -> bool:
    if generation < 4 or "skip_api" not in component:
        return component.get("type") in _HIDDEN_IN_3
    return bool(component["skip_api"])


def _properties(component: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = component.get("props")
    return properties if isinstance(properties, Mapping) else {}


def _small(value: Any) -> Any:
    """None instead of what is too long to be kept."""
    return value if value is None or len(json.dumps(value, default=str)) <= _LARGEST else None
