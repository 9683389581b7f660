"""Power: the electricity that one household draws, a regression on windows of its past.

ECCO-DNN (section 6.3) trains an LSTM on these data, with the model of a notebook that gives neither window nor split;
the defaults here are ours.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flowopt.core.errors import BadValue, check_choice, check_count, check_range
from flowopt.training.datasets.dataset import Dataset
from flowopt.training.datasets.download import Resource, obtain
from flowopt.training.datasets.preprocessing import PREPROCESSING, Preprocessing, affine, column_scaling

FILE = "household_power_consumption.txt"
HEADER = (
    "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
    "Sub_metering_1;Sub_metering_2;Sub_metering_3"
)
EXAMPLE = "16/12/2006;17:24:00;4.216;0.418;234.840;18.400;0.000;1.000;17.000"
COLUMNS = HEADER.count(";") + 1
DAY = 24 * 60
"""Minutes."""
POWER = Resource(
    (FILE, "household_power_consumption.zip", "individual+household+electric+power+consumption.zip"),
    "https://archive.ics.uci.edu/dataset/235/individual+household+electric+power+consumption",
    sha256=None,  # UCI publishes none
)
Series = NDArray[np.float64]


def power(
    *,
    data_dir: str | Path | None = None,
    download: bool = False,
    preprocessing: Preprocessing = "standardised",
    dtype: torch.dtype = torch.float32,
    minutes: int = 60,
    window: int = 24,
    train_fraction: float = 0.8,
    rows: int | None = None,
) -> Dataset:
    """The next Global_active_power, targets ``(N, 1)``, from `window` past samples of all 7 measurements.

    Inputs are ``(N, window, 7)``. A sample is the mean over `minutes` of the clock, of the values that are there. The
    first `train_fraction` of the time is for training, the rest for testing, and no window reaches across. Windows with
    a missing value in them are dropped; `facts` counts them. `rows` reads no more than that many lines of the file.

    `preprocessing`, each measurement by its training samples: "standardised", mean 0 and deviation 1; "scaled", from 0
    to 1. ``target * facts["target_scale"] + facts["target_shift"]`` are kW. Source: Hebrail, Berard 2012, UCI.
    Raises BadValue for options out of range, a file that is missing or damaged, or too little of it.
    """
    _check_options(preprocessing, minutes, window, train_fraction, rows)
    (path,) = obtain("power", [POWER], data_dir, download)
    clock, values = read_power(path, rows)
    samples = torch.from_numpy(resampled(clock, values, minutes))
    cut = int(train_fraction * len(samples))
    whole = samples[:cut][~samples[:cut].isnan().any(1)]
    if len(samples) < 2 * (window + 1) or not len(whole):
        raise BadValue(f"power: {len(samples)} samples of {minutes} min are too few for windows of {window}")
    shift, scale = column_scaling(whole, preprocessing)
    train = windows("training", affine(samples[:cut], shift, scale, dtype), window)
    test = windows("test", affine(samples[cut:], shift, scale, dtype), window)
    return Dataset(
        name="power",
        task="regression",
        train_inputs=train[0],
        train_targets=train[1],
        test_inputs=test[0],
        test_targets=test[1],
        outputs=1,
        facts={
            "rows": len(values),
            "rows_with_missing_values": int(np.isnan(values).any(1).sum()),
            "minutes_without_row": int(clock[-1] - clock[0]) + 1 - len(clock),
            "train_windows_dropped": train[2],
            "test_windows_dropped": test[2],
            "target_shift": float(shift[0]),
            "target_scale": float(scale[0]),
        },
    )


def _check_options(preprocessing: str, minutes: int, window: int, train_fraction: float, rows: int | None) -> None:
    check_choice("power", "preprocessing", preprocessing, PREPROCESSING)
    check_count("power", "minutes", minutes, 1)
    check_count("power", "window", window, 1)
    check_range("power", "train_fraction", train_fraction, 0.05, 0.95)
    if rows is not None:
        check_count("power", "rows", rows, 2)


def windows(part: str, samples: Tensor, window: int) -> tuple[Tensor, Tensor, int]:
    """Inputs ``(N, window, D)`` and targets ``(N, 1)``, the next first column, of samples ``(T, D)``.

    Windows with a NaN in them or in what comes next are dropped, and counted. Raises BadValue if none is left.
    """
    if len(samples) <= window:
        raise BadValue(f"power: {len(samples)} {part} samples are too few for windows of {window} and a target")
    whole = ~samples.isnan().any(1).unfold(0, window + 1, 1).any(1)
    if not whole.any():
        raise BadValue(f"power: all {len(whole)} {part} windows of {window} samples have missing values in them")
    chosen = samples.unfold(0, window + 1, 1)[whole].transpose(1, 2)
    return chosen[:, :-1].contiguous(), chosen[:, -1, :1].contiguous(), int((~whole).sum())


def resampled(clock: NDArray[np.int64], values: Series, minutes: int) -> Series:
    """Means ``(T, D)`` over blocks of `minutes` of the clock, of the values that are there; NaN where there are none.

    `clock` counts minutes ``(R,)``, increasing; `values` are ``(R, D)``, NaN where missing.
    """
    block = clock // minutes - clock[0] // minutes
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    there = ~np.isnan(values)
    totals = np.add.reduceat(np.where(there, values, 0.0), starts, axis=0)
    counts = np.add.reduceat(there, starts, axis=0, dtype=np.int64)
    means = np.full((block[-1] + 1, values.shape[1]), np.nan)
    means[block[starts]] = np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
    return means


def read_power(path: Path, rows: int | None = None) -> tuple[NDArray[np.int64], Series]:
    """Minutes ``(R,)`` and the 7 measurements ``(R, 7)``, NaN where missing, of UCI's file, plain or in its .zip.

    Raises BadValue for a file that is not of that form, or whose times do not increase.
    """
    try:
        table = _table(path, rows)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadValue(
            f"{path} cannot be read as UCI's file of household power: {error}; expected the row 0, after the header, "
            f"and all others to be like {EXAMPLE}"
        ) from error
    clock, values = (table[:, 0] + table[:, 1]).astype(np.int64), table[:, 2:]
    if backward := np.flatnonzero(np.diff(clock) <= 0).tolist():
        raise BadValue(f"{path}, line {backward[0] + 3}: its time is not after the line before")
    if clock[-1] - clock[0] > 2 * len(clock):
        raise BadValue(f"{path}: {len(clock)} rows lie {clock[-1] - clock[0]} minutes apart; expected one a minute")
    if np.isinf(values).any():
        raise BadValue(f"{path}, line {np.isinf(values).any(1).argmax() + 2}: a value is infinite")
    return clock, values


def _table(path: Path, rows: int | None) -> Series:
    with _opened(path) as lines:
        header = next(lines, "").strip()
        if header != HEADER:
            raise ValueError(f"it begins with {header[:100]!r}, expected {HEADER!r}")
        body = [_with_nan(line) for line in islice(lines, rows)]
    if not body:
        raise ValueError("there are no rows after the header")
    converters: dict[int | str, Callable[[str], float]] = {0: _day, 1: _minute}
    # comments: none, or a '#' would hide the rest of its line
    table: Series = np.loadtxt(body, delimiter=";", comments=None, converters=converters, encoding="utf-8", ndmin=2)
    if table.shape[1] != COLUMNS:
        raise ValueError(f"its rows have {table.shape[1]} columns, expected {COLUMNS}")
    return table


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(FILE) as packed:
            yield io.TextIOWrapper(packed, encoding="utf-8")
    else:
        with path.open(encoding="utf-8") as file:
            yield file


def _with_nan(line: str) -> str:
    """A missing value is written '?' in all columns but the last, where it is left out."""
    line = line.strip().replace("?", "nan")
    return line + "nan" if line.endswith(";") else line


@lru_cache(maxsize=4096)
def _day(text: str) -> float:
    return datetime.strptime(text, "%d/%m/%Y").toordinal() * DAY


@lru_cache(maxsize=DAY)
def _minute(text: str) -> float:
    time = datetime.strptime(text, "%H:%M:%S")
    return time.hour * 60 + time.minute
