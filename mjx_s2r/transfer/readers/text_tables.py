"""Logs as text: CSV and TSV, JSON, and JSON line by line.

A CSV file may begin with comments, "# mass: 0.5", or with other lines "mass: 0.5", which are its
head: its names are in the first line that holds those that are wanted. A line of units below them
is left out. So is a line with fewer values than there are columns; at the end of the file it is a
torn one.
"""

import codecs
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
    EMPTY,
    LogTable,
    bases_of,
    column_of,
    columns_of_records,
    flattened,
)
from mjx_s2r.transfer.recording import RecordingError

_COMMENT = re.compile(r"#?\s*([^:=]+?)\s*[:=,;\t]\s*(.+?)\s*[,;]*")
MOST_LINES = 60  # among which that of the names is looked for
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
    comments = [line for line in lines if line.lstrip().startswith("#")]
    plain = [line for line in lines if not line.lstrip().startswith("#")] if comments else lines
    if not plain:
        raise RecordingError(f"{path.name} is empty; record again")
    wanted, names = bases_of(columns), list(layout.columns)
    if names:
        first, delimiter = -1, layout.delimiter or _delimiter(path, plain[0], layout.decimal)
    else:
        first, delimiter, names = _line_of_names(path, plain, layout, columns)
    rows = _split(plain[first + 1 :], delimiter)
    if twice := [name for name in names if name in wanted and names.count(name) > 1]:
        raise RecordingError(f"{path.name} has two columns {twice[0]!r}; rename one")
    places = [i for i, name in enumerate(names) if name in wanted]
    if not layout.columns and _are_units(rows, places):
        rows = rows[1:]
    short = [i for i, row in enumerate(rows) if len(row) < len(names)]
    whole = [row for row in rows if len(row) >= len(names)]
    found = {
        name: column_of([row[i].strip() for row in whole] if name in wanted else [])
        for i, name in enumerate(names)
    }
    head = _said([*comments, *plain[: max(first, 0)]])
    return [LogTable(path.name, 0, found, head, notes=_short_lines(short, len(rows)))]


def _line_of_names(
    path: Path, lines: Sequence[str], layout: FileLayout, columns: Sequence[str]
) -> tuple[int, str, list[str]]:
    """Returns the number of the line of names, what stands between its values, and the names.

    It is the first line, unless a later one holds more of the wanted columns.

    Raises:
        RecordingError: the first line is one of numbers, and none holds a wanted column.
    """
    best: tuple[int, str, list[str]] = (0, "", [])
    most = -1
    for number, line in enumerate(lines[:MOST_LINES]):
        delimiter = layout.delimiter or _delimiter(path, line, layout.decimal)
        names = [x.strip() for x in _split([line], delimiter)[0]]
        while len(names) > 1 and not names[-1]:  # a delimiter behind the last one
            names.pop()
        count = sum(name in names or bool(bases_of([name]) & set(names)) for name in columns)
        if count > most:
            best, most = (number, delimiter, names), count
    if not most and all(_is_number(x) for x in best[2]):
        raise RecordingError(
            f"{path.name} has no line of names, its first one is {lines[0][:40]!r}; name the "
            "columns with columns = [...] in [file]"
        )
    return best


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Returns the values of each line; a blank as delimiter is any number of them."""
    if delimiter == " ":
        return [line.split() for line in lines]
    return list(csv.reader(lines, delimiter=delimiter))


def _are_units(rows: Sequence[Sequence[str]], places: Sequence[int]) -> bool:
    """Returns whether the first line below the names holds words where the next has numbers."""
    if len(rows) < 2 or not places or min(map(len, rows[:2])) <= max(places):
        return False
    words, values = ([row[i].strip() for i in places] for row in rows[:2])
    first = all(x and not _is_number(x) and x.casefold() not in EMPTY for x in words)
    return first and any(_is_number(x) for x in values)


def _said(lines: Sequence[str]) -> dict[str, Any]:
    """Returns what lines before the names say, as "mass: 0.5" or "# mass: 0.5"."""
    found = (_COMMENT.fullmatch(line.strip()) for line in lines)
    return {said[1]: _value(said[2]) for said in found if said is not None}


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
    raw = path.read_bytes()
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
        if not wide or sum(x.isascii() for x in text[:4096]) > 0.9 * len(text[:4096]):
            return text
        why = "wide letters of no language"
    except UnicodeDecodeError as error:
        why = str(error)
    if path.suffix in (".json", ".jsonl") or not _is_latin(raw):
        raise RecordingError(f"{path.name} is no UTF-8 text ({why}); is it another format?")
    return raw.decode("cp1252", "replace")


def _is_latin(raw: bytes) -> bool:
    """Returns whether bytes look like a text of one byte a letter, but for a few beyond ASCII."""
    start = raw[:4096]
    odd = sum(byte < 9 or 13 < byte < 32 for byte in start)
    return not odd and sum(byte > 126 for byte in start) < 0.1 * len(start)


def _delimiter(path: Path, line: str, decimal: str) -> str:
    """Returns what stands between the values of a line."""
    if path.suffix == ".tsv":
        return "\t"
    known = "\t;,".replace(decimal, "")  # a comma may be a decimal mark
    blank = " " if len(line.split()) > 1 else known[0]
    return next((mark for mark in known if mark in line), blank)


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
