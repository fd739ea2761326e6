"""Which tests are slow is found out from the models that they need, however they ask for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.conftest import MODELS, ROOT, pytest_collection_modifyitems, pytest_fixture_setup


@dataclasses.dataclass
class Item:
    """What pytest hands over of a test."""

    path: Path
    fixturenames: tuple[str, ...] = ()
    params: dict[str, Any] = dataclasses.field(default_factory=dict)
    marks: list[str] = dataclasses.field(default_factory=list)
    nodeid: str = "tests/test_x.py::test_x"

    @property
    def callspec(self) -> Any:
        return SimpleNamespace(params=self.params)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.name)

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


@pytest.mark.parametrize(
    ("fixtures", "params", "slow"),
    [
        (("tiny_summary", "workspace"), {}, True),
        (("tiny",), {}, True),
        (("fixture",), {"fixture": "tiny_dialogue", "count": 3}, True),
        (("workspace",), {"message": "tiny"}, True),  # too much rather than too little
        (("workspace",), {"message": "a tiny one"}, False),
        (("tiny_copy_of_something",), {}, False),
    ],
)
def test_a_test_is_slow_by_what_it_needs(fixtures: tuple[str, ...], params: dict[str, Any], slow: bool) -> None:
    item: Any = Item(ROOT / "tests/handlers/test_x.py", fixtures, params)
    pytest_collection_modifyitems([item])
    assert ("slow" in item.marks) == slow


def test_a_slow_model_that_collecting_did_not_see_is_refused() -> None:
    item, definition = Item(ROOT / "tests/handlers/test_x.py"), SimpleNamespace(argname="tiny_summary")
    request = SimpleNamespace(_pyfuncitem=item)
    with pytest.raises(pytest.fail.Exception, match=r"test_x takes the fixture tiny_summary, .* is not marked slow"):
        pytest_fixture_setup(definition, request)  # type: ignore[arg-type]
    item.marks.append("slow")
    pytest_fixture_setup(definition, request)  # type: ignore[arg-type]


def test_every_model_of_the_session_is_known() -> None:
    made = {name for name in vars(conftest) if name.startswith("tiny") and name != "tiny_copy"}
    assert made == MODELS


@pytest.mark.parametrize("fixture", ["tiny_text", "workspace"])
def test_parameters_count_in_this_run_too(fixture: str, request: pytest.FixtureRequest) -> None:
    marked = request.node.get_closest_marker("slow") is not None
    assert marked == (fixture in MODELS)
