"""Your own script over OneGAI's functions, with no server needed: ``venv/bin/python cli.py``.

What a call needs is started, and stopped when this script ends; beside a running server (bash
run.sh) its services are used. With ``--server URL PASSWORD`` the same functions are called on
another machine's OneGAI. Edit it as you like.
"""

import sys
from pathlib import Path

from func import hibari, smollm
from onegai import Client

DEFAULT_QUESTION = "Tell me something nice about the sea."


def here(question: str) -> tuple[str, bytes]:
    answer, _detail = smollm.main(text=question, seed=1)
    return answer, hibari.raw(text=answer)


def there(url: str, password: str, question: str) -> tuple[str, bytes]:
    with Client(url, "onegai", password) as other:
        answer = other.call("smollm", text=question, seed=1)
        return answer, other.raw("hibari", text=answer)


arguments = sys.argv[1:]
if arguments[:1] == ["--server"]:
    _, url, password, *words = arguments
    answer, speech = there(url, password, " ".join(words) or DEFAULT_QUESTION)
else:
    answer, speech = here(" ".join(arguments) or DEFAULT_QUESTION)

print(answer)
Path("answer.wav").write_bytes(speech)
print("spoken in answer.wav")
