"""flowopt: optimization as numerical integration."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flowopt._public import *  # noqa: F403 (type checkers see what is looked up below)
else:
    # Names are looked up when they are asked for: torch takes two seconds to import, and neither `flowopt --help` nor a
    # mistyped command needs it.

    def __getattr__(name: str) -> object:
        if name.startswith("_") and name != "__all__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if find_spec(f"{__name__}.{name}") is not None:  # a module, or a folder such as flowopt.training
            return import_module(f"{__name__}.{name}")
        try:
            found = getattr(import_module(f"{__name__}._public"), name)
        except AttributeError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        return globals().setdefault(name, found)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
