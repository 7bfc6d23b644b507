"""Do the ranges of ADR converge over 100 iterations, and do they beat ranges set by hand?

A bound's place is counted as a share of the way between the limits, in the row's law coordinate.
It has settled where it did not move in the last quarter of the iterations.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mjx_s2r.curriculum.registry import ADR, Uniform
from mjx_s2r.envs.registry import make_task
from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.params.ranges import changed_space
from mjx_s2r.report.charts import draw_ranges, inline
from mjx_s2r.transfer.unit_coordinates import unit_of
from train.studies.conclusions import Cell, Comparison
from train.studies.places import CARTPOLE_OTHER, QUICK_CARTPOLE, SWING_UP
from train.studies.plan import Arm, Panel, Preset, Row, Study
from train.studies.recipes import PLAIN, StatePolicy

OTHER = "other robots"
MOVED = 0.005  # share of the limits' width; one move of ADR is 0.1
OPENED = 0.05  # share of the limits' width below which ranges have not opened
SETTLED = 0.9  # share of the bounds from which ranges count as converged
# What one sets by hand: the figures that texts on the subject give for masses, lengths, motors,
# delays and noise, where this table has such a row.
BY_HAND = (
    *("cart_mass=0.8,1.2", "pole_mass=0.8,1.2", "pole_length=0.9,1.1", "strength=0.9,1.1"),
    *("cart_damping=0,0.2", "pole_damping=0,0.01", "action_delay=0,0.02", "action_noise=0,0.03"),
    "speed_noise=0,0.1",
)
BY_HAND_ROWS = tuple(text.partition("=")[0] for text in BY_HAND)


def unit_places(space: ParamSpace, values: np.ndarray) -> np.ndarray:
    """Returns where values (..., D) lie between the limits, 0 to 1, evenly in the law coordinate.

    A row whose limits are one value is NaN.
    """
    low, high = space.limits
    return np.where(high > low, unit_of(space, values), np.nan)


def traces(rows: Sequence[Row], space: ParamSpace) -> tuple[np.ndarray, np.ndarray]:
    """Returns the iterations (T,) and the bounds (S, T, 2, D) of ADR's trainings, in rows' units.

    Trainings that have not logged as many lines as the others are left out.
    """
    logs = [row["bounds"] for row in rows if row["arm"] == "ADR" and row["bounds"]]
    longest = max((len(log) for log in logs), default=0)
    kept = [log for log in logs if len(log) == longest]
    if not kept:
        return np.zeros(0), np.zeros((0, 0, 2, len(space)))
    steps = np.array([line["step"] for line in kept[0]], float)
    ends = np.array([[(line["low"], line["high"]) for line in log] for log in kept], float)
    return steps, ends


def settled(steps: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Returns (S, 2, D) whether bounds stood still in the last quarter of the iterations.

    Args:
        steps: (T,) iterations.
        places: (S, T, 2, D) where the bounds lie, from `unit_places`.
    """
    last = places[:, steps >= 0.75 * steps[-1]]
    return np.asarray(np.ptp(last, axis=1) <= MOVED)


def notes(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Returns whether the ranges converged, in sentences."""
    space = make_task(preset.task).space
    steps, ends = traces(rows, space)
    if not len(steps):
        return []
    places, opened = _opened(space, ends)
    still = settled(steps, places)[:, opened]
    limit = np.broadcast_to(np.array((0.0, 1.0))[:, None], opened.shape)[opened]
    at_limit = np.abs(places[:, -1][:, opened] - limit) < MOVED
    count, shares = int(opened.sum()), still.mean(1)
    word = "have converged" if (shares >= SETTLED).all() else "have not converged"
    width = (places[:, :, 1] - places[:, :, 0])[..., opened.any(0)].mean(-1)  # (S, T)
    if width[:, -1].mean() < OPENED:
        word = "have hardly opened, so nothing can be said of where they end"
    early = int(np.searchsorted(steps, 0.75 * steps[-1]))
    out = [
        f"After {int(steps[-1])} iterations the ranges {word}: in the last quarter "
        f"{_span(count * shares)} of {count} bounds stood still ({_span(at_limit.sum(1))} of the "
        f"{count} had reached the limits), and the mean width went from "
        f"{100 * width[:, early].mean():.0f} to {100 * width[:, -1].mean():.0f} % of that of the "
        "limits."
    ]
    if len(ends) > 1:
        apart = float(places[:, -1][:, opened].std(0, ddof=1).mean())
        out.append(
            f"Over {len(ends)} trainings the final bounds scatter by {100 * apart:.0f} % of the "
            "limits' width (standard deviation, mean over bounds)."
        )
    return out


def panels(rows: Sequence[Row], preset: Preset) -> list[Panel]:
    """Returns the section with every row's range over the iterations."""
    space = make_task(preset.task).space
    steps, ends = traces(rows, space)
    if not len(steps):
        return []
    hand = _by_hand(space)
    charts = []
    for i, row in enumerate(space.rows):
        if row.limits[0] < row.limits[1] and row.group != "visual":
            seeds = [(seed[:, 0, i], seed[:, 1, i]) for seed in ends]
            charts.append(_chart(row, steps, seeds, hand.get(row.name)))
    text = (
        "Each chart spans the limits of a row over the iterations; a colour is one training, the "
        "shaded band is the range that was set by hand, the dashed line the nominal value."
    )
    return [Panel("The ranges over the iterations", text, charts)]


def _chart(
    row: Param,
    steps: np.ndarray,
    seeds: Sequence[tuple[np.ndarray, np.ndarray]],
    beside: tuple[float, float] | None,
) -> tuple[str, str]:
    """Returns title and <svg> of one row's ranges."""
    title = f"{row.name}{'' if row.unit == '1' else f', {row.unit}'}"
    draw = partial(draw_ranges, row=row, x=steps, ends=seeds, beside=beside)
    return title, inline(f"Range of {row.name}", (230, 130), draw)


def _by_hand(space: ParamSpace) -> dict[str, tuple[float, float]]:
    """Returns row -> the range set by hand, of tables that have such rows."""
    if not set(BY_HAND_ROWS) <= set(space.names):
        return {}
    changed = changed_space(space, BY_HAND)
    return {n: changed.rows[changed.index(n)].limits for n in BY_HAND_ROWS}


def _opened(space: ParamSpace, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bounds' places (S, T, 2, D), and which of them (2, D) have a way to go at all."""
    places = unit_places(space, ends)
    nominal = unit_places(space, space.nominal)
    felt = ~space.in_group("visual")
    with np.errstate(invalid="ignore"):
        return places, np.stack(((nominal > MOVED) & felt, (nominal < 1 - MOVED) & felt))


def _span(values: np.ndarray) -> str:
    """Returns the lowest and the highest of whole numbers, once where they are equal."""
    low, high = (round(float(x)) for x in (values.min(), values.max()))
    return f"{low}" if low == high else f"{low} to {high}"


STUDY = Study(
    name="adr",
    question="Do the ranges of automatic domain randomization converge, and do they beat ranges "
    "set by hand?",
    about=(
        "Boundary ADR widens every row from its nominal value for 100 iterations of PPO, beside "
        "ranges that were set by hand once and no randomization at all, with one budget of steps. "
        "Policies read what the robot has. The robots differ in masses, length, damping, motor "
        "strength, slope, delay and noise, and no training knows them."
    ),
    arms=(
        Arm("ADR", "boundary ADR over all rows", StatePolicy(ADR(), keeps_bounds=True)),
        Arm(
            "by hand",
            "ranges as texts on the subject give them, other rows nominal",
            StatePolicy(Uniform(rows=BY_HAND_ROWS), BY_HAND),
        ),
        Arm("none", "every row at its nominal value", StatePolicy(PLAIN)),
    ),
    presets={
        "small": Preset(
            task=QUICK_CARTPOLE,
            iterations=100,
            seeds=3,
            places={OTHER: CARTPOLE_OTHER},
            count=10,
            episodes=2,
            minutes=7,
            ppo=replace(SWING_UP, num_steps=64),
        ),
        "full": Preset(
            task=QUICK_CARTPOLE,
            iterations=1000,
            seeds=6,
            places={OTHER: CARTPOLE_OTHER},
            count=20,
            episodes=5,
            minutes=150,
            ppo=replace(SWING_UP, num_steps=64),
        ),
    },
    comparisons=(
        Comparison(Cell("ADR", OTHER), Cell("by hand", OTHER)),
        Comparison(Cell("ADR", OTHER), Cell("none", OTHER)),
    ),
    notes=notes,
    panels=panels,
)
