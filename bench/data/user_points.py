"""Somebody's own points as a data set, by the path of their file: CSV, NumPy or Parquet, a row an example."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from torch import Tensor

from bench.common.errors import UsageError
from bench.common.regular_files import require_regular
from bench.core.data_types import Data, Grid
from bench.core.rng import Rng
from bench.core.search_spaces import Choice, Linear
from bench.data.array_files import open_array
from bench.data.hash_split import hash_split
from bench.data.local_scale import estimate_local_scale

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 400_000_000  # of a file, and of its numbers once they are unpacked
MOST_COLUMNS = 10_000
FIRST_LINE = 1 << 20  # bytes of the first line of a CSV file
MARGIN = 0.25  # of the data's range, on each side of the box in which a model is integrated


def user_points(
    path: Path,
    rng: Rng,
    *,
    standardise: Annotated[str, Choice("yes", "no")] = "yes",
    valid: Annotated[float, Linear(0.01, 0.5)] = 0.1,
    test: Annotated[float, Linear(0.01, 0.5)] = 0.2,
) -> Data:
    """x = (row - offset) / unit, with the mean and the standard deviation of each column over the training rows.

    A row's part is decided by the hash of its numbers, so equal rows are never in two parts and the split is the same
    at every seed. In one and two dimensions there is a box, the range of all rows and a quarter of it on each side, so
    the likelihood of a model is exact up to what it puts outside, which `certified` tells. `local_scale` is estimated.

    Args:
        path: a .csv, .npy or .parquet file.
        rng: gives the batch shape alone: (n, d), or (S, n, d) for a stack of S seeds.
        standardise: "no" leaves the numbers as they are, offset 0 and unit 1.
        valid, test: shares of the rows that are held out.

    Raises:
        UsageError: if the file cannot be read, a column has no numbers, a value is missing, a column is constant, or
            there are too few rows.
    """
    rows = read_points(path)
    digests = [hashlib.sha256(row.tobytes()).digest()[:8] for row in rows]
    parts = {name: rows[chosen] for name, chosen in hash_split(digests, path.name, valid, test).items()}
    offset, unit = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    if standardise == "yes":
        offset, unit = parts["train"].mean(0), parts["train"].std(0)
    given = [torch.from_numpy((part - offset) / unit).float() for part in parts.values()]
    shape = rng.batch_shape(1)[:-1]
    train, held_valid, held_test = (part.expand(*shape, *part.shape) for part in given)
    try:
        local_scale = estimate_local_scale(given[0])
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from None
    return Data(
        path.name,
        train,
        held_valid,
        held_test,
        local_scale=local_scale,
        grid=_box(torch.cat(given)) if rows.shape[1] <= 2 else None,
        content=hashlib.sha256(rows.tobytes()).hexdigest()[:16],
        offset=torch.from_numpy(offset).float(),
        unit=torch.from_numpy(unit).float(),
    )


def read_points(path: Path) -> np.ndarray:
    """The rows of a file, float64 (n, d).

    Raises:
        UsageError: if it cannot be read, or is not made of finite numbers that vary.
    """
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": _read_csv,
        ".npy": _read_npy,
        ".parquet": _read_parquet,
    }
    require_regular(path, MOST_BYTES)
    try:
        frame = readers[path.suffix.lower()](path)
    except UsageError:
        raise
    except (Exception, MemoryError) as error:  # damaged bytes make readers raise anything
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise UsageError(f"{path.name} cannot be read as {path.suffix.lower()}: {said}; save it again") from None
    _check(frame, path.name)
    return np.ascontiguousarray(frame.to_numpy(np.float64)) + 0.0  # -0 is 0


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    with path.open("rb") as file:
        start = file.read(FIRST_LINE)
    if b"\0" in start:
        raise UsageError(f"{path.name} must be text; it has NUL bytes: save it as CSV in UTF-8")
    if len(start) == FIRST_LINE and b"\n" not in start:
        raise UsageError(f"the first line of {path.name} may have at most {FIRST_LINE} bytes; it has more")
    if start.partition(b"\n")[0].count(b",") >= MOST_COLUMNS:
        raise UsageError(f"points have at most {MOST_COLUMNS} columns; {path.name} has more")
    lines = pd.read_csv(path, skipinitialspace=True, header=None, nrows=1, dtype=str, keep_default_na=False)
    first = [str(cell).strip() for cell in lines.iloc[0]]
    if len(first) == 1 and any(separator in first[0] for separator in ";\t"):
        raise UsageError(f"columns must be separated by commas; the first line of {path.name} is '{first[0]}'")
    named = _has_names(first, path.name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # it would go on without the columns beyond the names
        try:
            return pd.read_csv(path, skipinitialspace=True, header=0 if named else None, index_col=False)
        except pd.errors.ParserWarning:
            raise UsageError(
                f"the first line of {path.name} names {len(first)} columns, and the lines below it have more: name "
                "each column, or leave the line out"
            ) from None


def _has_names(first: list[str], file: str) -> bool:
    """Whether the first line names the columns; a line of numbers is a row.

    Raises:
        UsageError: if it could be both, or a name is missing.
    """
    numbers = [cell for cell in first if _is_number(cell)]
    if len(first) > 1 and first == [str(k) for k in range(len(first))]:
        raise UsageError(
            f"the first line of {file} is '{','.join(first)[:80]}', which may be names or a point: leave names out, or "
            "write the point as 0.0,1.0"
        )
    if not first[0] or (not numbers and "" in first):
        raise UsageError(
            f"column {first.index('') + 1} of {file} has no name; if it numbers the rows, save without it "
            "(index=False in pandas), else name it"
        )
    if numbers and len(numbers) < len(first):
        other = next(cell for cell in first if not _is_number(cell))
        raise UsageError(
            f"the first line of {file} must be names or numbers; it has '{numbers[0][:80]}' and '{other[:80]}': name "
            "each column, or mend the line"
        )
    return not numbers


def _is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True


def _read_npy(path: Path) -> pd.DataFrame:
    import pandas as pd

    array = open_array(path)
    if array.ndim not in (1, 2):
        raise UsageError(
            f"points are an array (n, d) or (n,), images (n, H, W) and more; {path.name} has {array.shape}"
        )
    if array.dtype.kind not in "fiub":
        raise UsageError(f"{path.name} must hold real numbers; got {array.dtype}: convert it with .astype(float)")
    return pd.DataFrame(array.reshape(len(array), -1))


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        from pyarrow import parquet

        about = parquet.read_metadata(path)
        if 8 * about.num_rows * about.num_columns > MOST_BYTES:
            raise UsageError(
                f"points may have {MOST_BYTES} bytes; {path.name} announces {about.num_rows} rows of "
                f"{about.num_columns} numbers: give a part of them"
            )
        return pd.read_parquet(path)
    except ImportError:
        raise UsageError(
            f"reading {path.name} needs pyarrow, which is not installed: pip install pyarrow, or save it as .csv"
        ) from None


def _check(frame: pd.DataFrame, name: str) -> None:
    import pandas as pd

    if frame.empty:
        raise UsageError(f"{name} must have a row for each example; it has none")
    if words := [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])]:
        given = frame[words[0]].map(_is_number)
        example = frame[words[0]][~given].iloc[0] if not given.all() else frame[words[0]].iloc[0]
        said = f"{_column(words[0])} of {name} has '{str(example)[:80]}'"
        raise UsageError(f"columns must be numbers; {said}: drop or encode it")
    values = frame.to_numpy(np.float64)
    if (wrong := ~np.isfinite(values)).any():
        row, column = np.argwhere(wrong)[0]
        raise UsageError(
            f"no value may be missing or infinite; {name} has {wrong.sum()}, the first in row {row + 1}, "
            f"{_column(frame.columns[column])}: drop these rows or fill them in"
        )
    if constant := [column for column in frame if frame[column].nunique() == 1]:
        raise UsageError(f"every column must vary; {_column(constant[0])} of {name} is constant: drop it")


def _column(name: object) -> str:
    return f"column {name + 1}" if isinstance(name, int) else f"column '{name}'"


def _box(x: Tensor) -> Grid:
    low, high = x.amin(0), x.amax(0)
    margin = MARGIN * (high - low)
    return Grid(tuple((low - margin).tolist()), tuple((high + margin).tolist()))
