"""What a Git repository holds, looked at without fetching its large files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field

from onegai.cli.backend import WRONG, Failure

SECONDS = 300
_URL = re.compile(r"(https?|ssh|file)://[^\s/]*/\S+|[\w.-]+@[\w.-]+:\S+|/\S+")
_PASSWORD = re.compile(r"https?://[^/]*@")
_FACT = re.compile(r"(\w+):\s*['\"]?([^'\"#]*?)['\"]?\s*(#.*)?")


@dataclass(frozen=True)
class Repository:
    """``commit`` is the newest one, ``day`` its date; ``files`` are those of the top folder."""

    url: str
    commit: str
    day: str
    files: frozenset[str]
    facts: dict[str, str] = field(default_factory=dict)
    """The plain keys in the head of README.md, where a Hugging Face Space says what it is."""
    requirements: str = ""
    program: str = ""
    """What is in requirements.txt and in the app's file, as far as they are there."""

    def requires(self, package: str) -> bool:
        """Does requirements.txt name it?"""
        return _begins(self.requirements, rf"\s*{package}")

    def imports(self, module: str) -> bool:
        """Does the app's file import it?"""
        return _begins(self.program, rf"\s*(import|from)\s+{module}")


def check_url(url: str) -> None:
    """Raises Failure."""
    if _PASSWORD.match(url):
        raise Failure(
            "the address of the repository has a password in it, which would end up in files",
            "leave it out, and have Git remember it: git config --global credential.helper store",
            status=WRONG,
        )
    if not _URL.fullmatch(url):
        raise Failure(
            f"{url!r} is no address of a Git repository",
            "for example https://huggingface.co/spaces/NAME/SPACE or git@github.com:NAME/REPO",
            status=WRONG,
        )


def look(url: str, app_file: str) -> Repository:
    """Ask the repository. ``app_file``: the one to read where README.md names none.

    Raises Failure.
    """
    check_url(url)
    if shutil.which("git") is None:
        raise Failure("git is not installed", "sudo apt install git")
    with tempfile.TemporaryDirectory() as folder:
        options = ("--quiet", "--depth=1", "--no-checkout", "--filter=blob:none")
        _git("clone", *options, "--", url, folder, url=url)

        def shown(*words: str) -> str:
            return _git("-C", folder, *words, url=url)

        commit, day = shown("log", "-1", "--format=%H %cs").split()
        files = frozenset(shown("ls-tree", "-z", "--name-only", "HEAD").split("\0"))
        facts: dict[str, str] = {}
        if "README.md" in files:
            facts = front_matter(shown("show", "HEAD:README.md"))
        wanted = ("requirements.txt", facts.get("app_file", app_file))
        texts = [shown("show", f"HEAD:{name}") if name in files else "" for name in wanted]
    return Repository(url, commit, day, files, facts, *texts)


def front_matter(text: str) -> dict[str, str]:
    """The plain keys between the first two lines of dashes."""
    head, *lines = text.splitlines() or [""]
    facts: dict[str, str] = {}
    if head.strip() == "---":
        for line in lines:
            if line.strip() == "---":
                return facts
            if found := _FACT.fullmatch(line):
                facts[found[1]] = found[2]
    return {}


def _begins(text: str, pattern: str) -> bool:
    """Does a line begin so?"""
    return re.search(rf"^{pattern}\b", text, re.MULTILINE | re.IGNORECASE) is not None


def _git(*words: str, url: str) -> str:
    asked = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *words],
            env={"GIT_SSH_COMMAND": "ssh -o BatchMode=yes", **os.environ, **asked},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{url} did not answer within {SECONDS} s", "try again later") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["git failed"]
        hint = "is the address right, and is the repository public, or yours to read?"
        raise Failure(f"cannot read the repository {url}", hint, lines=said[-5:])
    return done.stdout.decode("utf-8", "replace")
