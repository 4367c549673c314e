"""Who may send a request, decided from its head alone."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.auth import Access, Head, decide, foreign_origin, refusal

ACCESS = Access("onegai", "correct horse", ("http://obs:1",))


def head(method: str = "GET", path: str = "/app/list", **headers: str) -> Head:
    """Keyword ``x_api_key`` is the header X-Api-Key, sent as UTF-8."""
    return Head.of(
        method,
        path,
        [
            (name.replace("_", "-").title().encode(), value.encode())
            for name, value in {"host": "127.0.0.1:58080", **headers}.items()
        ],
    )


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


# --- credentials -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": basic("onegai:correct horse")},
        {"authorization": basic("onegai:correct horse").replace("Basic", "bAsIc")},
        {"authorization": "Bearer correct horse"},
        {"authorization": "bearer correct horse"},
        {"x_api_key": "correct horse"},
    ],
)
def test_right(headers: dict[str, str]) -> None:
    assert refusal(head(**headers), ACCESS) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": basic("onegai:wrong")},
        {"authorization": basic("other:correct horse")},
        {"authorization": basic("onegai:")},
        {"authorization": basic("onegaicorrect horse")},
        {"authorization": basic("ONEGAI:correct horse")},
        {"authorization": basic("onegai:correct horse ")},
        {"authorization": "Basic"},
        {"authorization": "Basic "},
        {"authorization": "Basic ???"},
        {"authorization": "Basic b25l"},
        {"authorization": "Basic b25lZ2F"},
        {"authorization": "Basic ÀÁ"},
        {"authorization": "Basic こんにちは"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer パス"},
        {"x_api_key": "wrong"},
        {"x_api_key": ""},
    ],
)
def test_wrong(headers: dict[str, str]) -> None:
    reason = refusal(head(**headers), ACCESS)
    assert reason is not None
    assert reason.startswith("wrong")


def test_none() -> None:
    reason = "this needs a user name and a password"
    assert refusal(head(), ACCESS) == reason
    assert refusal(head(authorization="Digest x"), ACCESS) == reason


@pytest.mark.parametrize("password", ["パスワード", "naïve café", "voilà", "🎤🎤🎤", "a:b:c"])
def test_any_password(password: str) -> None:
    access = Access("ユーザー", password)
    assert refusal(head(authorization=basic(f"ユーザー:{password}")), access) is None
    assert refusal(head(authorization=basic(f"ユーザー:{password}x")), access) is not None
    assert refusal(head(authorization=f"Bearer {password}"), access) is None
    assert refusal(head(x_api_key=password), access) is None


def test_only_health_is_open() -> None:
    assert refusal(head(path="/health"), ACCESS) is None
    for path in ("/", "/health/", "/healthx", "//health", "/HEALTH", "/docs", "/openapi.json"):
        assert refusal(head(path=path), ACCESS) is not None, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert refusal(Head(method, "/health", {b"host": b"h"}), ACCESS) is not None, method


HEADER_VALUES = st.binary()


@given(st.sampled_from([b"Basic ", b"Bearer ", b""]), HEADER_VALUES)
def test_no_header_gets_in_or_fails(scheme: bytes, value: bytes) -> None:
    for name in (b"authorization", b"x-api-key"):
        given_head = Head("GET", "/", {b"host": b"h", name: scheme + value})
        assert refusal(given_head, ACCESS) is not None


# --- origins ---------------------------------------------------------------------------------

OWN = "http://127.0.0.1:58080"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": OWN},
        {"origin": OWN, "sec_fetch_site": "same-origin"},
        {"origin": "http://obs:1", "sec_fetch_site": "cross-site"},
        {"host": "box.local:1", "origin": "http://box.local:1"},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "none", "sec_fetch_dest": "document"},
        {"sec_fetch_site": "same-origin", "referer": "http://evil.example/"},
        {"referer": ""},
        {"referer": OWN + "/docs"},
        {"referer": "http://obs:1/overlay?x=1"},
        {"host": "box.local:1", "referer": "http://box.local:1/"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_allowed(method: str, headers: dict[str, str]) -> None:
    assert foreign_origin(head(method, **headers), ACCESS.origins) is None


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"origin": "http://evil.example"}, "http://evil.example"),
        ({"origin": "null"}, "null"),
        ({"origin": "null", "host": ""}, "null"),
        ({"origin": ""}, ""),
        ({"origin": "127.0.0.1:58080"}, "127.0.0.1:58080"),
        ({"origin": "http://127.0.0.1"}, "http://127.0.0.1"),
        ({"origin": "http://127.0.0.1:7860"}, "http://127.0.0.1:7860"),
        ({"origin": "http://localhost:58080"}, "http://localhost:58080"),
        ({"origin": "http://[::1"}, "http://[::1"),
        ({"origin": "http://127.0.0.1:58080.evil.example"}, None),
        ({"origin": "http://evil.example/127.0.0.1:58080"}, None),
        ({"origin": "http://127.0.0.1:58080@evil.example"}, None),
        ({"origin": "http://obs:1/"}, None),
        ({"origin": "http://OBS:1.evil"}, None),
        ({"sec_fetch_site": "cross-site"}, "unknown"),
        ({"sec_fetch_site": "same-site"}, "unknown"),
        ({"sec_fetch_site": "odd"}, "unknown"),
        ({"sec_fetch_site": ""}, "unknown"),
        ({"sec_fetch_site": "cross-site", "referer": "http://evil/x"}, "http://evil/x"),
        ({"sec_fetch_site": "cross-site", "sec_fetch_dest": "iframe"}, "unknown"),
        ({"sec_fetch_site": "cross-site", "sec_fetch_dest": "image"}, "unknown"),
        ({"origin": "http://evil.example", "sec_fetch_site": "same-origin"}, None),
        ({"origin": "http://evil.example", "sec_fetch_dest": "document"}, None),
        ({"referer": "http://evil.example/x"}, "http://evil.example/x"),
        ({"referer": "http://evil.example/x", "accept": "*/*"}, None),
        ({"referer": "http://127.0.0.1:7860/"}, None),
        ({"referer": "http://127.0.0.1:58080@evil.example/"}, None),
        ({"referer": "http://obs:12/"}, None),
        ({"referer": "http://[::1"}, None),
        ({"referer": "about:client"}, None),
        ({"sec_fetch_site": "cross-site", "accept": "text/html"}, "unknown"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_foreign(method: str, headers: dict[str, str], named: str | None) -> None:
    found = foreign_origin(head(method, **headers), ACCESS.origins)
    assert found is not None
    if named is not None:
        assert found == named


@pytest.mark.parametrize(
    "link",
    [
        {"sec_fetch_site": "cross-site", "sec_fetch_dest": "document"},
        {"referer": "http://wiki.local/", "accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    ],
)
def test_a_link_that_leads_here_may_be_opened(link: dict[str, str]) -> None:
    assert foreign_origin(head("GET", **link), ACCESS.origins) is None
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert foreign_origin(head(method, **link), ACCESS.origins) is not None


def test_no_host_makes_every_origin_foreign() -> None:
    for origin in (b"null", b"http://?", b"http://", b"?", b""):
        assert foreign_origin(Head("GET", "/", {b"origin": origin}), ACCESS.origins) is not None


# --- both at once ----------------------------------------------------------------------------

RIGHT = {"x_api_key": "correct horse"}
PAGE = {"origin": "http://obs:1"}


@pytest.mark.parametrize(
    ("headers", "signed", "code", "wrong"),
    [
        (RIGHT, None, None, False),
        (RIGHT, False, "signature_refused", False),
        ({}, True, None, False),
        ({"origin": "http://evil"}, True, None, False),
        ({}, None, "unauthorized", False),
        ({"x_api_key": "no"}, None, "unauthorized", True),
        ({"authorization": "Basic no"}, None, "unauthorized", True),
        (RIGHT | {"origin": "http://evil"}, None, "forbidden_origin", False),
        (PAGE, None, "unauthorized", False),
        (RIGHT | PAGE, None, None, False),
    ],
)
def test_decisions(
    headers: dict[str, str], signed: bool | None, code: str | None, wrong: bool
) -> None:
    made = decide(head(**headers), ACCESS, signed)
    assert (made.error.code if made.error else None, made.wrong) == (code, wrong)
    assert made.known is (code is None)
    assert not made.preflight
    readable = (b"access-control-allow-origin", b"http://obs:1") in made.headers
    assert readable is (headers.get("origin") == "http://obs:1")
    if code not in ("forbidden_origin", "signature_refused"):
        assert made.headers[0] == (b"vary", b"Origin")


def test_what_is_open_shows_nothing() -> None:
    made = decide(head(path="/health", **RIGHT), ACCESS)
    assert (made.error, made.known) == (None, False)


def test_preflights_need_a_listed_page_and_no_password() -> None:
    asked = {
        "access_control_request_method": "POST",
        "access_control_request_headers": "x-a, x-b",
        "access_control_request_local_network": "true",
    }
    made = decide(head("OPTIONS", **asked, **PAGE), ACCESS)
    assert made.preflight
    assert (b"access-control-allow-headers", b"x-a, x-b") in made.headers
    assert (b"access-control-allow-local-network", b"true") in made.headers
    assert b"access-control-allow-private-network" not in dict(made.headers)
    for origin in ("http://evil", OWN):
        refused = decide(head("OPTIONS", **asked, **RIGHT, origin=origin), ACCESS).error
        assert refused is not None
        assert refused.code == "forbidden_origin"


# --- the head --------------------------------------------------------------------------------


def test_preflight() -> None:
    assert head("OPTIONS", access_control_request_method="POST").is_preflight
    assert not head("OPTIONS").is_preflight
    assert not head("GET", access_control_request_method="POST").is_preflight


def test_names_in_any_case_and_the_last_of_repeated_ones() -> None:
    made = Head.of("GET", "/", [(b"X-Api-Key", b"one"), (b"x-api-key", b"\xe3\x81\x82")])
    assert made.headers == {b"x-api-key": "あ".encode()}
