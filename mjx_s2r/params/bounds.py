"""Physical bounds: what no value of the table may reach, on any element, by any rows together.

The values that rows can give an element are an interval, carried through the rows in table order
(Moore 1966, Interval Analysis): scaling, adding and setting map its ends. It is exact for rows that
are drawn independently, and wider than the truth never by less: rows that are drawn together count
as if they were not. The limits are what counts, since no schedule and no draw leaves them, and the
nominal value, which the nominal world has.

This module knows no simulator and no jax. Bounds of the model's arrays depend on the model and are
in `mjx_s2r.sim.model.fields`; those of the other groups stand here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, pi
from typing import Any

import numpy as np

from mjx_s2r.params.param import Edit, Param, ParamError, Range

FLOAT = 1e-6  # share of a value that float32 may lose
Reach = tuple[np.ndarray, np.ndarray]
"""Lowest and highest value of each entry of an array."""


@dataclass(frozen=True)
class Bound:
    """What an array's values must lie between; ends may be one number or one for each entry.

    Attributes:
        what: the quantity with its article, for messages, e.g. "a mass".
        low: least value.
        high: greatest value.
        above: the least value itself is refused, too.
        below: the greatest value itself is refused, too.
    """

    what: str
    low: Any = -inf
    high: Any = inf
    above: Any = False
    below: Any = False


def _positive(what: str) -> Bound:
    """Returns the bound of a quantity that is above zero."""
    return Bound(what, 0.0, above=True)


def _share(what: str) -> Bound:
    """Returns the bound of a probability or share."""
    return Bound(what, 0.0, 1.0)


NOISE = Bound("the standard deviation of a noise", 0.0)
DELAY = Bound("a delay", 0.0)
ACTUATOR = {
    "delay_s": DELAY,
    "hold": _share("a probability"),
    "adversary": _share("a share of the action"),
    "noise": NOISE,
    "noise_relative": NOISE,
    "noise_correlated": NOISE,
    "backlash": Bound("the width of a play", 0.0),
    "speed_loss": Bound("a loss of force with speed", 0.0),
}
SENSOR = {
    "noise": NOISE,
    "bias": Bound("the standard deviation of a bias", 0.0),
    "walk": Bound("the growth of a random walk", 0.0),
    "gain": Bound("a sensor's gain", 0.0),
    "quantum": Bound("the step of a reading", 0.0),
    "delay_s": DELAY,
    "jitter_s": Bound("a jitter", 0.0),
    "dropout": _share("a probability"),
    "period_s": Bound("a period", 0.0),
}
WORLD = {
    "push": Bound("the size of a push", 0.0),
    "push_torque": Bound("the size of a push", 0.0),
    "push_rate_hz": Bound("a rate", 0.0),
    "push_s": Bound("a duration", 0.0),
    "start_pos": Bound("the half width of a spread", 0.0),
    "start_vel": Bound("the half width of a spread", 0.0),
    "mocap_hidden": _share("hidden or not"),
}
VISUAL = {
    "geom_rgb": Bound("a colour", 0.0),
    "light_strength": Bound("a light's strength", 0.0),
    "light_rgb": Bound("a light's colour", 0.0),
    "light_kelvin": Bound("a colour temperature that is drawn", 1000.0, 15000.0),
    "light_softness": Bound("half the angle that a lamp fills", 0.0, pi / 2),
    "light_count": Bound("a number of lights", 0.0),
    "ambient": Bound("a light's strength", 0.0),
    "headlight": Bound("a light's strength", 0.0),
    "specular": Bound("a highlight's strength", 0.0),
    "camera_fovy": Bound("a field of view in degrees", 0.0, 180.0, above=True, below=True),
    "background_low": _share("a colour of the sky"),
    "background_high": _share("a colour of the sky"),
    "texture_m": _positive("the side of a texture"),
    "geom_shown": _share("shown or not"),
    "texture": Bound("the choice of a texture", 0.0),
    "background": _share("the choice of a background"),
    "background_shift": Bound("the shift of a photograph", -1.0, 1.0),
    "vignette": _share("a loss of light"),
    "white_balance": Bound("the gain of a colour channel", 0.0),
    "brightness": Bound("a gain", 0.0),
    "contrast": Bound("a gain", 0.0),
    "saturation": Bound("a gain", 0.0),
    "gamma": _positive("the exponent of a picture"),
    "shot_noise": Bound("the variance of a noise", 0.0),
    "noise_std": NOISE,
    "blur_px": Bound("the width of a blur", 0.0),
    "bits": Bound("a number of bits", 1.0, 16.0),
    "frame_delay_s": DELAY,
    "frame_dropout": Bound("a probability that leaves pictures", 0.0, 1.0, below=True),
    "frame_period_s": Bound("a period", 0.0),
    "depth_near": Bound("a distance", 0.0),
    "depth_far": _positive("a distance"),
    "depth_noise": NOISE,
    "depth_step": Bound("a step of inverse depth", 0.0),
    "depth_dropout": _share("a probability"),
}


# A colour that is written is one; a paint that rows make brighter may be lit beyond white.
_WRITTEN = dict.fromkeys(("geom_rgb", "light_rgb"), _share("a colour"))


def row_span(row: Param) -> Range:
    """Returns the lowest and the highest value that a row can have, the nominal one with them."""
    return min(row.limits[0], row.nominal), max(row.limits[1], row.nominal)


def _entered(edit: Edit, before: Reach, values: Range) -> Reach:
    """Returns what an array can be after a row whose values lie between ``values``."""
    if edit.mode == "set":
        ends = [np.full_like(before[0], x) for x in values]
    elif edit.mode == "add":
        ends = [end + x for end, x in zip(before, values, strict=True)]
    else:
        ends = [end * x for end in before for x in values]
    low, high = np.minimum.reduce(ends), np.maximum.reduce(ends)
    return np.where(edit.mask, low, before[0]), np.where(edit.mask, high, before[1])


def reach(
    nominal: np.ndarray,
    edits: Sequence[Edit],
    rows: Sequence[Param],
    fixed: Mapping[int, float] | None = None,
) -> Reach:
    """Returns the lowest and highest value of each entry of one array under its ``edits``.

    Args:
        nominal: the array as written, any shape.
        edits: the bound rows on this array, in table order.
        rows: the table.
        fixed: row -> the one value that it has here; the others have all of theirs.
    """
    value = np.asarray(nominal, float)
    now = value, value
    for edit in edits:
        one = (fixed or {}).get(edit.row)
        now = _entered(edit, now, row_span(rows[edit.row]) if one is None else (one, one))
    return now


def may_vanish(reached: Reach) -> np.ndarray:
    """Returns (...,) True where all components of a vector, along the last axis, can be zero."""
    low, high = reached
    return np.asarray(((low <= 0) & (high >= 0)).all(-1))


def check(
    rows: Sequence[Param],
    edits: Sequence[Edit],
    nominal: Mapping[str, np.ndarray],
    elements: Mapping[str, Sequence[str]],
    bounds: Mapping[str, Bound],
) -> None:
    """Refuses rows whose limits, alone or together, reach a value that cannot be.

    Args:
        rows: the table.
        edits: the bound rows of one group.
        nominal: array name -> nominal value.
        elements: array name -> names along its first axis.
        bounds: array name -> what its values must lie between.

    Raises:
        ParamError: names the row, the array, the element, the value, the bound and the remedy.
    """
    for array, bound in bounds.items():
        mine = [edit for edit in edits if edit.array == array]
        if mine:
            value = np.asarray(nominal[array], float)
            found = _outside(bound, value, reach(value, mine, rows), mine)
            if found is not None:
                low_side, place = found
                names = elements.get(array)
                raise ParamError(_message(rows, mine, value, bound, low_side, place, names))


def _outside(
    bound: Bound, nominal: np.ndarray, reached: Reach, edits: Sequence[Edit]
) -> tuple[bool, tuple[int, ...]] | None:
    """Returns the first touched entry outside its bound, and whether it is below it."""
    touched = np.logical_or.reduce([edit.mask for edit in edits])
    replaced = np.logical_or.reduce([edit.mask & (edit.mode == "set") for edit in edits])
    kept = np.where(replaced, 0.0, np.abs(nominal))  # what float32 rounds
    for low_side in (True, False):
        end = np.broadcast_to(np.asarray(bound.low if low_side else bound.high), nominal.shape)
        open_end = np.broadcast_to(bound.above if low_side else bound.below, nominal.shape)
        known = np.isfinite(end)
        size = np.maximum(kept, np.where(known, np.abs(end), 0.0))
        away = reached[0] - end if low_side else end - reached[1]
        wrong = np.where(open_end, away <= FLOAT * size, away < -FLOAT * size)
        wrong = wrong & known & touched
        if wrong.any():
            return low_side, tuple(int(i) for i in np.argwhere(wrong)[0])
    return None


def _message(
    rows: Sequence[Param],
    edits: Sequence[Edit],
    nominal: np.ndarray,
    bound: Bound,
    low_side: bool,
    place: tuple[int, ...],
    names: Sequence[str] | None,
) -> str:
    """Returns the sentence about one entry outside its bound."""
    touching = [edit for edit in edits if edit.mask[place]]
    last, others = touching[-1], [rows[edit.row].name for edit in touching[:-1]]
    row = rows[last.row]
    side = 0 if low_side else 1
    before = float(reach(nominal, touching[:-1], rows)[side][place])
    value = float(reach(nominal, touching, rows)[side][place])
    end = float(np.broadcast_to(bound.low if low_side else bound.high, nominal.shape)[place])
    strict = bool(np.broadcast_to(bound.above if low_side else bound.below, nominal.shape)[place])
    word = ("above" if low_side else "below") if strict else ("at least" if low_side else "at most")
    which = row.field
    if names is not None:
        which += f" of {names[place[0]]!r}" if names[place[0]] else f" of element {place[0]}"
    if row.column is None and len(place) > (names is not None):
        which += f" (column {place[-1]})"
    together = f" together with {', '.join(map(repr, others))}" if others else ""
    return (
        f"parameter {row.name!r}: its limits {row.limits} let {which} reach {value:.6g}{together}, "
        f"and {bound.what} must be {word} {end:.6g}; "
        + _remedy(row, before, end, f"{word} ", low_side, others)
    )


def _remedy(
    row: Param, before: float, end: float, word: str, low_side: bool, others: list[str]
) -> str:
    """Returns how to keep an entry inside, as far as one row can."""
    needed = {"set": end, "add": end - before}.get(row.mode)
    if row.mode == "scale" and (before > 0 or end == 0):
        needed = end / before if before > 0 else 0.0
    either = f", or narrow those of {', '.join(map(repr, others))}" if others else ""
    free = needed is not None and (needed <= row.nominal if low_side else needed >= row.nominal)
    if not free:
        return f"narrow its limits{either}"
    which = "low" if low_side else "high"
    return f"put its {which} limit {word}{needed:.6g}{either}"


def check_unbound(rows: Sequence[Param], group: str, bounds: dict[str, Bound]) -> None:
    """Refuses rows of a group that no nominal value could make right, before it is bound.

    Rows that set are judged by their limits, rows that scale by their sign.

    Raises:
        ParamError: names the row, the value, the bound and the remedy.
    """
    for row in rows:
        known = bounds | (_WRITTEN if row.mode == "set" else {})
        bound = known.get(row.array) if row.group == group else None
        if bound is None or row.mode == "add" or (row.mode == "scale" and bound.low < 0):
            continue
        ratio = Bound(f"a factor of {bound.what}", 0.0, above=bound.above)
        alone = Edit(row.array, 0, "set", np.ones((), bool))
        kept = bound if row.mode == "set" else ratio
        value = np.asarray(row.nominal, float)
        check((row,), (alone,), {row.array: value}, {}, {row.array: kept})
