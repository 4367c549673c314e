"""What functions that fetch models have in common; no app by itself."""

from pydantic import BaseModel, Field


class Pull(BaseModel):
    model: str = Field(
        default="",
        max_length=300,
        description="which one; without it apps.{app}.model of config.json, or the usual one",
    )


class Nothing(BaseModel):
    pass


def how_far(done: float, whole: float, what: str) -> tuple[float | None, str]:
    """Bytes as a fraction, and as a line for people."""
    if not whole:
        return None, what
    return done / whole, f"{what}: {done / 1e9:.2f} of {whole / 1e9:.2f} GB"
