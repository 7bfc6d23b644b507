"""Scalar schedules: one number s in [0, 1], how far all ranges have opened, moved by the success.

A row's range at s runs from its initial range (s = 0) to its limits (s = 1), linearly in the law
coordinate. Every ``window`` plain episodes their mean success p moves s once:

    p >= widen_above   s <- factor s + step
    p <  narrow_below  s <- s - back

Four schedules are settings of this one: `ProgressiveConfig`, `ExpandConfig`, `DifficultyConfig` and
`StagedConfig`. With K stages stage k opens while s runs from k / K to (k + 1) / K.

A draw's version is the number of moves before it, and only scores with the present one count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import from_law, matching_rows, movable_rows, to_law
from mjx_s2r.curriculum.interface import (
    Curriculum,
    CurriculumStats,
    Episodes,
    Moves,
    Report,
    Window,
    accumulate,
    init_stats,
    init_window,
    make_report,
    no_moves,
    update_stats,
)
from mjx_s2r.curriculum.uniform import plain_params
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import EpisodeParams


@dataclass(frozen=True)
class ScalarConfig:
    """Settings of a schedule of one number."""

    start: float = 0.0
    """Where s starts; it never falls below."""
    factor: float = 1.0
    """What s is multiplied by on success."""
    step: float = 0.02
    """What is added to s on success."""
    back: float = 0.0
    """What is taken from s on failure."""
    widen_above: float = 0.4
    """Mean success from which the ranges open."""
    narrow_below: float = 0.0
    """Mean success below which they close."""
    window: int = 128
    """Plain episodes per decision, at least."""
    rest: int = 1
    """Updates from one decision to the next, at least."""
    stages: tuple[str, ...] = ()
    """Rows of each stage, as patterns of names or fields with commas; the first that fits counts.
    Empty: all rows open together."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 <= self.start <= 1:
            raise ParamError(f"scalar schedule: start {self.start} must lie in [0, 1]")
        if not (self.factor >= 1 and self.step >= 0 and self.back >= 0):
            raise ParamError(
                f"scalar schedule: factor {self.factor} must be >= 1, step {self.step} and back "
                f"{self.back} >= 0"
            )
        if (self.factor == 1 or self.start == 0) and self.step == 0:
            raise ParamError(
                "scalar schedule: it would never open; give it a step above zero, or a factor "
                f"above 1 and a start above zero (factor {self.factor}, start {self.start})"
            )
        if not 0 <= self.narrow_below <= self.widen_above <= 1:
            raise ParamError(
                f"scalar schedule: narrow_below {self.narrow_below} must not exceed widen_above "
                f"{self.widen_above}, both in [0, 1]"
            )
        if self.window < 1 or self.rest < 1:
            raise ParamError(
                f"scalar schedule: window {self.window} and rest {self.rest} must be >= 1"
            )


STAGES = ("sensor.noise*,sensor.bias*,sensor.drop*", "*delay*,*hold*,sensor.*", "*")


@dataclass(frozen=True)
class ProgressiveConfig(ScalarConfig):
    """All ranges grow by a factor on success: a tenth of the way at first, times 1.1."""

    start: float = 0.1
    factor: float = 1.1
    step: float = 0.0
    widen_above: float = 0.7


@dataclass(frozen=True)
class ExpandConfig(ScalarConfig):
    """All ranges expand on success and contract on failure, by 5 % and 2 % of the way."""

    step: float = 0.05
    back: float = 0.02
    widen_above: float = 0.7
    narrow_below: float = 0.7


@dataclass(frozen=True)
class DifficultyConfig(ScalarConfig):
    """One difficulty in 50 equal steps, one whenever the success exceeds 0.4, and a rest after it.

    The scalar schedule of DEXTRAH (released code, `dextrah_adr.py`).
    """

    rest: int = 5


@dataclass(frozen=True)
class StagedConfig(ScalarConfig):
    """Groups of rows open one after another: noise, then delays, then physics."""

    step: float = 0.05
    widen_above: float = 0.7
    stages: tuple[str, ...] = STAGES


@struct.dataclass
class ScalarState:
    """How far the ranges have opened, and the scores since the last decision.

    Attributes:
        scale: () s.
        window: scores of plain episodes with the present version.
        waited: () int32 updates since the last decision.
        moves: () of s.
        stats: the figures.
    """

    scale: jax.Array
    window: Window
    waited: jax.Array
    moves: Moves
    stats: CurriculumStats


def scalar(space: ParamSpace, config: ScalarConfig, active: np.ndarray | None = None) -> Curriculum:
    """Returns the schedule over the ``active`` (D,) rows; others keep their initial ranges.

    Raises:
        ParamError: an active row that no stage names.
    """
    movable = jnp.asarray(movable_rows(space, active))
    stage, count = _stages(space, config.stages, np.asarray(movable))
    inner, outer = (to_law(space, jnp.asarray(x)) for x in (space.initial, space.limits))

    def ends(state: ScalarState) -> tuple[jax.Array, jax.Array]:
        """Returns low and high (D,) as values."""
        share = jnp.where(movable, jnp.clip(state.scale * count - stage, 0.0, 1.0), 0.0)
        low, high = from_law(space, inner + (outer - inner) * share)
        return low, high

    def init() -> ScalarState:
        return ScalarState(
            scale=jnp.float32(config.start),
            window=init_window(),
            waited=jnp.int32(0),
            moves=no_moves(),
            stats=init_stats(space),
        )

    def sample(state: ScalarState, n: int, key: jax.Array) -> EpisodeParams:
        unit = jax.random.uniform(key, (n, len(space)))
        return plain_params(space.sample(jnp, unit, *ends(state)), state.moves.count)

    def update(state: ScalarState, episodes: Episodes) -> ScalarState:
        stats = update_stats(space, state.stats, episodes, *ends(state))
        moves = state.moves.older()
        window = accumulate(state.window, episodes, moves)
        state = replace(state, stats=stats, window=window, waited=state.waited + 1, moves=moves)
        return _decide(state, config)

    def report(state: ScalarState) -> Report:
        return make_report(space, state.stats, *ends(state), active)

    return Curriculum(init, sample, update, report)


def _decide(state: ScalarState, config: ScalarConfig) -> ScalarState:
    """Moves s where the window is full and the rest is over, and empties the window."""
    ready = (state.window.count >= config.window) & (state.waited >= config.rest)
    mean = state.window.total / jnp.maximum(state.window.count, 1)
    up = config.factor * state.scale + config.step
    down = jnp.where(mean < config.narrow_below, state.scale - config.back, state.scale)
    target = jnp.clip(jnp.where(mean >= config.widen_above, up, down), config.start, 1.0)
    scale = jnp.where(ready, target, state.scale)
    return replace(
        state,
        scale=scale,
        window=jax.tree.map(lambda x: jnp.where(ready, 0, x), state.window),
        waited=jnp.where(ready, 0, state.waited),
        moves=state.moves.after(scale != state.scale),
    )


def _stages(space: ParamSpace, stages: Sequence[str], moves: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns the stage of each row (D,), and how many stages there are; empty ones are skipped."""
    if not stages:
        return np.zeros(len(space), np.float32), 1
    left, found = moves.copy(), []
    for patterns in stages:
        mine = np.zeros(len(space), bool)
        for pattern in patterns.split(","):
            mine |= matching_rows(space, pattern.strip()) & left
        left &= ~mine
        if mine.any():
            found.append(mine)
    if left.any():
        names = [name for name, out in zip(space.names, left, strict=True) if out]
        raise ParamError(f"rows {names} are in no stage of {list(stages)}; add a last stage '*'")
    stage = np.zeros(len(space), np.float32)
    for index, mine in enumerate(found):
        stage[mine] = index
    return stage, max(len(found), 1)
