"""Numbers as people write them."""

from __future__ import annotations

import math
import re


def number(value: float | None) -> str:
    """A number in few digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """A share as a percentage, in as many digits as tell it from 0 and 1."""
    rest = 100 * min(share, 1 - share)
    digits = 0 if rest <= 0 else min(8, max(1, -math.floor(math.log10(rest))))
    return f"{100 * share:.{digits}f} %"


def short(value: float) -> str:
    """A number in few digits, 1e-6 rather than 1e-06."""
    value = float(f"{value:.3g}")
    text = f"{value:.3g}" if 0.1 <= value < 1e4 else f"{value:.2e}"
    return re.sub(r"\.?0*e([+-])0*", r"e\1", text).replace("e+", "e")
