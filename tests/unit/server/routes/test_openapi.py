"""How functions stand in the OpenAPI document."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, Field

from onegai.functions.signature import Typed
from onegai.schema import FunctionInfo
from onegai.server.routes.openapi import describe


class Cat(BaseModel):
    kind: Literal["cat"]
    kittens: list["Cat"] = []


class Dog(BaseModel):
    kind: Literal["dog"]


class Zoo(BaseModel):
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]


def described(*functions: FunctionInfo) -> dict[str, Any]:
    return describe(FastAPI(), {"zoo": functions})


def test_models_are_components_of_the_function_s_own() -> None:
    arguments = Typed(Zoo).schema()
    document = described(FunctionInfo(name="main", schema=arguments))
    content = document["paths"]["/api/zoo/main"]["post"]["requestBody"]["content"]
    animal = content["application/json"]["schema"]["properties"]["animal"]
    prefix = "#/components/schemas/zoo_main_"
    assert animal["oneOf"] == [{"$ref": prefix + "Cat"}, {"$ref": prefix + "Dog"}]
    assert animal["discriminator"]["mapping"] == {"cat": prefix + "Cat", "dog": prefix + "Dog"}
    kittens = document["components"]["schemas"]["zoo_main_Cat"]["properties"]["kittens"]
    assert kittens["items"] == {"$ref": prefix + "Cat"}
    # What others are given is as it was.
    assert arguments["properties"]["animal"]["oneOf"][0] == {"$ref": "#/$defs/Cat"}


def test_a_model_that_has_itself_is_a_reference() -> None:
    document = described(FunctionInfo(name="main", schema=Typed(Cat).schema()))
    body = document["paths"]["/api/zoo/main"]["post"]["requestBody"]
    reference = {"$ref": "#/components/schemas/zoo_main_Cat"}
    assert (body["content"]["application/json"]["schema"], body["required"]) == (reference, True)


def test_what_functions_have_in_common_is_there_once() -> None:
    """As those of one OpenAPI document have it: the same object."""
    node: dict[str, Any] = {"properties": {"next": {"$ref": "#/$defs/Node"}}}

    def function(name: str, definition: dict[str, Any]) -> FunctionInfo:
        fields = {"node": {"$ref": "#/$defs/Node"}}
        schema = {"type": "object", "properties": fields, "$defs": {"Node": definition}}
        return FunctionInfo(name=name, schema=schema)

    document = described(function("one", node), function("two", node), function("three", {}))
    schemas = document["components"]["schemas"]
    assert {name for name in schemas if name.startswith("zoo_")} == {
        "zoo_one_Node",
        "zoo_three_Node",
    }
    assert schemas["zoo_one_Node"]["properties"] == {
        "next": {"$ref": "#/components/schemas/zoo_one_Node"}
    }
    for name, model in (("one", "one"), ("two", "one"), ("three", "three")):
        body = document["paths"][f"/api/zoo/{name}"]["post"]["requestBody"]["content"]
        fields = body["application/json"]["schema"]["properties"]
        assert fields == {"node": {"$ref": f"#/components/schemas/zoo_{model}_Node"}}
