"""VOICEVOX: many Japanese voices, each in several styles."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from func import _voicevox_api
from func._voicevox_api import (
    Engine,
    Nothing,
    Preset,
    PresetName,
    Who,
    Word,
    WordName,
)
from onegai.sdk import service

voicevox = service("voicevox")
engine = Engine(voicevox)


class Speech(_voicevox_api.Speech):
    intonation: float | None = Field(default=None, ge=0, le=2)
    pause: float | None = Field(default=None, ge=0, le=10, description="times as long; 1: as it is")


def load(args: Who) -> int:
    """Make a speaker ready; at each start, the one of the settings. Gives the style's number."""
    return engine.load(args)


def raw(args: Speech) -> bytes:
    """Say a text. Gives a WAV: 24 kHz, mono, 16 bit unless asked otherwise."""
    return engine.speech(args)


def stream(args: Speech) -> Iterator[bytes]:
    """Say a text, each sentence when it is made. A WAV that does not tell its length."""
    yield from engine.stream(args)


def query(args: Speech) -> dict[str, Any]:
    """How a text is said: accents, the length and the pitch of each mora. An AudioQuery."""
    return engine.query(args)


def speakers(args: Nothing) -> list[dict[str, Any]]:  # noqa: ARG001 - called with args
    """Who can speak, in which styles."""
    return engine.speakers()


def words(args: Nothing) -> list[dict[str, Any]]:  # noqa: ARG001 - called with args
    """The words that were added to the dictionary."""
    return engine.words()


def add_word(args: Word) -> str:
    """Say how a word is read; one that is written in the same way is replaced. Gives its id."""
    return engine.add_word(args)


def remove_word(args: WordName) -> str:
    """Take a word out of the dictionary again. Gives its id."""
    return engine.remove_word(args)


def presets(args: Nothing) -> list[dict[str, Any]]:  # noqa: ARG001 - called with args
    """The presets, as the engine has them."""
    return engine.presets()


def add_preset(args: Preset) -> int:
    """Keep how a speaker speaks; a preset of the same name is replaced. Gives its number."""
    return engine.add_preset(args)


def remove_preset(args: PresetName) -> int:
    """Remove a preset. Gives its number."""
    return engine.remove_preset(args)
