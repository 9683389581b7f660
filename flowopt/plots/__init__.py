"""Pictures of runs: panels of what was recorded, paths over contours, basins of attraction.

Every function returns a matplotlib Figure and, given a path, also writes it there, whole or not at all. No function
touches pyplot or its global state. Importing this package imports matplotlib; `import flowopt` does not.
"""

from flowopt.plots.basins import basins
from flowopt.plots.comparison import comparison
from flowopt.plots.contours import paths
from flowopt.plots.panels import panels, trajectory

__all__ = ["basins", "comparison", "panels", "paths", "trajectory"]
