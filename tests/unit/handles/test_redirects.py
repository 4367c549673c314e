"""Where an answer sends a request on to, and what goes along."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onegai.config.credentials import NO_ACCESS, Access
from onegai.handles.http import Request, build
from onegai.handles.redirects import is_redirect, redirected

HERE = "http://here:80/base"
ACCESS = Access({"x-key": "s"}, {"key": "s"}, ("s",))


def asked(path: str = "/a?q=1", **options: object) -> Request:
    return replace(build("POST", path, content=b"x", **options), access=ACCESS)


def test_what_is_sent() -> None:
    assert asked().sent() == ("/a?q=1&key=s", {"x-key": "s"})
    assert asked("/a").sent()[0] == "/a?key=s"
    assert asked("/a#there").sent()[0] == "/a?key=s"
    assert asked("/a?key=").sent()[0] == "/a?key="
    assert asked(headers={"X-Key": "own"}).sent()[1] == {"x-key": "own"}


@pytest.mark.parametrize(
    ("location", "base", "target"),
    [
        ("/b", "http://here:80", "/b?key=s"),
        ("http://here/b?c=1", "http://here", "/b?c=1&key=s"),
    ],
)
def test_within_an_origin_all_goes_along(location: str, base: str, target: str) -> None:
    there, request = redirected(HERE, asked(), 307, location)
    assert (there, request.sent()) == (base, (target, {"x-key": "s"}))


@pytest.mark.parametrize(
    "location", ["http://there/b", "https://here/b", "http://here:81/b", "//there/b"]
)
def test_to_another_goes_nothing_that_was_meant_for_this_one(location: str) -> None:
    given = {"X-Key": "own", "Authorization": "a", "Cookie": "b", "X-Other": "c"}
    _, request = redirected(HERE, asked(headers=given), 307, f"{location}?key=s&c=1&k%65y=s")
    assert request.access is NO_ACCESS
    assert request.sent() == ("/b?c=1", {"x-other": "c"})
    _, back = redirected("http://there", request, 307, "http://here/b")
    assert back.access is NO_ACCESS


@pytest.mark.parametrize("status", [200, 300, 304, 400])
def test_what_is_no_redirect(status: int) -> None:
    assert not is_redirect(status, "/b")
    assert not is_redirect(302, None)
