"""Cases that are tested together: none is left out, and the message says which failed."""

import pytest
import together as module
from together import together


@pytest.fixture(autouse=True)
def _all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "chosen", [])


def test_every_case_is_tried_and_what_failed_is_named() -> None:
    tried = []

    @together(("number", "limit"), [(1, 2), (3, 2), (4, 2), (0, 2)])
    def below(number: int, limit: int) -> None:
        tried.append(number)
        if number == 4:
            with pytest.raises(ZeroDivisionError):
                _ = number / limit
        assert number < limit

    with pytest.raises(BaseExceptionGroup, match="2 of 4 cases failed: number=3, limit=2; number=4, limit=2") as caught:
        below()
    assert tried == [1, 3, 4, 0]
    assert [error.__notes__ for error in caught.value.exceptions] == [
        ["with number=3, limit=2"],
        ["with number=4, limit=2"],
    ]


@pytest.mark.parametrize("base", [10, 20])
@together("number", [1, 2])
@together("other", [0.5])
def test_fixtures_and_parameters_come_through(base: int, number: int, other: float, tmp_path) -> None:
    assert tmp_path.is_dir()
    assert base > number > other


def test_cases_can_be_chosen_by_a_word_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    @together("name", ["adam", "elra"])
    @together("number", [1, 2])
    def note(name: str, number: int) -> None:
        tried.append((name, number))

    monkeypatch.setattr(module, "chosen", ["El_ra"])
    note()
    assert tried == [("elra", 1), ("elra", 2)]
    monkeypatch.setattr(module, "chosen", ["gd"])
    with pytest.raises(pytest.skip.Exception, match="no case with any of gd"):
        note()


def test_a_list_without_a_case_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="tests nothing"):
        together("number", [])
