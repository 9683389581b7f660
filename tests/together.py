"""Many small cases in one test, where nobody wants to see each of them alone."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import pytest

chosen: list[str] = []
"""What the text of a case must have one of to be tried, where not all are: `pytest --cases adam,elra`."""


def together(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like ``pytest.mark.parametrize``, in one test: every case is tried, and those that fail are told by name.

    The test of a single case stays at hand as ``test.__wrapped__``. Fixtures are shared by the cases.
    """
    names, cases = [names] if isinstance(names, str) else list(names), list(cases)
    assert cases, "a test without a case tests nothing"
    given = [dict(zip(names, [case] if len(names) == 1 else case, strict=True)) for case in cases]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        several = [case | other for case in given for other in getattr(test, "cases", [{}])]
        one = test.__wrapped__ if hasattr(test, "cases") else test

        @pytest.mark.together
        @wraps(one)
        def all_cases(**fixtures: Any) -> None:
            failed: dict[str, BaseException] = {}
            tried = {text(case): case for case in several if is_chosen(text(case))}
            if not tried:
                pytest.skip(f"no case with any of {', '.join(chosen)}")
            for shown, case in tried.items():
                try:
                    one(**case, **fixtures)
                except (Exception, pytest.fail.Exception) as error:  # the latter is of pytest.raises and pytest.warns
                    error.add_note(f"with {shown}")
                    failed[shown] = error
            if failed:
                message = f"{len(failed)} of {len(tried)} cases failed: " + "; ".join(list(failed)[:10])
                raise BaseExceptionGroup(message, list(failed.values()))

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in names]
        all_cases.__signature__ = signature.replace(parameters=kept)
        all_cases.cases = several
        return all_cases

    return decorate


def text(case: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in case.items())


def is_chosen(shown: str) -> bool:
    """Whether a case is to be tried: sign_flow finds SignFlow() too."""
    return not chosen or any(plain(word) in plain(shown) for word in chosen)


def plain(word: str) -> str:
    return word.lower().replace("_", "")
