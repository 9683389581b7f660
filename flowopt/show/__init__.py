"""Pictures and tables of runs: panels of what was recorded, paths over contours, basins of attraction.

Every function that draws returns a matplotlib Figure and, given a path, also writes it there, whole or not at all. No
function touches pyplot or its global state. matplotlib is imported with the first of them: tables do without.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
