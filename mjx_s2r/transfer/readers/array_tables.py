"""Logs as arrays: npz of numpy, parquet, and LeRobot's dataset folders. Pictures are not read.

A LeRobot dataset (v2.1 or v3.0) is a folder with meta/info.json and data/**/*.parquet; an episode
is a clip. Its "timestamp" is frame_index / fps by construction.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.robot.log.extras import need
from mjx_s2r.robot.log.records import LogError
from mjx_s2r.transfer.readers.table import LogTable, bases_of, column_of, split_by
from mjx_s2r.transfer.recording import RecordingError

UNREADABLE = (OSError, ValueError, EOFError, KeyError, AttributeError, NotImplementedError)
MOST_IN_HEAD = 64  # values of an array of another length than the rows
EPISODE, LEROBOT_TIME = "episode_index", "timestamp"


def is_lerobot(path: Path) -> bool:
    """Returns whether a folder is a LeRobot dataset."""
    return (path / "meta" / "info.json").is_file()


def read_npz_log(path: Path) -> list[LogTable]:
    """Returns the table of a file of numpy arrays whose first axis is time.

    Raises:
        RecordingError: it is none, or holds pickled objects.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        raise RecordingError(f"{path.name} is no file of plain numpy arrays: {error}") from error
    head = {k: x.item() for k, x in arrays.items() if x.ndim == 0}
    longest = max((len(x) for x in arrays.values() if x.ndim), default=0)
    rows = {
        k: x.reshape(len(x), -1) if x.ndim > 1 else x
        for k, x in arrays.items()
        if x.ndim and len(x) == longest
    }
    for k, x in arrays.items():  # names of joints, or one row less: a column that is asked for
        if x.ndim and len(x) != longest:
            few = x.size <= MOST_IN_HEAD
            head[k] = tuple(map(str, x.ravel().tolist())) if few else f"{len(x)} rows"
    return [LogTable(path.name, 0, rows, head)]


def read_parquet_log(path: Path, columns: Sequence[str]) -> list[LogTable]:
    """Returns the table of a parquet file.

    Args:
        path: the file.
        columns: names, perhaps with an index, of those that are wanted; others are not read.

    Raises:
        RecordingError: pyarrow is missing, or it is no parquet file.
    """
    return [LogTable(path.name, 0, _columns([path], columns))]


def read_lerobot_log(folder: Path, columns: Sequence[str]) -> list[LogTable]:
    """Returns one table for each episode of a dataset.

    Args:
        folder: of the dataset.
        columns: names, perhaps with an index, of those that are wanted; others are not read.

    Raises:
        RecordingError: pyarrow is missing, or the folder lacks data.
    """
    try:
        info = json.loads((folder / "meta" / "info.json").read_text())
        features = info["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(
            f"{folder} is no LeRobot dataset: meta/info.json: {error!r}"
        ) from error
    files = sorted((folder / "data").rglob("*.parquet"))
    if not files:
        raise RecordingError(f"{folder} holds no data/**/*.parquet; fetch the dataset's data")
    found = _columns(files, [*columns, EPISODE, LEROBOT_TIME])
    names = {k: list(x["names"]) for k, x in features.items() if isinstance(x.get("names"), list)}
    head = {k: x for k, x in info.items() if isinstance(x, str | int | float)}
    table = LogTable(folder.name, 0, found, head, names, synthetic_time=True)
    return split_by(table, EPISODE)


def _columns(files: Sequence[Path], wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns columns of parquet files, one behind another."""
    try:
        pq = need("pyarrow.parquet", "a parquet log")
    except LogError as error:
        raise RecordingError(str(error)) from error
    parts: list[dict[str, np.ndarray]] = []
    for file in files:
        try:
            known = pq.read_schema(file).names
            names = [name for name in known if name in bases_of(wanted)]
            table = pq.read_table(file, columns=names)
        except (OSError, ValueError) as error:  # pyarrow's errors are of these
            raise RecordingError(f"{file.name} is no whole parquet file: {error}") from error
        unread = {name: np.empty(0) for name in known if name not in names}
        parts.append(unread | {name: _array(table[name]) for name in names})
    return {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
        if all(name in part for part in parts)
    }


def _array(column: Any) -> np.ndarray:
    """Returns (T,) or (T, n) of a column."""
    values = column.to_pylist()
    return column_of(values) if values else np.empty(0)
