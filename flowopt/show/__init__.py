"""Pictures of runs: panels of what was recorded, paths over contours, basins of attraction.

Every function returns a matplotlib Figure and, given a path, also writes it there, whole or not at all. No function
touches pyplot or its global state. Importing this package imports matplotlib; `import flowopt` does not.
"""

from flowopt.show.basin_map import basins
from flowopt.show.comparison_paths import comparison_paths
from flowopt.show.comparison_sheet import comparison
from flowopt.show.contours import paths
from flowopt.show.panel_grid import panels, trajectory
from flowopt.show.training import training_curves

__all__ = ["basins", "comparison", "comparison_paths", "panels", "paths", "training_curves", "trajectory"]
