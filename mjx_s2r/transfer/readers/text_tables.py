"""Logs as text: CSV and TSV, JSON, and JSON line by line.

A CSV file may begin with comments, "# mass: 0.5", which are its head. A line with fewer values than
there are columns is left out; at the end of the file it is a torn one.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mjx_s2r.params.param import unknown
from mjx_s2r.transfer.mapping import FileLayout
from mjx_s2r.transfer.readers.table import (
    LogTable,
    bases_of,
    column_of,
    columns_of_records,
    flattened,
)
from mjx_s2r.transfer.recording import RecordingError

_COMMENT = re.compile(r"#\s*([^:=]+?)\s*[:=]\s*(.+?)\s*")
Singles = (str, int, float, bool)


def read_csv_log(path: Path, layout: FileLayout, columns: Sequence[str]) -> list[LogTable]:
    """Returns the table of a CSV or TSV file.

    Args:
        path: the file.
        layout: its delimiter and its names, where the file does not tell.
        columns: names, perhaps with an index, of those that are wanted; others are not kept.

    Raises:
        RecordingError: no text, no line of names, or no row.
    """
    lines = [line for line in _text(path).replace("\0", "").splitlines() if line.strip()]
    head = {}
    for line in lines:
        if (said := _COMMENT.fullmatch(line)) is not None:
            head[said[1]] = _value(said[2])
    lines = [line for line in lines if not line.lstrip().startswith("#")]
    if not lines:
        raise RecordingError(f"{path.name} is empty; record again")
    delimiter = layout.delimiter or _delimiter(path, lines[0], layout.decimal)
    rows = list(csv.reader(lines, delimiter=delimiter))
    names = list(layout.columns)
    if not names:
        names, rows = [x.strip() for x in rows[0]], rows[1:]
        if all(_is_number(x) for x in names):
            raise RecordingError(
                f"{path.name} has no line of names, its first one is {lines[0][:40]!r}; name the "
                "columns with columns = [...] in [file]"
            )
    wanted = bases_of(columns)
    if twice := [name for name in names if name in wanted and names.count(name) > 1]:
        raise RecordingError(f"{path.name} has two columns {twice[0]!r}; rename one")
    short = [i for i, row in enumerate(rows) if len(row) < len(names)]
    notes = _short_lines(short, len(rows))
    whole = [row for row in rows if len(row) >= len(names)]
    found = {
        name: column_of([row[i].strip() for row in whole] if name in wanted else [])
        for i, name in enumerate(names)
    }
    return [LogTable(path.name, 0, found, head, notes=notes)]


def read_json_log(path: Path, layout: FileLayout) -> list[LogTable]:
    """Returns the tables of a JSON file: records, lists of values, or clips of either.

    Raises:
        RecordingError: no JSON, or nothing at the keys that the mapping names.
    """
    text = _text(path)
    try:
        body = json.loads(text)
    except ValueError as error:
        raise RecordingError(
            f"{path.name} is no whole JSON ({error}); a torn file cannot be read, record again or "
            "write one record a line (jsonl)"
        ) from error
    head = _head(body)
    if not layout.clips:
        return [_clip(path.name, 0, _at(body, layout.rows, path.name), head)]
    clips = _at(body, layout.clips, path.name)
    if not isinstance(clips, list) or not clips:
        raise RecordingError(f"{path.name}: {layout.clips!r} is no list of clips")
    tables = []
    for number, clip in enumerate(clips):
        one = _clip(path.name, number, _at(clip, layout.rows, path.name), {**head, **_head(clip)})
        tables.append(replace(one, clips=len(clips)))
    return tables


def read_jsonl_log(path: Path, layout: FileLayout) -> list[LogTable]:
    """Returns the table of a file with one JSON record a line.

    Raises:
        RecordingError: no record.
    """
    records, broken = [], []
    lines = [line for line in _text(path).splitlines() if line.strip()]
    for i, line in enumerate(lines):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(_at(record, layout.rows, path.name) if layout.rows else record)
        else:
            broken.append(i)
    if not records:
        raise RecordingError(f"{path.name} holds no JSON record; is it another format?")
    columns = columns_of_records(records)
    return [LogTable(path.name, 0, columns, notes=_short_lines(broken, len(lines)))]


def _clip(file: str, number: int, body: Any, head: Mapping[str, Any]) -> LogTable:
    """Returns one clip: a list of records, or an object of lists."""
    if isinstance(body, list):
        records = [x for x in body if isinstance(x, Mapping)]
        if body and not records:
            raise RecordingError(
                f"{file}: its list holds {type(body[0]).__name__}s and no records; say where the "
                "records lie with rows = KEY in [file]"
            )
        return LogTable(file, number, columns_of_records(records), head)
    if not isinstance(body, Mapping):
        raise RecordingError(f"{file}: there is {str(body)[:40]!r} where rows are wanted")
    lists = {name: x for name, x in flattened(body).items() if isinstance(x, list)}
    if lists and all(isinstance(y, Mapping) for x in lists.values() for y in x):
        keys = " or ".join(map(repr, lists))
        raise RecordingError(f"{file}: its records lie deeper; write rows = {keys} in [file]")
    longest = max(map(len, lists.values()), default=0)
    rows = {name: column_of(x) for name, x in lists.items() if len(x) == longest}
    short = {name: x for name, x in lists.items() if len(x) != longest}
    return LogTable(
        file, number, rows, {**head, **{k: tuple(map(str, x)) for k, x in short.items()}}
    )


def _head(body: Any) -> dict[str, Any]:
    """Returns the single values of a JSON object, nested ones as "a.b"."""
    if not isinstance(body, Mapping):
        return {}
    return {name: x for name, x in flattened(body).items() if isinstance(x, Singles)}


def _at(body: Any, key: str, file: str) -> Any:
    """Returns what lies at a key, "a.b" for nested ones; "" is the body itself."""
    for part in filter(None, key.split(".")):
        if not isinstance(body, Mapping) or part not in body:
            known = list(body) if isinstance(body, Mapping) else []
            raise RecordingError(f"{file}: {unknown('key', part, known)}")
        body = body[part]
    return body


def _short_lines(lines: Sequence[int], count: int) -> tuple[str, ...]:
    """Returns the note about lines that were not whole."""
    if not lines:
        return ()
    if list(lines) == [count - 1]:
        return ("the last line is torn and was left out",)
    return (f"{len(lines)} lines were not whole and were left out, the first is row {lines[0]}",)


def _text(path: Path) -> str:
    """Returns the text of a file.

    Raises:
        RecordingError: it is no text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordingError(
            f"{path.name} is no UTF-8 text ({error}); is it another format?"
        ) from (error)


def _delimiter(path: Path, line: str, decimal: str) -> str:
    """Returns what stands between the values of a line."""
    if path.suffix == ".tsv":
        return "\t"
    known = "\t;,".replace(decimal, "")  # a comma may be a decimal mark
    return next((mark for mark in known if mark in line), known[0])


def _is_number(text: str) -> bool:
    """Returns whether a text is a number, with either decimal mark."""
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _value(text: str) -> Any:
    """Returns a number where a text is one."""
    return float(text.replace(",", ".")) if _is_number(text) else text
