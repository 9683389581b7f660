"""flowopt: optimization as numerical integration."""

import lazy_loader

from flowopt.core.version import VERSION as __version__  # noqa: F401 (a name of the door)

# The names are in __init__.pyi, with where each is from. They are looked up when they are asked for: torch takes two
# seconds to import, and neither `flowopt --help` nor a mistyped command needs it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
