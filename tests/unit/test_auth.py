"""Who may send a request, decided from its head alone."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.auth import Head, foreign_origin, refusal
from onegai.config.settings import Settings

SETTINGS = Settings(username="onegai", password="correct horse", cors_origins=("http://obs:1",))


def head(method: str = "GET", path: str = "/app/list", **headers: str) -> Head:
    """Keyword ``x_api_key`` is the header X-Api-Key, sent as UTF-8."""
    return Head.from_asgi(
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
    assert refusal(head(**headers), SETTINGS) is None


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
    reason = refusal(head(**headers), SETTINGS)
    assert reason is not None
    assert reason.startswith("wrong")


def test_none() -> None:
    reason = "this needs a user name and a password"
    assert refusal(head(), SETTINGS) == reason
    assert refusal(head(authorization="Digest x"), SETTINGS) == reason


@pytest.mark.parametrize("password", ["パスワード", "naïve café", "voilà", "🎤🎤🎤", "a:b:c"])
def test_any_password(password: str) -> None:
    settings = Settings(username="ユーザー", password=password)
    assert refusal(head(authorization=basic(f"ユーザー:{password}")), settings) is None
    assert refusal(head(authorization=basic(f"ユーザー:{password}x")), settings) is not None
    assert refusal(head(authorization=f"Bearer {password}"), settings) is None
    assert refusal(head(x_api_key=password), settings) is None


def test_only_health_is_open() -> None:
    assert refusal(head(path="/health"), SETTINGS) is None
    for path in ("/", "/health/", "/healthx", "//health", "/HEALTH", "/docs", "/openapi.json"):
        assert refusal(head(path=path), SETTINGS) is not None, path
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert refusal(Head(method, "/health", {"host": "h"}), SETTINGS) is not None, method


HEADER_VALUES = st.binary().map(lambda data: data.decode("latin-1"))


@given(st.sampled_from(["Basic ", "Bearer ", ""]), HEADER_VALUES)
def test_no_header_gets_in_or_fails(scheme: str, value: str) -> None:
    for name in ("authorization", "x-api-key"):
        given_head = Head("GET", "/", {"host": "h", name: scheme + value})
        assert refusal(given_head, SETTINGS) is not None


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
    assert foreign_origin(head(method, **headers), SETTINGS) is None


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
    found = foreign_origin(head(method, **headers), SETTINGS)
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
    assert foreign_origin(head("GET", **link), SETTINGS) is None
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        assert foreign_origin(head(method, **link), SETTINGS) is not None


def test_no_host_makes_every_origin_foreign() -> None:
    for origin in ("null", "http://?", "http://", "?", ""):
        assert foreign_origin(Head("GET", "/", {"origin": origin}), SETTINGS) is not None


# --- the head --------------------------------------------------------------------------------


def test_preflight() -> None:
    assert head("OPTIONS", access_control_request_method="POST").is_preflight
    assert not head("OPTIONS").is_preflight
    assert not head("GET", access_control_request_method="POST").is_preflight


def test_names_in_any_case_and_the_last_of_repeated_ones() -> None:
    made = Head.from_asgi("GET", "/", [(b"X-Api-Key", b"one"), (b"x-api-key", b"\xe3\x81\x82")])
    assert made.headers == {"x-api-key": "あ".encode().decode("latin-1")}
