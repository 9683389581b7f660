"""pandas where it is installed: nothing here needs it but for `to_dataframe`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowopt.core.errors import BadValue

if TYPE_CHECKING:
    import pandas


def dataframe(content: Any) -> pandas.DataFrame:
    """Columns, or a list of lines, as a pandas.DataFrame. Raises BadValue if pandas is not installed."""
    try:
        import pandas
    except ImportError as error:
        raise BadValue("to_dataframe needs pandas: pip install pandas. (to_csv writes the same without it)") from error
    return pandas.DataFrame(content)
