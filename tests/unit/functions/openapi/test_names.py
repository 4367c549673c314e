"""Names of functions, made of operationIds, methods and paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onegai.functions.openapi.names import LONGEST, function_names


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (("read_item_items__item_id__get", "get", "/items/{item_id}"), "read_item"),
        (("main__get", "get", "/"), "main"),
        (("tts_post", "post", "/tts"), "tts_post"),
        (("getPetById", "get", "/pet/{id}"), "getPetById"),
        (("repos/list-for-user", "get", "/x"), "repos_list_for_user"),
        (("_private__", "get", "/x"), "private"),
        (("import", "post", "/x"), "import_"),
        (("1st", "get", "/x"), "operation_1st"),
        (("日本", "get", "/x"), "operation"),
        (("", "get", "/v1/models/{model}"), "get_v1_models_model"),
        (("", "post", "/"), "post"),
        (("a" * 100, "get", "/x"), "a" * LONGEST),
    ],
)
def test_one(operation: tuple[str, str, str], name: str) -> None:
    assert function_names([operation]) == [name]


def test_what_would_be_two_of_one_name_is_longer() -> None:
    found = function_names(
        [
            ("read_a__get", "get", "/a/"),
            ("read_b__get", "get", "/b/"),
            ("same", "get", "/x"),
            ("same", "post", "/x"),
            ("", "get", "/y/{z}"),
            ("", "get", "/y-z"),
            ("only", "get", "/z"),
        ]
    )
    assert found == [
        "read_a_get",
        "read_b_get",
        "get_x",
        "post_x",
        "get_y_z",
        "get_y_z_2",
        "only",
    ]


_TEXT = st.text("ab_/{}-é1", max_size=8)


@given(st.lists(st.tuples(_TEXT, st.sampled_from(["get", "post"]), _TEXT), max_size=8))
def test_all_are_usable_and_none_is_there_twice(operations: list[tuple[str, str, str]]) -> None:
    names = function_names(operations)
    assert len(set(names)) == len(names) == len(operations)
    for name in names:
        assert name.isidentifier()
        assert not name.startswith("_")
        assert len(name) <= LONGEST + 1
