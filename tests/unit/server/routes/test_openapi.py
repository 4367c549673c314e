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
