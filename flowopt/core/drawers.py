"""Where results find the pictures and tables of themselves: results know how to be drawn, and import no pictures."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def drawer(name: str) -> Any:
    """The function of `flowopt.show` with that name; matplotlib is imported only when a picture is wanted.

    >>> drawer("comparison_table").__module__
    'flowopt.show._comparison_tables'
    """
    return getattr(import_module("flowopt.show"), name)
