"""The ``args`` of a function: what its annotation asks for, and building it from a JSON object."""

from __future__ import annotations

import dataclasses
import enum
import types
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Literal,
    Tuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from .answers import RequestError

MISSING = dataclasses.MISSING
_UNIONS = (Union, getattr(types, "UnionType", Union))  # X | Y is 3.10
_NAMES: Dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}
_LISTS = (list, tuple, set, frozenset)


@dataclasses.dataclass
class Field:
    """One key of args. default is MISSING where there is none that can be shown."""

    name: str
    hint: Any
    required: bool
    default: Any = MISSING
    description: str = ""


def hints_of(target: Any) -> Dict[str, Any]:
    """Annotations with strings resolved; empty if they name something that does not exist."""
    try:
        try:
            return get_type_hints(target, include_extras=True)
        except TypeError:  # 3.8 has no extras
            return get_type_hints(target)
    except Exception:  # noqa: BLE001 - annotations run arbitrary code
        return {}


def bare(hint: Any) -> Tuple[Any, str]:
    """Take off Annotated, Required and NotRequired. Returns the type and Annotated's text."""
    text = ""
    while True:
        if hasattr(hint, "__metadata__"):  # Annotated
            text = next((note for note in hint.__metadata__ if isinstance(note, str)), text)
            hint = hint.__origin__
        elif _qualifier(hint):
            hint = get_args(hint)[0]
        else:
            return hint, text


def _qualifier(hint: Any) -> str:
    """Required or NotRequired (typing's or typing_extensions'), else empty."""
    name = getattr(get_origin(hint), "_name", None) or ""
    return name if name in ("Required", "NotRequired") else ""


def options(hint: Any) -> Tuple[Any, ...]:
    """The members of a union, or nothing."""
    return get_args(hint) if get_origin(hint) in _UNIONS else ()


def is_typed_dict(hint: Any) -> bool:
    """Whether it is a TypedDict class, typing's or typing_extensions'."""
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__")


def is_model(hint: Any) -> bool:
    """Whether it is a pydantic model, told without importing pydantic."""
    return hasattr(hint, "model_validate") and hasattr(hint, "model_json_schema")


def fields_of(hint: Any) -> List[Field]:
    """The fields of a dataclass or TypedDict; empty for any other type."""
    if dataclasses.is_dataclass(hint):
        return _dataclass_fields(hint)
    if is_typed_dict(hint):
        return _typed_dict_fields(hint)
    return []


def _dataclass_fields(hint: Any) -> List[Field]:
    hints = hints_of(hint)
    found = []
    for field in dataclasses.fields(hint):
        if not field.init:
            continue
        kind, text = bare(hints.get(field.name, Any))
        required = field.default is MISSING and field.default_factory is MISSING
        text = str(field.metadata.get("description", text))
        found.append(Field(field.name, kind, required, field.default, text))
    return found


def _typed_dict_fields(hint: Any) -> List[Field]:
    needed = getattr(hint, "__required_keys__", None)
    found = []
    for name, full in hints_of(hint).items():
        kind, text = bare(full)
        # Behind `from __future__ import annotations` the class has not seen NotRequired.
        marked = _qualifier(full)
        required = marked == "Required" or (
            not marked and (hint.__total__ if needed is None else name in needed)
        )
        found.append(Field(name, kind, required, MISSING, text))
    return found


def build(value: Any, hint: Any, where: str = "") -> Any:
    """Check a JSON value against a type and return it as that type.

    Raises RequestError 422 naming the field (dotted when nested). Types it does not know pass as
    they are; so do keys that a TypedDict does not name, but not those that a dataclass lacks.
    """
    hint, _ = bare(hint)
    if is_model(hint):
        return hint.model_validate(value)
    if dataclasses.is_dataclass(hint) or is_typed_dict(hint):
        return _build_fields(value, hint, where)
    if options(hint):
        return _build_union(value, hint, where)
    origin = get_origin(hint) or hint
    if origin is Literal:
        return _one_of(value, get_args(hint), where)
    if not isinstance(origin, type):
        return value
    if issubclass(origin, enum.Enum):
        return origin(_one_of(value, [member.value for member in origin], where))
    return _build_simple(value, hint, origin, where)


def _build_simple(value: Any, hint: Any, origin: type, where: str) -> Any:
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if origin in _LISTS:
        return _build_list(value, hint, origin, where)
    if origin in _NAMES and (
        not isinstance(value, origin) or (origin is int and isinstance(value, bool))
    ):
        raise _wrong(value, _NAMES[origin], where)
    if origin is type(None) and value is not None:
        raise _wrong(value, "null", where)
    return value


def _build_list(value: Any, hint: Any, origin: Callable[[List[Any]], Any], where: str) -> Any:
    if not isinstance(value, list):
        raise _wrong(value, "a list", where)
    kinds = get_args(hint)
    if origin is tuple and kinds and kinds[-1] is not Ellipsis:
        return tuple(value)
    kind = kinds[0] if kinds else Any
    return origin([build(item, kind, "%s[%d]" % (where, at)) for at, item in enumerate(value)])


def _build_union(value: Any, hint: Any, where: str) -> Any:
    problem = None
    for option in options(hint):
        try:
            return build(value, option, where)
        except RequestError as wrong:
            if option is not type(None):
                problem = wrong
    raise problem or _wrong(value, str(hint), where)


def _build_fields(value: Any, hint: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(value, "an object", where)
    fields = fields_of(hint)
    names = [field.name for field in fields]
    prefix = where + "." if where else ""
    for field in fields:
        if field.required and field.name not in value:
            raise RequestError(
                422, prefix + field.name + " is missing", field=prefix + field.name, fields=names
            )
    built = {
        f.name: build(value[f.name], f.hint, prefix + f.name) for f in fields if f.name in value
    }
    if is_typed_dict(hint):
        return dict(value, **built)
    for key in value:
        if key not in names:
            raise RequestError(
                422, "there is no field " + prefix + key, field=prefix + key, fields=names
            )
    return hint(**built)


def _one_of(value: Any, allowed: Any, where: str) -> Any:
    for choice in allowed:
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return value
    text = where + " must be one of " + ", ".join(map(repr, allowed))
    raise RequestError(422, text, field=where, allowed=list(allowed))


def _wrong(value: Any, wanted: str, where: str) -> RequestError:
    got = "null" if value is None else _NAMES.get(type(value), "")
    return RequestError(422, "%s must be %s, not %s" % (where or "args", wanted, got), field=where)
