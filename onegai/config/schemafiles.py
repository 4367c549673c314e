"""The JSON Schemas of config.json and the entries, for editors that complete and check keys.

``venv/bin/python -m onegai.config.schemafiles`` writes them to schemas/, made from the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from onegai.config.catalog import RESERVED
from onegai.config.entry import APP_NAME, AppSpec
from onegai.config.home import CHECKOUT
from onegai.config.settings import LATER, Settings

FOLDER = CHECKOUT / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
COMMENTS: dict[str, Any] = {"^_": {"description": "a comment"}}
EDITOR_KEY = {"type": "string", "description": "where an editor finds this schema"}


class _Plain(GenerateJsonSchema):
    """Without a title for each key: it would only repeat the name."""

    def field_title_should_be_set(self, _schema: object) -> bool:
        return False


def documents() -> dict[str, dict[str, Any]]:
    """The schemas by file name."""
    return {"services.schema.json": services_schema(), "config.schema.json": config_schema()}


def services_schema() -> dict[str, Any]:
    """Of services.json and services.local.json. No key is required: both are merged."""
    entry = _entry()
    definitions = entry.pop("$defs")
    return {
        "$schema": DIALECT,
        "title": "OneGAI's apps",
        "description": "services.json, and services.local.json, which is merged over it",
        "type": "object",
        "properties": {"$schema": EDITOR_KEY},
        "patternProperties": {**COMMENTS, f"^{APP_NAME.pattern}$": {"$ref": "#/$defs/App"}},
        "propertyNames": {"not": {"enum": sorted(RESERVED)}},
        "additionalProperties": False,
        "$defs": {"App": entry, **definitions},
    }


def config_schema() -> dict[str, Any]:
    """Of config.json."""
    schema = Settings.model_json_schema(schema_generator=_Plain)
    entry = _entry()
    definitions = entry.pop("$defs")
    entry["description"] = (
        "keys of its entry, which win over services.json, and settings of its own"
    )
    entry["additionalProperties"] = True
    later = {key: {"description": "does nothing yet"} for key in sorted(LATER)}
    properties = {"$schema": EDITOR_KEY, **schema["properties"], **later}
    properties["apps"]["additionalProperties"] = {"$ref": "#/$defs/App"}
    return {
        "$schema": DIALECT,
        "title": "config.json of OneGAI",
        "type": "object",
        "properties": properties,
        "patternProperties": {
            **COMMENTS,
            "^\\w+_(key|token)$": {"type": "string", "description": "key of a provider"},
        },
        "required": schema["required"],
        "additionalProperties": False,
        "$defs": {"App": entry, **definitions},
    }


def _entry() -> dict[str, Any]:
    schema = AppSpec.model_json_schema(schema_generator=_Plain)
    del schema["properties"]["app"], schema["required"]
    schema["description"] = "how one app runs"
    schema["patternProperties"] = COMMENTS
    return schema


def text_of(document: dict[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write all of them."""
    for name, document in documents().items():
        (folder / name).write_text(text_of(document), encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
