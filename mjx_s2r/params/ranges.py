"""Ranges of rows that a run is given instead of those its task is written with.

A range is one text, which a command line, settings in JSON and an error can hold alike:

    name=low,high                  the row is drawn between the two
    name=value                     the row is fixed
    name=low,high;key=value;...    and further fields of the row: nominal, limits, initial, law,
                                   correlation, rho; and of, what the row must be

A file has the same in TOML or JSON: ``name = [low, high]``, ``name = value``, or a table with those
keys. Low and high lie within the row's hard limits; ``limits`` are others, which physics alone
bounds. A posterior.json is a file of ranges, too: they are under its key ``ranges``. It knows no
simulator and no jax.
"""

import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from mjx_s2r.params.param import LARGEST, Law, Param, ParamError, Range, unknown
from mjx_s2r.params.space import ParamSpace

FORM = "write name=low,high, or name=value for a fixed one"
KEYS = ("low", "high", "nominal", "limits", "initial", "law", "correlation", "rho", "of")
WORDS = ("law", "correlation", "of")  # keys whose value is no number
OTHER_UNITS = (("s", "ms", 1e-3), ("rad", "degrees", math.pi / 180), ("m", "mm", 1e-3))
LEAST_SHARE = 0.01  # of a row's limit, for a value in another unit to be what was meant
TOO_FAR = 10.0  # times a row's limit, beyond which limits of its own are no advice
POSTERIOR = "mjx_s2r posterior 1"  # the format of a posterior.json, and its version


@dataclass(frozen=True)
class RowRange:
    """What a row is given; None leaves it as it is.

    Attributes:
        name: name of the row.
        low: lowest value drawn, in the row's unit; its low limit if None.
        high: highest value drawn.
        nominal: the nominal value; if None it moves as far as it must to lie in the range.
        limits: hard limits instead of the row's.
        initial: range at the start of a training that widens; if None it is cut to the range.
        law: law of the draw.
        correlation: the group of rows that it is drawn with instead of the table's; "" of none.
        rho: correlation with the first row of that group.
        of: what the row must be, as `kind_of_row` says it; a range of another row is refused.
    """

    name: str
    low: float | None = None
    high: float | None = None
    nominal: float | None = None
    limits: Range | None = None
    initial: Range | None = None
    law: str | None = None
    correlation: str | None = None
    rho: float | None = None
    of: str | None = None

    def __str__(self) -> str:
        """Returns the text that `read_range` reads as this."""
        parts = []
        if self.low is not None and self.high is not None:
            ends = (self.low,) if self.low == self.high else (self.low, self.high)
            parts.append(",".join(map(_word, ends)))
        for key in KEYS[2 * bool(parts) :]:
            value = getattr(self, key)
            if value is not None:
                words = value if isinstance(value, tuple) else (value,)
                parts.append(f"{key}={','.join(map(_word, words))}")
        return f"{self.name}={';'.join(parts)}"


def read_range(text: str) -> RowRange:
    """Reads a range from its text.

    Raises:
        ParamError: another form, or what is no number.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    if not name or not equals or not rest.strip():
        raise ParamError(f"range {text!r} has no {'value' if name else 'name'}; {FORM}")
    body: dict[str, Any] = {}
    for place, part in enumerate(rest.split(";")):
        key, found, value = part.partition("=")
        if found:
            key = key.strip()
            body[key] = value.strip() if key in WORDS else _listed(name, value)
        elif place == 0:
            ends = _listed(name, part)
            pair = ends if isinstance(ends, list) else [ends, ends]
            if len(pair) != 2:
                raise ParamError(f"range of {name!r}: {part!r} is not two numbers; {FORM}")
            body |= dict(zip(KEYS, pair, strict=False))
        else:
            raise ParamError(f"range of {name!r}: {part!r} has no key of {', '.join(KEYS)}; {FORM}")
    return _from_body(name, body)


def kind_of_row(row: Param) -> str:
    """Returns what makes a value of a row mean the same in another table: what it enters, and how.

    E.g. "scale model.body_mass [arm] in 1"; without the signs that end a key of a range.
    """
    elements = f" [{' '.join(row.elements)}]" if row.elements else ""
    column = "" if row.column is None else f" column {row.column}"
    return re.sub("[;=]", "_", f"{row.mode} {row.field}{elements}{column} in {row.unit}")


def read_ranges(file: Path) -> tuple[str, ...]:
    """Returns the ranges in a TOML or JSON file, or in a posterior.json, as texts.

    Raises:
        ParamError: a file that cannot be read, a range in another form, or a posterior in the
            format of another version.
    """
    try:
        text = file.read_text()
        body = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ParamError(
            f"ranges {file} cannot be read ({error.strerror}); name a TOML or JSON file of rows"
        ) from error
    except ValueError as error:  # of either format, and of a file that is no text
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise ParamError(f"ranges {file} is no {kind} ({error}); mend that first") from error
    if not isinstance(body, Mapping):
        raise ParamError(f"ranges {file}: expected rows by name, got {str(body)[:40]}")
    if isinstance(word := body.get("format"), str):
        if word != POSTERIOR or not isinstance(body.get("ranges"), Mapping):
            raise ParamError(
                f"ranges {file}: format {word!r} with ranges {str(body.get('ranges'))[:40]} is no "
                f"{POSTERIOR!r} with ranges by row; identify again with this version"
            )
        body = body["ranges"]
    return tuple(str(_from_value(name, value)) for name, value in body.items())


def as_ranges(given: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Returns ranges, by row name as a file has them or as texts, as texts, one for each row.

    Of two for one row the later one counts, but for what it does not say of correlation, rho and
    of: narrowing a row of a posterior by hand does not untie it.

    Raises:
        ParamError: a range in another form.
    """
    if isinstance(given, Mapping):
        found = [_from_value(name, value) for name, value in given.items()]
    else:
        found = [read_range(text) for text in given]
    return tuple(str(r) for r in _latest(found))


def _latest(ranges: Sequence[RowRange]) -> list[RowRange]:
    """Returns one range for each row, its last; tied as the one before where it does not say."""
    kept: dict[str, RowRange] = {}
    for one in ranges:
        old = kept.get(one.name, one)
        ties = (old.correlation, old.rho) if one.correlation is None else (one.correlation, one.rho)
        kept[one.name] = replace(one, correlation=ties[0], rho=ties[1], of=one.of or old.of)
    return list(kept.values())


def changed_space(space: ParamSpace, ranges: Sequence[str]) -> ParamSpace:
    """Returns the table with other ranges; a row fixed by its range has closed limits.

    Raises:
        ParamError: an unknown row (lists the near ones), or a range that the row cannot have.
    """
    rows = {row.name: row for row in space.rows}
    for change in _latest([read_range(text) for text in ranges]):
        if change.of is not None and change.name not in rows:
            raise ParamError(
                f"range of {change.name!r}, {change.of}, is of a posterior of another table: "
                f"{unknown('parameter', change.name, space.names)}; identify with this task"
            )
        row = space.rows[space.index(change.name)]
        rows[row.name] = _changed_row(row, change)
    return ParamSpace(_led_anew(space.rows, tuple(rows.values())))


def _led_anew(before: tuple[Param, ...], after: tuple[Param, ...]) -> tuple[Param, ...]:
    """Returns rows whose groups have lost some to other groups with a leader again.

    The first that is left leads; by the one factor that ties a group, the correlation of another
    with it is the product of what both had with the old leader. A row that is left alone is free.
    """
    out = list(after)
    for group in {row.correlation for row in before} - {""}:
        old = [i for i, row in enumerate(before) if row.correlation == group]
        left = [i for i, row in enumerate(after) if row.correlation == group]
        if not left or set(old) <= set(left):
            continue
        if len(left) == 1:
            out[left[0]] = replace(after[left[0]], correlation="", rho=1.0)
        elif left[0] != old[0]:
            first = after[left[0]].rho
            for i in left:
                rho = 1.0 if i == left[0] else first * after[i].rho
                out[i] = replace(after[i], rho=rho)
    return tuple(out)


def _in_unit(row: Param) -> str:
    """Returns the unit behind a number, nothing where it has none."""
    return "" if row.unit in ("", "1") else f" {row.unit}"


def _remedy(row: Param, low: float, high: float, limits: Range) -> str:
    """Returns what helps where a range leaves hard limits: its unit, or limits of its own."""
    for unit, other, factor in OTHER_UNITS:
        inside = limits[0] <= low * factor and high * factor <= limits[1]
        if unit == row.unit and inside and high * factor >= LEAST_SHARE * limits[1]:
            return (
                f"{low:g} to {high:g} {other} are {low * factor:.4g},{high * factor:.4g} in "
                f"{unit}; narrow it otherwise"
            )
    if max(abs(low), abs(high)) > TOO_FAR * max(map(abs, limits)):
        known = _in_unit(row)
        return f"narrow it; values are in{known}" if known else "narrow it"
    return (
        "narrow it, or give limits of its own as well: "
        f"{row.name}={low:g},{high:g};limits={min(low, limits[0]):g},{max(high, limits[1]):g}"
    )


def _changed_row(row: Param, change: RowRange) -> Param:
    """Returns a row with the range that it is given.

    Raises:
        ParamError: a range that is turned round or leaves the hard limits.
    """
    where = f"range of {row.name!r}"
    if change.of not in (None, kind_of_row(row)):
        raise ParamError(
            f"{where}: it is of a row that is {change.of}, and this table's is {kind_of_row(row)}; "
            "take a posterior of this task, or identify with it"
        )
    limits = change.limits or row.limits
    if limits[0] > limits[1]:
        low, high = limits
        raise ParamError(f"{where}: limits low {low:g} is above high {high:g}; swap them")
    low = limits[0] if change.low is None else change.low
    high = limits[1] if change.high is None else change.high
    if low > high:
        raise ParamError(f"{where}: low {low:g} is above high {high:g}; swap them")
    if low < limits[0] or high > limits[1]:
        raise ParamError(
            f"{where}: {low:g} to {high:g} leaves the row's hard limits, {limits[0]:g} to "
            f"{limits[1]:g}{_in_unit(row)}; {_remedy(row, low, high, limits)}"
        )
    initial = change.initial or tuple(min(max(x, low), high) for x in row.initial)
    if initial[0] < low or initial[1] > high:
        raise ParamError(
            f"{where}: its initial range, {initial[0]:g} to {initial[1]:g} {row.unit}, leaves "
            f"{low:g} to {high:g}; widen the limits, in the task or here: "
            f"{row.name}=limits={min(initial[0], low):g},{max(initial[1], high):g}"
        )
    nominal = min(max(row.nominal, low), high) if change.nominal is None else change.nominal
    return replace(
        row,
        limits=(low, high),
        initial=cast(Range, initial),
        nominal=nominal,
        law=cast(Law, change.law or row.law),
        correlation=row.correlation if change.correlation is None else change.correlation,
        rho=_rho_of(row, change),
    )


def _rho_of(row: Param, change: RowRange) -> float:
    """Returns the correlation with the leader: as given, 1 in a group just given, or as it was."""
    if change.rho is not None:
        return change.rho
    return row.rho if change.correlation is None else 1.0


def _from_value(name: str, value: Any) -> RowRange:
    """Returns the range that a file's value says: a number, two, or a table."""
    if isinstance(value, Mapping):
        return _from_body(name, value)
    ends = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(ends) != 2:
        raise ParamError(f"range of {name!r}: {value!r} must be [low, high], a value or a table")
    return _from_body(name, dict(zip(KEYS, ends, strict=False)))


def _from_body(name: str, body: Mapping[str, Any]) -> RowRange:
    """Returns the range with the given keys, every number checked."""
    if not body:
        raise ParamError(f"range of {name!r} is empty; {FORM}")
    found: dict[str, Any] = {}
    for key, value in body.items():
        if key not in KEYS:
            raise unknown(f"key in the range of {name!r}:", str(key), KEYS)
        if key == "law":
            if value not in get_args(Law):
                raise unknown(f"law in the range of {name!r}:", str(value), get_args(Law))
            found[key] = value
        elif key in WORDS:
            found[key] = _text(name, key, value)
        elif key in ("limits", "initial"):
            if not isinstance(value, list | tuple) or len(value) != 2:
                raise ParamError(f"range of {name!r}: {key} {value!r} must be two numbers")
            found[key] = (_number(name, key, value[0]), _number(name, key, value[1]))
        else:
            found[key] = _number(name, key, value)
    return RowRange(name, **found)


def _listed(name: str, text: str) -> Any:
    """Returns the number in a text, or a list of those between its commas."""
    numbers = []
    for word in text.split(","):
        try:
            numbers.append(float(word))
        except ValueError as error:
            raise ParamError(f"range of {name!r}: {word.strip()!r} is no number; {FORM}") from error
    return numbers if len(numbers) > 1 else numbers[0]


def _text(name: str, key: str, value: Any) -> str:
    """Returns a text that a range may hold."""
    if not isinstance(value, str) or re.search("[;=]", value):
        raise ParamError(f"range of {name!r}: {key} {value!r} must be a text without ';' and '='")
    return value


def _number(name: str, key: str, value: Any) -> float:
    """Returns a number that a range may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ParamError(f"range of {name!r}: {key} {value!r} is no number; {FORM}")
    if not math.isfinite(value) or abs(value) >= LARGEST:
        raise ParamError(f"range of {name!r}: {key} {value} must be a finite number")
    return float(value)


def _word(value: float | str) -> str:
    """Returns a word as it is, a number in the fewest digits that read as it."""
    return value if isinstance(value, str) else re.sub(r"\.0$", "", repr(float(value)))
