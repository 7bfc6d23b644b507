"""Check of a task against C MuJoCo: do rows, signals and rewards mean there what they mean here?

A world of every row at both of its ends, and nominal ones, run in the engine of a training and in
C MuJoCo. Two things are compared, per degree of freedom, as a share of what it moves:

    run    half a second from the same start
    step   one control step, begun anew from each of the engine's own states

Contacts amplify rounding, and MJX models stop their solver early, so no fixed tolerance is fair.
What is allowed is `TOLERANCE` plus `FACTOR` times C MuJoCo's own spread: against itself rounded as
float32 rounds (Lyapunov growth included), and against itself with a converged solver. Where that is
above `TRUSTED` a comparison says nothing and is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.eval.engine_runs import FLAGS, Track, Twin, Worlds, run_engine, run_functions, state_at
from mjx_s2r.params import ParamError
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.task import TaskError

TOLERANCE = 1e-3  # share of the motion, or of a function's largest value
FACTOR = 5.0
TRUSTED = 0.1
LEAST = (0.01, 0.05)  # motion that counts as one: m or rad, and m/s or rad/s
REFUSALS = (ParamError, ModelError, ContractError, TaskError)
FAILED = ("differs", "acts not", "not finite", "refused")
CONTACT_ARRAYS = ("geom_friction", "geom_solref", "geom_solimp", "geom_restitution")
NOMINAL = "(nominal)"

Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class Verdict:
    """Verdict on one row or one function.

    Attributes:
        section: "task", "rows" or "functions".
        name: of the row, the signal or the function.
        verdict: "ok"; "differs" from C MuJoCo; "acts not" (its two ends are the same world);
            "not tried" (it acts in contacts or at a force limit, which these states did not have);
            "as nominal" (it differs no more than the nominal world); "not told" (rounding alone
            says as much); "not finite"; "refused".
        gap: largest difference, as a share of the motion or of the largest value.
        allowed: what is allowed there.
        text: what differs, when, both values and the remedy; empty where all is well.
    """

    section: str
    name: str
    verdict: str
    gap: float = 0.0
    allowed: float = 0.0
    text: str = ""

    @property
    def failed(self) -> bool:
        """Whether the task should not be trained like this."""
        return self.verdict in FAILED


@dataclass(frozen=True)
class _Gap:
    """Difference of one world, where it is largest beside what is allowed.

    Attributes:
        share: of the motion.
        allowed: there.
        text: which degree of freedom, when, and both values.
    """

    share: float
    allowed: float
    text: str = ""

    @property
    def ratio(self) -> float:
        """Difference beside what is allowed."""
        return self.share / self.allowed if self.allowed else 0.0


@dataclass(frozen=True)
class _World:
    """One world in C MuJoCo.

    Attributes:
        twin: the world.
        run: qpos (T, nq) and qvel (T, nv) from the start.
        shares: (V, T, 2, nv) spread of runs against the first: converged, rounded twice.
        steps: the same of single control steps.
        step_shares: (V, T, 2, nv).
    """

    twin: Twin
    run: tuple[np.ndarray, np.ndarray]
    spread: np.ndarray
    steps: tuple[np.ndarray, np.ndarray]
    step_spread: np.ndarray


def plan_worlds(env: Env, chosen: np.ndarray, starts: int) -> Worlds:
    """Returns nominal worlds in every start, and the ``chosen`` (D,) rows' ends in two of them."""
    space, few = env.space, min(2, starts)
    ends = [(i, e) for i in np.flatnonzero(chosen) for e in (0, 1)]
    place = [(-1, 0, s) for s in range(starts)]
    place += [(i, e, s) for i, e in ends for s in range(few)]
    row, end, start = np.array(place).T
    xi = np.tile(space.nominal, (len(place), 1))
    for w, (i, e, _) in enumerate(place):
        if i >= 0:
            xi[w, i] = space.limits[e, i]
    return Worlds(xi, start, row, end)


def check_engine(
    env: Env,
    chosen: np.ndarray,
    *,
    seconds: float = 0.5,
    starts: int = 4,
    seed: int = 0,
    tell: Tell = lambda done, note: None,
) -> list[Verdict]:
    """Compares a task in its engine with C MuJoCo; returns the rows' verdicts, then the functions'.

    Args:
        env: the environment; its engine is the one that is checked.
        chosen: (D,) rows to check; those of other groups than "model" are left out, since C MuJoCo
            has none of them.
        seconds: how long the worlds run.
        starts: number of nominal worlds; two of these starts are taken for each end of a row.
        seed: of starts and actions.
        tell: is called with how many of three stages are done, and the next one.
    """
    steps = max(1, round(seconds * env.task.contract.control_hz))
    worlds = plan_worlds(env, chosen & env.space.in_group("model"), starts)
    track = run_engine(env, worlds, steps, seed)
    tell(1, "C MuJoCo")
    found = [_in_c(env, track, w) for w in range(len(worlds.row))]
    tell(2, "functions")
    rows = _judge_rows(env, worlds, track, found)
    functions = _judge_functions(env, worlds, track, found, seed)
    tell(3, "done")
    return [*rows, *functions]


def _in_c(env: Env, track: Track, world: int) -> _World:
    """Runs one world in C MuJoCo."""
    twin, noise = Twin(env, track.xi[world]), np.random.default_rng(world)
    ctrl = track.ctrl[world]

    def whole(noise: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Runs it from the start."""
        return twin.run(env, state_at(track, world, 0), ctrl, noise)

    def single(noise: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Runs every control step from the engine's state."""
        each = [
            twin.run(env, state_at(track, world, t), ctrl[t : t + 1], noise)
            for t in range(len(ctrl))
        ]
        return np.concatenate([q for q, _ in each]), np.concatenate([v for _, v in each])

    run, steps = whole(), single()
    with twin.converged():
        others, other_steps = [whole()], [single()]
    others += [whole(noise) for _ in range(2)]
    other_steps += [single(noise) for _ in range(2)]
    spread = np.array([twin.apart(run, x) for x in others])
    step_spread = np.array([twin.apart(steps, x) for x in other_steps])
    return _World(twin, run, spread, steps, step_spread)


def _scale(env: Env, track: Track, worlds: Worlds, found: Sequence[_World]) -> np.ndarray:
    """Returns (2, nv) how far and how fast each degree of freedom moves in nominal worlds."""
    most = np.zeros((2, env.task.mj_model.nv))
    for w in np.flatnonzero(worlds.row < 0):
        core, here = state_at(track, w, 0), found[w]
        still = np.repeat(core.qpos[None], len(here.run[0]), 0), np.zeros_like(here.run[1])
        way = here.twin.apart(still, here.run)
        most = np.maximum(most, np.where(np.isfinite(way), way, 0).max(0))
    floor = np.maximum(np.array(LEAST)[:, None], 0.02 * most.max(-1, keepdims=True, initial=0))
    return np.maximum(most, floor)


def _gap(env: Env, track: Track, world: int, here: _World, scale: np.ndarray) -> _Gap:
    """Returns the difference of one world between the engine and C MuJoCo."""
    mine = track.cores.qpos[world, 1:], track.cores.qvel[world, 1:]
    worst = _Gap(0.0, 0.0)
    kinds = (("run", here.run, here.spread), ("step", here.steps, here.step_spread))
    for kind, theirs, spread in kinds:
        apart = here.twin.apart(theirs, mine) / scale
        share = (spread / scale).max((0, 2, 3), initial=0)
        share = np.maximum.accumulate(share) if kind == "run" else share
        allowed = TOLERANCE + FACTOR * share
        for t in np.flatnonzero(allowed <= TRUSTED):
            part, dof = np.unravel_index(apart[t].argmax(), apart[t].shape)
            found = _Gap(float(apart[t, part, dof]), float(allowed[t]))
            if found.ratio >= worst.ratio:
                text = _where(env, track, world, here, (kind, int(t), int(part), int(dof)))
                worst = _Gap(found.share, found.allowed, text)
    return worst


def _where(
    env: Env, track: Track, world: int, here: _World, place: tuple[str, int, int, int]
) -> str:
    """Returns which degree of freedom, when, and its value in both."""
    kind, t, part, dof = place
    model, theirs = env.task.mj_model, here.run if kind == "run" else here.steps
    joint = element_names(model, "dof")[dof]
    at_s = (t + 1) / env.task.contract.control_hz
    began = "from the same start" if kind == "run" else "one control step after equal states"
    if part:
        values = track.cores.qvel[world, t + 1, dof], theirs[1][t, dof]
        what = f"speed of joint {joint!r}"
    else:
        first = 0 if kind == "run" else t
        origin, ends = (
            track.cores.qpos[world, first],
            (track.cores.qpos[world, t + 1], theirs[0][t]),
        )
        one, two = (here.twin.way(origin, end) for end in ends)
        values = one[dof], two[dof]
        what = f"way of joint {joint!r}"
    return (
        f"{what} at {at_s:.3g} s, {began}: {values[0]:.5g} in the engine, {values[1]:.5g} in C "
        "MuJoCo"
    )


def _judge_rows(env: Env, worlds: Worlds, track: Track, found: Sequence[_World]) -> list[Verdict]:
    """Returns the verdicts on the nominal worlds and on every row."""
    scale = _scale(env, track, worlds, found)
    gaps = [_gap(env, track, w, here, scale) for w, here in enumerate(found)]
    nominal = max((gaps[w] for w in np.flatnonzero(worlds.row < 0)), key=lambda g: g.ratio)
    out = [_verdict(NOMINAL, nominal, "the model as it is", "")]
    for row in sorted(set(worlds.row.tolist()) - {-1}):
        mine = np.flatnonzero(worlds.row == row)
        w = max(mine, key=lambda w: gaps[w].ratio)
        param, gap = env.space.rows[row], gaps[w]
        at = f"row {param.name!r} at {worlds.xi[w, row]:.4g}"
        remedy = f"; {param.field} means another thing in this engine: drop the row, or report it"
        verdict = _verdict(param.name, gap, at, remedy)
        if verdict.failed and nominal.ratio > 1 and gap.ratio < 2 * nominal.ratio:
            verdict = Verdict("rows", param.name, "as nominal", gap.share, gap.allowed)
        if not verdict.failed and not _acts(env, worlds, track, found, scale, row):
            verdict = _idle(env, worlds, found, row, gap)
        out.append(verdict)
    return out


def _verdict(name: str, gap: _Gap, at: str, remedy: str) -> Verdict:
    """Returns the verdict on a difference."""
    if not gap.allowed:
        text = f"{at}: rounding alone moves these worlds as far; try --seconds 0.1"
        return Verdict("rows", name, "not told", text=text)
    if gap.ratio <= 1:
        return Verdict("rows", name, "ok", gap.share, gap.allowed)
    text = f"{at}: {gap.text}{remedy}"
    return Verdict("rows", name, "differs", gap.share, gap.allowed, text)


def _acts(
    env: Env,
    worlds: Worlds,
    track: Track,
    found: Sequence[_World],
    scale: np.ndarray,
    row: int,
) -> bool:
    """Returns whether the two ends of a row are two different worlds in the engine."""
    mine = worlds.row == row
    for low in np.flatnonzero(mine & (worlds.end == 0)):
        high = int(
            np.flatnonzero(mine & (worlds.end == 1) & (worlds.start == worlds.start[low]))[0]
        )
        if any(np.abs(x[low] - x[high]).max(initial=0) > 1e-6 for x in track.shape.values()):
            return True
        one, two = ((track.cores.qpos[w, 1:], track.cores.qvel[w, 1:]) for w in (low, high))
        effect = (found[low].twin.apart(one, two) / scale).max((1, 2), initial=0)
        rounding = (found[low].spread[1:] / scale).max((0, 2, 3), initial=0)
        if (effect > 1e-6 + FACTOR * np.maximum.accumulate(rounding)).any():
            return True
    return False


def _idle(env: Env, worlds: Worlds, found: Sequence[_World], row: int, gap: _Gap) -> Verdict:
    """Returns the verdict on a row that changed nothing."""
    param = env.space.rows[row]
    mine = [found[w].twin for w in np.flatnonzero(worlds.row == row)]
    edits = [e for e in env.binding.edits if e.row == row]
    chosen = {int(i) for e in edits for i in np.flatnonzero(e.mask.reshape(len(e.mask), -1).any(1))}
    if param.array in CONTACT_ARRAYS and not chosen & set().union(*(t.touched for t in mine)):
        text = f"row {param.name!r} acts in contacts, and its geoms touched nothing in these worlds"
    elif param.array == "actuator_force_limit" and not chosen & set().union(
        *(t.limited for t in mine)
    ):
        text = f"row {param.name!r} acts at a force limit, which these worlds did not reach"
    else:
        low, high = param.limits
        text = (
            f"row {param.name!r} acts not: {param.field} at {low:.4g} and at {high:.4g} gives the "
            "same motion and the same geometry; drop the row, or name other elements"
        )
        return Verdict("rows", param.name, "acts not", gap.share, gap.allowed, text)
    return Verdict("rows", param.name, "not tried", gap.share, gap.allowed, text)


def _judge_functions(
    env: Env, worlds: Worlds, track: Track, found: Sequence[_World], seed: int
) -> list[Verdict]:
    """Returns the verdicts on what the task's functions say: at every start, and later."""
    drawn, steps = np.random.default_rng(seed), track.ctrl.shape[1]
    picks = [(w, 0) for w in range(len(worlds.row)) if worlds.row[w] < 0]
    picks += [(w, int(drawn.integers(1, steps + 1))) for w in range(len(worlds.row))]
    picks = [(w, t) for w, t in picks if np.isfinite(track.cores.qpos[w, t]).all()]
    told = run_functions(env, track, {w: found[w].twin for w, _ in picks}, picks)
    at_s = [t / env.task.contract.control_hz for _, t in picks]
    return [_judge_function(name, *both, at_s) for name, both in told.items()]


def _judge_function(
    name: str, mine: np.ndarray, theirs: np.ndarray, at_s: Sequence[float]
) -> Verdict:
    """Returns the verdict on one function; its values are (N, n) and (4, N, n)."""
    remedy = (
        "; what it reads of mjx.Data is not C MuJoCo's there (docs/data_fields.md): read other "
        "fields, or report it"
    )
    if not np.isfinite(mine).all():
        place, k = np.argwhere(~np.isfinite(mine))[0]
        when = "a start" if at_s[place] == 0 else f"{at_s[place]:.3g} s"
        text = (
            f"{name}[{k}] is {mine[place, k]} at {when} ({theirs[0, place, k]:.5g} with C MuJoCo's "
            "data); guard divisions and roots against zero"
        )
        return Verdict("functions", name, "not finite", text=text)
    if name in FLAGS:  # a threshold may lie between two roundings: then either is right
        sure = (theirs == theirs[0]).all(0)
        gap, allowed = np.where(sure, np.abs(mine - theirs[0]), 0), np.full(mine.shape, TOLERANCE)
    else:
        most = np.abs(theirs[0]).max(0)
        scale = np.maximum(most, max(0.01 * most.max(initial=0), 1e-4))
        gap = np.abs(mine - theirs[0]) / scale
        allowed = TOLERANCE + FACTOR * np.abs(theirs - theirs[0]).max(0) / scale
        gap = np.where(allowed <= TRUSTED, gap, 0)
    place, k = np.unravel_index((gap / allowed).argmax(), gap.shape)
    worst, most_allowed = float(gap[place, k]), float(allowed[place, k])
    if worst <= most_allowed:
        return Verdict("functions", name, "ok", worst, most_allowed)
    text = (
        f"{name}[{k}] at {at_s[place]:.3g} s: {mine[place, k]:.5g} in the engine, "
        f"{theirs[0, place, k]:.5g} with C MuJoCo's data{remedy}"
    )
    return Verdict("functions", name, "differs", worst, most_allowed, text)
