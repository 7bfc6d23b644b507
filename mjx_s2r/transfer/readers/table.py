"""What every reader of a file makes: named columns of raw values, and the fields of their head."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mjx_s2r.params.param import unknown
from mjx_s2r.transfer.recording import RecordingError

_INDEXED = re.compile(r"(.+)\[([^\[\]]+)\]")
EMPTY = ("", "nan", "null", "none", "n/a", "na")


@dataclass(frozen=True, eq=False)
class LogTable:
    """One clip of a log as it lies in the file: T rows.

    Attributes:
        file: name of the file.
        clip: number of the clip in it, from 0.
        columns: name -> (T,) or (T, n) raw values: numbers, or objects with None for no value.
        head: fields of the file's head and of the clip, single values.
        names: column -> names of its n numbers, where the file tells them.
        notes: what the reader found, e.g. a torn end.
        synthetic_time: whether the file's format writes a clock that only counts rows.
        clips: number of clips in the file.
    """

    file: str
    clip: int
    columns: Mapping[str, np.ndarray]
    head: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    synthetic_time: bool = False
    clips: int = 1

    def __len__(self) -> int:
        """Number of rows, T."""
        return max((len(x) for x in self.columns.values()), default=0)

    @property
    def label(self) -> str:
        """File and clip, for messages."""
        return f"{self.file} clip {self.clip}" if self.clips > 1 else self.file

    def values(self, name: str) -> np.ndarray:
        """Returns (T,) raw values of a column, or of one number of a column of lists.

        Raises:
            RecordingError: no such column, or no such number in it; the message lists near ones.
        """
        if name in self.columns:
            found = self.columns[name]
            if found.ndim == 2 and found.shape[1] == 1:
                return found[:, 0]
            if found.ndim != 1:
                raise RecordingError(
                    f"{self.label}: column {name!r} holds {found.shape[1]} numbers a row; say "
                    f"which, e.g. {name}[0]{self._called(name)}"
                )
            return found
        if name in self.head:
            raise RecordingError(
                f"{self.label}: {name!r} is no column of {len(self)} rows: it holds "
                f"{self.head[name]!r:.60}, once or another number of times"
            )
        indexed = _INDEXED.fullmatch(name)
        if indexed is None or indexed[1] not in self.columns:
            raise RecordingError(f"{self.label}: {unknown('column', name, sorted(self.columns))}")
        base, index = indexed[1], indexed[2]
        found, names = self.columns[base], list(self.names.get(base, ()))
        if index in names:
            number = names.index(index)
        elif index.isdecimal():
            number = int(index)
        else:
            raise RecordingError(f"{self.label}: {unknown(f'number of {base!r}', index, names)}")
        if found.ndim != 2 or number >= found.shape[1]:
            size = found.shape[1] if found.ndim == 2 else 1
            raise RecordingError(f"{self.label}: {name!r} is not there; {base!r} holds {size}")
        return found[:, number]

    def numbers(self, name: str, missing: Sequence[Any] = (), decimal: str = ".") -> np.ndarray:
        """Returns (T,) float64 of a column, NaN where there is no value.

        Args:
            name: of the column.
            missing: further values that mean none.
            decimal: decimal mark of texts.

        Raises:
            RecordingError: no such column, or a text that is no number.
        """
        raw = self.values(name)
        plain = raw.dtype.kind in "biuf" or not (missing or decimal != ".")
        out = _at_once(raw) if plain else None
        if out is None:  # one by one, and the error names the value
            out = np.array([self._number(x, i, name, missing, decimal) for i, x in enumerate(raw)])
        for value in missing:
            if isinstance(value, int | float):
                out[out == value] = np.nan
        return np.where(np.isfinite(out), out, np.nan)

    def _number(
        self, value: Any, row: int, name: str, missing: Sequence[Any], decimal: str
    ) -> float:
        """Returns one value as a number."""
        if value is None or value in missing:
            return float("nan")
        if isinstance(value, str):
            text = value.strip()
            if text.casefold() in EMPTY or text in missing:
                return float("nan")
            value = text.replace(decimal, ".") if decimal != "." else text
        try:
            return float(value)
        except (TypeError, ValueError):
            comma = isinstance(value, str) and decimal == "." and value.count(",") == 1
            remedy = 'write decimal = "," in [file]' if comma else "list it under missing in [file]"
            raise RecordingError(
                f"{self.label}: column {name!r} holds {value!r} in row {row}, which is no number; "
                f"{remedy}, or map another column"
            ) from None

    def _called(self, name: str) -> str:
        """Returns the names of a column's numbers, for an error."""
        names = self.names.get(name, ())
        return f" or {name}[{names[0]}]" if names else ""


def _at_once(raw: np.ndarray) -> np.ndarray | None:
    """Returns a column as float64; None where one of its values is no number."""
    try:
        return raw.astype(float)
    except (TypeError, ValueError):
        return None


def column_of(values: Sequence[Any]) -> np.ndarray:
    """Returns (T,) or (T, n) of a list of values, some of which may be lists or missing.

    Lists of another length than the longest are filled with None.
    """
    size = max((len(x) for x in values if isinstance(x, list | tuple)), default=None)
    if size is None:
        kinds = {type(x) for x in values}
        if kinds and kinds <= {int, float} and (float in kinds or not _is_huge(values)):
            return np.array(values)
        out = np.empty(len(values), object)
        out[:] = [None if isinstance(x, dict) else x for x in values]
        return out
    rows = np.full((len(values), size), None, object)
    for i, x in enumerate(values):
        if isinstance(x, list | tuple):
            rows[i, : len(x)] = [None if isinstance(y, list | dict) else y for y in x]
    return rows


def _is_huge(values: Sequence[Any]) -> bool:
    """Returns whether whole numbers do not fit into 64 bits."""
    return max(map(abs, values), default=0) >= 2**63


def columns_of_records(records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Returns the columns of T records; nested ones are "a.b", a missing key is None."""
    flat = [flattened(record) for record in records]
    names = dict.fromkeys(name for record in flat for name in record)
    return {name: column_of([record.get(name) for record in flat]) for name in names}


def flattened(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a record whose nested ones are named "a.b"."""
    out: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            out |= flattened(value, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out


def bases_of(columns: Sequence[str]) -> set[str]:
    """Returns the names that columns with an index may stand for, and the columns themselves."""
    indexed = (_INDEXED.fullmatch(name) for name in columns)
    return {*columns, *(found[1] for found in indexed if found)}


def split_by(table: LogTable, column: str) -> list[LogTable]:
    """Returns the clips of a table: stretches in which a column keeps its value.

    Raises:
        RecordingError: no such column.
    """
    raw = table.values(column)
    edges = [i for i in range(1, len(raw)) if raw[i] != raw[i - 1]]
    bounds = [0, *edges, len(raw)]
    clips = []
    for number, (a, b) in enumerate(pairwise(bounds)):
        head = {**table.head, column: _plain(raw[a])}
        rows = {name: x[a:b] for name, x in table.columns.items()}
        clips.append(replace(table, clip=number, columns=rows, head=head, clips=len(edges) + 1))
    return clips


def _plain(value: Any) -> Any:
    """Returns a number of numpy as a plain one."""
    return value.item() if isinstance(value, np.generic) else value
