from __future__ import annotations

import pytest

from cli.reader import Reader
from dispatcher.kube.errors import KubeError
from tests.unit.kubectl_genie.builders import FakeAPI, node


def test_a_list_is_read_page_by_page() -> None:
    """With the token of the page before, and the same selector."""
    pages = [[node("a")], [node("b")], [node("c")]]
    for [item] in pages:
        item["metadata"]["labels"] = {"x": "y"}
    api = FakeAPI({"/api/v1/nodes": pages})
    actual = Reader(api).list_all("nodes", selector="x=y")
    assert actual is not None
    assert [each["metadata"]["name"] for each in actual] == ["a", "b", "c"]
    assert [query.get("continue") for _, query in api.requests] == [None, "1", "2"]
    assert {query["labelSelector"] for _, query in api.requests} == {"x=y"}


def test_what_is_forbidden_is_none_and_noted() -> None:
    """Nothing else is: an API server that fails must not look like an empty cluster."""
    reader = Reader(FakeAPI({}, forbidden=("/api/v1/nodes", "/api/v1/x")))
    assert reader.list_all("nodes") is None
    assert reader.one("/api/v1/x", "get x") is None
    assert reader.one("/api/v1/y", "get y") is None
    assert reader.missing == ["list nodes", "get x"]
    with pytest.raises(KubeError):
        reader.list_all("pods")


def test_an_error_of_the_server_is_raised() -> None:
    """503 is no answer to the question whether the object exists."""

    class Broken(FakeAPI):
        def get(self, path: str, query: object = None, *, accept: str = "") -> dict[str, object]:
            del query, accept
            raise KubeError(503, "Unavailable", path)

    with pytest.raises(KubeError):
        Reader(Broken({})).one("/api/v1/x", "get x")
