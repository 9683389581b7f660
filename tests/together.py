"""Many small cases in one test, where nobody wants to see each of them alone."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import pytest


def together(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Like ``pytest.mark.parametrize``, in one test: every case is tried, and those that fail are told by name.

    The test of a single case stays at hand as ``test.__wrapped__``. Fixtures are shared by the cases.
    """
    names, cases = [names] if isinstance(names, str) else list(names), list(cases)
    assert cases, "a test without a case tests nothing"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def all_cases(**fixtures: Any) -> None:
            failed: dict[str, BaseException] = {}
            for case in cases:
                given = dict(zip(names, [case] if len(names) == 1 else case, strict=True))
                try:
                    test(**given, **fixtures)
                except (Exception, pytest.fail.Exception) as error:  # the latter is of pytest.raises and pytest.warns
                    failed[", ".join(f"{name}={value!r}" for name, value in given.items())] = error
            for shown, error in failed.items():
                error.add_note(f"with {shown}")
            if failed:
                message = f"{len(failed)} of {len(cases)} cases failed: " + "; ".join(list(failed)[:10])
                raise BaseExceptionGroup(message, list(failed.values()))

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in names]
        all_cases.__signature__ = signature.replace(parameters=kept)
        return all_cases

    return decorate
