"""One file over HTTP, for app_download of lib.sh: resumed, verified, whole or not there.

    python3 download.py URL FILE PARTS [SHA256]

PARTS is a folder where what has come so far waits under a name made of the URL, with the validator
(ETag or Last-Modified) that tells whether the server still has the same file (RFC 9110, 13 and 14).
Standard library only, Python 3.9+.
"""

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PIECE = 1 << 20
TIMEOUT = 60.0
TRIES = 5
"""Failures in a row, without one byte more, before giving up."""
PAUSE = float(os.environ.get("ONEGAI_DOWNLOAD_PAUSE", "1"))
"""Seconds before the second try; doubled each time."""
REPORT_SECONDS = float(os.environ.get("ONEGAI_DOWNLOAD_REPORT", "5"))
PASSING = {408, 425, 429, 500, 502, 503, 504}


class Final(Exception):
    """Another try would not help."""


class Cut(Exception):
    """The answer ended early; another try goes on from there."""


class Part:
    """What has come so far."""

    def __init__(self, folder, url):
        name = os.path.basename(urllib.parse.urlsplit(url).path)[-80:] or "file"
        self.path = os.path.join(folder, hashlib.sha256(url.encode()).hexdigest()[:16] + "-" + name)
        os.makedirs(folder, exist_ok=True)

    @property
    def size(self):
        try:
            return os.path.getsize(self.path)
        except FileNotFoundError:
            return 0

    @property
    def validator(self):
        try:
            with open(self.path + ".json", encoding="utf-8") as file:
                return str(json.load(file)["validator"])
        except (OSError, ValueError, KeyError):
            return ""

    def begin(self, validator):
        """Empty, with the validator of what comes now."""
        open(self.path, "wb").close()
        with open(self.path + ".json", "w", encoding="utf-8") as file:
            json.dump({"validator": validator}, file)

    def remove(self):
        for path in (self.path, self.path + ".json"):
            if os.path.exists(path):
                os.unlink(path)


def fetch(url, part, verified, token=""):
    """One try: all of it, or what was missing. Raises Cut, Final, OSError.

    ``verified``: a hash tells in the end whether it is one file, so a validator is not needed.
    ``token``: a Bearer token, shown to nobody that the server redirects to.
    """
    have, headers = part.size, {"User-Agent": "OneGAI", "Accept-Encoding": "identity"}
    if have and (part.validator or verified):
        headers["Range"] = f"bytes={have}-"
        if part.validator:
            headers["If-Range"] = part.validator
    else:
        have = 0  # what cannot be told from another version is not built upon
    request = urllib.request.Request(url, headers=headers)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # the range begins at the end, or behind it
                if error.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return
                part.remove()
                raise Cut("the server has less than what had come") from None
            if error.code in PASSING:
                raise Cut(f"the server answers {error.code} {error.reason}") from None
            raise Final(f"the server answers {error.code} {error.reason}") from None
    with answer:
        take(answer, part, have)


def take(answer, part, have):
    """What the server answers: the rest behind ``have`` bytes, or all of it. Raises as fetch."""
    total = length = int_or_none(answer.headers.get("Content-Length"))
    if answer.status == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if said is None or int(said[1]) != have:
            part.remove()
            raise Cut("the server sends another part than the one asked for")
        total = None if length is None else have + length
    else:
        have = 0
        etag = answer.headers.get("ETag", "")
        weak = etag.startswith("W/")  # no use for ranges
        part.begin(
            answer.headers.get("Last-Modified", "")
            if weak
            else etag or answer.headers.get("Last-Modified", "")
        )
    if length is not None and length > shutil.disk_usage(os.path.dirname(part.path)).free:
        raise Final(f"No space left on device: {length >> 20} MB are to come")
    copy(answer, part, have, total)


def copy(answer, part, have, total):
    begun, first, said = time.monotonic(), have, time.monotonic()
    with open(part.path, "ab") as file:
        while True:
            try:
                piece = answer.read(PIECE)
            except http.client.IncompleteRead as error:
                file.write(error.partial)
                raise Cut("the connection broke off") from None
            if not piece:
                break
            file.write(piece)
            have += len(piece)
            now = time.monotonic()
            if now - said >= REPORT_SECONDS:
                said = now
                of = f" of {total / 1e6:.0f} MB ({100 * have // total} %)" if total else " MB"
                print(
                    f"{have / 1e6:.0f}{of}, {(have - first) / (now - begun) / 1e6:.1f} MB/s",
                    flush=True,
                )
    if total is not None and have != total:
        raise Cut("the connection broke off")


def fetch_all(url, part, verified, token=""):
    """As many tries as it takes, while there is any progress."""
    failures = 0
    while True:
        before = part.size
        try:
            return fetch(url, part, verified, token)
        except (Cut, OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Final(f"No space left on device: {error}") from None
            if "CERTIFICATE" in str(error).upper():
                raise Final(str(error)) from None
            failures = 1 if part.size > before else failures + 1
            if failures >= TRIES:
                raise Final(f"{error}, after {TRIES} tries") from None
            pause = PAUSE * 2 ** (failures - 1)
            print(
                f"{error}; {part.size / 1e6:.1f} MB have come, going on in {pause:g} s", flush=True
            )
            time.sleep(pause)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()


def download(url, target, parts, sha256="", token=""):
    """Have the file at ``target``. Raises Final, OSError."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Final("only http and https addresses can be fetched")
    sha256 = sha256.lower()
    if os.path.isfile(target) and (not sha256 or sha256_of(target) == sha256):
        print(f"{os.path.basename(target)} is there already")
        return
    part = Part(parts, url)
    for resumed in (part.size > 0, False):
        fetch_all(url, part, bool(sha256), token)
        found = sha256_of(part.path) if sha256 else ""
        if found == sha256:
            break
        part.remove()
        if not resumed:
            raise Final(f"hash mismatch: expected {sha256}, got {found}")
        print("what had come before does not fit: once more from the start", flush=True)
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    size = part.size
    settle(part.path, target)
    part.remove()
    print(f"{os.path.basename(target)}: {size / 1e6:.1f} MB")


def settle(path, target):
    """Give it its final name, which may be on another disk behind a link."""
    try:
        sync(path)
        os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copyfile(path, target + ".part")
        sync(target + ".part")
        os.replace(target + ".part", target)


def sync(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def int_or_none(text):
    return int(text) if text and text.isdigit() else None


if __name__ == "__main__":
    try:
        download(*sys.argv[1:])
    except (Final, OSError) as error:
        sys.exit(f"error: {sys.argv[1]}: {error}")
