"""Check of a task against C MuJoCo: do rows, signals and rewards mean there what they mean here?

A world of every row at both of its ends, and nominal ones, run in the engine of a training and in
C MuJoCo. Two things are compared, per degree of freedom, as a share of what it moves:

    run    half a second from the same start
    step   one physics step, begun anew from each of the engine's own states

Contacts amplify rounding, and MJX models stop their solver early, so no fixed tolerance is fair.
What is allowed is `TOLERANCE` (`IN_CONTACT` where something touches) plus `FACTOR` times C MuJoCo's
own spread: against itself rounded as float32 rounds, whose growth is that of the model, and against
itself with a converged solver; and the engine's own distance from a converged solver. Where that is
above `TRUSTED` a comparison says nothing and is left out.

MJX finds fewer points of contact than C MuJoCo for some shapes (a tilted box on a plane, a capsule
along a box, height fields). Such pairs of geoms are named, and rows are compared where both engines
have the same contacts.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.eval.engine_runs import (
    FLAGS,
    Contacts,
    Track,
    Twin,
    Worlds,
    run_engine,
    run_functions,
    state_at,
)
from mjx_s2r.params import ParamError
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.task import TaskError

TOLERANCE = 1e-3  # share of the motion, or of a function's largest value
IN_CONTACT = 2e-2  # the same where a contact acts: MJX's normals and solver are no better
FACTOR = 5.0
TRUSTED = 0.1
SHALLOW_M = 2e-5  # a contact that is no deeper may be there or not
NEAR_M, NEAR_RAD = 2e-4, 0.01  # points and normals of contact that are no farther apart are equal
LEAST = (0.01, 0.1)  # motion that counts as one: m or rad, and m/s or rad/s
REFUSALS = (ParamError, ModelError, ContractError, TaskError)
FAILED = ("differs", "acts not", "not finite", "refused")
NOTED = ("other points", "stops early")  # differences that a task may live with
CONTACT_ARRAYS = ("geom_friction", "geom_solref", "geom_solimp", "geom_restitution")
NOMINAL = "(nominal)"

Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class CheckResult:
    """CheckResult on one row or one function.

    Attributes:
        section: "task", "rows", "contacts" or "functions".
        name: of the row, the pair of geoms, the signal or the function.
        verdict: "ok"; "differs" from C MuJoCo; "acts not" (its two ends are the same world);
            "not tried" (it acts in contacts or at a force limit, which these states did not have);
            "as nominal" (it differs no more than the nominal world); "not told" (rounding alone
            says as much); "other points" of contact of two geoms;
            "stops early" (few iterations of the solver, in both engines); "not finite"; "refused".
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
    """One world in C MuJoCo, at S physics steps.

    Attributes:
        twin: the world.
        run: qpos (S, nq) and qvel (S, nv) from the start.
        spread: (V, S, 2, nv) distance of other runs from it: converged, then rounded twice.
        steps: the same of single steps.
        step_spread: (V + 1, S, 2, nv) the same, and the engine's from itself with a patient solver.
        contacts: [S] before each single step.
    """

    twin: Twin
    run: tuple[np.ndarray, np.ndarray]
    spread: np.ndarray
    steps: tuple[np.ndarray, np.ndarray]
    step_spread: np.ndarray
    contacts: list[Contacts]


def plan_worlds(env: Env, chosen: np.ndarray, starts: int) -> Worlds:
    """Returns nominal worlds in every start, and the ``chosen`` (D,) rows' ends in two of them."""
    space, few = env.space, min(2, starts)
    ends = [(i, e) for i in np.flatnonzero(chosen).tolist() for e in (0, 1)]
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
) -> list[CheckResult]:
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
    alike, pairs = _compare_contacts(env, track, found)
    rows = _judge_rows(env, worlds, track, found, alike)
    functions = _judge_functions(env, worlds, track, found, seed)
    tell(3, "done")
    return [*_judge_solver(env, worlds, track, found), *rows, *pairs, *functions]


def _in_c(env: Env, track: Track, world: int) -> _World:
    """Runs one world in C MuJoCo."""
    twin, noise = Twin(env, track.xi[world]), np.random.default_rng(world)
    ctrl = track.ctrl[world]

    first, contacts = state_at(track, world, 0), []

    def single(noise: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Takes every step from the engine's state."""
        each = []
        for s in range(len(ctrl)):
            each.append(twin.run(state_at(track, world, s), ctrl[s : s + 1], noise))
            contacts.append(twin.contacts())
        return np.concatenate([q for q, _ in each]), np.concatenate([v for _, v in each])

    run, steps = twin.run(first, ctrl), single()
    with twin.converged():
        others, other_steps = [twin.run(first, ctrl)], [single()]
    others += [twin.run(first, ctrl, noise) for _ in range(2)]
    other_steps += [single(noise) for _ in range(2)]
    spread = np.array([twin.apart(run, x) for x in others])
    apart = [twin.apart(steps, x) for x in other_steps]
    mine = track.cores.qpos[world, 1:], track.cores.qvel[world, 1:]
    apart.append(twin.apart(mine, (track.better[0][world], track.better[1][world])))
    step_spread = np.array(apart)
    return _World(twin, run, spread, steps, step_spread, contacts[: len(ctrl)])


def _compare_contacts(
    env: Env, track: Track, found: Sequence[_World]
) -> tuple[np.ndarray, list[CheckResult]]:
    """Returns (W, S) bool where both engines have the same contacts, and verdicts on pairs."""
    alike = np.ones(track.ctrl.shape[:2], bool)
    if track.contacts is None:
        return alike, []
    met: Counter[tuple[int, int]] = Counter()
    apart: dict[tuple[int, int], list[tuple[int, int, float]]] = {}
    for w, here in enumerate(found):
        for s, theirs in enumerate(here.contacts):
            mine = tuple(x[w, s] for x in track.contacts)
            pairs = _touching(theirs)
            met.update(pairs)
            alike[w, s] = _equal(mine, theirs)
            for pair in pairs | _touching(mine):
                ours, c = (_points(x, pair, -SHALLOW_M) for x in (mine, theirs))
                if c > _points(mine, pair, SHALLOW_M) or ours > _points(theirs, pair, SHALLOW_M):
                    at_s = s * env.task.mj_model.opt.timestep
                    apart.setdefault(pair, []).append((ours, c, at_s))
    names = element_names(env.task.mj_model, "geom")
    out = []
    for pair, seen in sorted(apart.items()):
        ours_most, theirs_most, at_s = max(seen, key=lambda x: abs(x[0] - x[1]))
        one, two = (names[i] or f"geom {i}" for i in pair)
        text = (
            f"geoms {one!r} and {two!r} touch at {theirs_most} points in C MuJoCo and at "
            f"{ours_most} in the engine at {at_s:.3g} s ({len(seen)} of "
            f"{max(met[pair], len(seen))} such steps): it collides these shapes in another way; "
            "use spheres or capsules there, or judge policies in C MuJoCo"
        )
        out.append(CheckResult("contacts", f"{one} - {two}", "other points", text=text))
    return alike, out or [CheckResult("contacts", "(all pairs)", "ok")]


def _touching(contacts: Contacts) -> set[tuple[int, int]]:
    """Returns the pairs of geoms that touch for sure."""
    geoms, distance = contacts[:2]
    return {(int(a), int(b)) for a, b in np.sort(geoms[distance < -SHALLOW_M], -1)}


def _points(contacts: Contacts, pair: tuple[int, int], below: float) -> int:
    """Returns in how many points a pair of geoms is nearer than ``below``, m."""
    geoms, distance = contacts[:2]
    return int(((distance < below) & (np.sort(geoms, -1) == pair).all(-1)).sum())


def _equal(one: Contacts, other: Contacts) -> bool:
    """Returns whether the same contacts act, in the same places and directions."""
    (geoms, distance, place, normal), b = ([x[c[1] < 0] for x in c] for c in (one, other))
    if len(geoms) != len(b[0]):
        return False
    pair = (np.sort(geoms, -1)[:, None] == np.sort(b[0], -1)[None]).all(-1)
    near = np.linalg.norm(place[:, None] - b[2][None], axis=-1) < NEAR_M
    deep = np.abs(distance[:, None] - b[1][None]) < SHALLOW_M
    # pairs of geoms may come in either order, and then the normal points the other way
    along = np.abs((normal[:, None] * b[3][None]).sum(-1)) > np.cos(NEAR_RAD)
    same = pair & near & deep & along
    return bool(same.any(0).all() and same.any(1).all())


def _scale(env: Env, track: Track, worlds: Worlds, found: Sequence[_World]) -> np.ndarray:
    """Returns (2, nv) how far and how fast each degree of freedom moves in nominal worlds."""
    most = np.zeros((2, env.task.mj_model.nv))
    for w in np.flatnonzero(worlds.row < 0).tolist():
        core, here = state_at(track, w, 0), found[w]
        still = np.repeat(core.qpos[None], len(here.run[0]), 0), np.zeros_like(here.run[1])
        way = here.twin.apart(still, here.run)
        most = np.maximum(most, np.where(np.isfinite(way), way, 0).max(0))
    floor = np.maximum(np.array(LEAST)[:, None], 0.02 * most.max(-1, keepdims=True, initial=0))
    return np.maximum(most, floor)


def _gap(
    env: Env, track: Track, world: int, here: _World, scale: np.ndarray, alike: np.ndarray
) -> _Gap:
    """Returns the difference of one world between the engine and C MuJoCo.

    Only steps with the same contacts (``alike``, (S,)) count, and runs until the first other one.
    """
    mine = track.cores.qpos[world, 1:], track.cores.qvel[world, 1:]
    worst, touch = _Gap(0.0, 0.0), np.array([(c[1] < 0).any() for c in here.contacts])
    kinds = (("run", here.run, here.spread), ("step", here.steps, here.step_spread))
    for kind, theirs, spread in kinds:
        apart = here.twin.apart(theirs, mine) / scale
        share = (spread / scale).max((0, 2, 3), initial=0)
        allowed = np.where(touch, IN_CONTACT, TOLERANCE)
        if kind == "run":  # what a step loses stays, and grows
            early = (here.step_spread[-1] / scale).max((1, 2), initial=0)
            share = np.maximum.accumulate(share) + np.cumsum(early)
            allowed = np.maximum.accumulate(allowed)
        allowed = allowed + FACTOR * share
        counts = np.logical_and.accumulate(alike) if kind == "run" else alike
        for t in np.flatnonzero((allowed <= TRUSTED) & counts):
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
    at_s = (t + 1) * model.opt.timestep
    began = "from the same start" if kind == "run" else "one physics step after equal states"
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


def _judge_rows(
    env: Env, worlds: Worlds, track: Track, found: Sequence[_World], alike: np.ndarray
) -> list[CheckResult]:
    """Returns the verdicts on the nominal worlds and on every row."""
    scale = _scale(env, track, worlds, found)
    gaps = [_gap(env, track, w, here, scale, alike[w]) for w, here in enumerate(found)]
    nominal = max((gaps[w] for w in np.flatnonzero(worlds.row < 0).tolist()), key=lambda g: g.ratio)
    out = [_verdict(NOMINAL, nominal, "the model as it is", "")]
    for row in sorted(set(worlds.row.tolist()) - {-1}):
        mine = np.flatnonzero(worlds.row == row).tolist()
        w = max(mine, key=lambda w: gaps[w].ratio)
        param, gap = env.space.rows[row], gaps[w]
        at = f"row {param.name!r} at {worlds.xi[w, row]:.4g}"
        remedy = f"; {param.field} means another thing in this engine: drop the row, or report it"
        verdict = _verdict(param.name, gap, at, remedy)
        if verdict.failed and nominal.ratio > 1 and gap.ratio < 2 * nominal.ratio:
            verdict = CheckResult("rows", param.name, "as nominal", gap.share, gap.allowed)
        if not verdict.failed and not _acts(env, worlds, track, found, scale, row):
            verdict = _idle(env, worlds, found, row, gap)
        out.append(verdict)
    return out


def _judge_solver(
    env: Env, worlds: Worlds, track: Track, found: Sequence[_World]
) -> list[CheckResult]:
    """Returns a verdict where so few iterations of the solver change what happens in a step."""
    scale, iterations = _scale(env, track, worlds, found), env.task.mj_model.opt.iterations
    share = np.array([here.step_spread[0] / scale for here in found])  # (W, S, 2, nv)
    w, s, part, dof = (int(i) for i in np.unravel_index(share.argmax(), share.shape))
    worst = float(share[w, s, part, dof])
    if worst <= TRUSTED:
        return [CheckResult("task", "solver", "ok", worst, TRUSTED)]
    joint = element_names(env.task.mj_model, "dof")[dof]
    text = (
        f"{iterations} iterations of the solver leave joint {joint!r} off by "
        f"{found[w].step_spread[0, s, part, dof]:.3g} {('m or rad', 'm/s or rad/s')[part]} after "
        f"one step at {s * env.task.mj_model.opt.timestep:.3g} s, in C MuJoCo, too; write more "
        f'into the MuJoCo model, <option iterations="{4 * iterations}"/>, where that matters'
    )
    return [CheckResult("task", "solver", "stops early", worst, TRUSTED, text)]


def _verdict(name: str, gap: _Gap, at: str, remedy: str) -> CheckResult:
    """Returns the verdict on a difference."""
    if not gap.allowed:
        text = f"{at}: rounding alone moves these worlds as far; try --seconds 0.1"
        return CheckResult("rows", name, "not told", text=text)
    if gap.ratio <= 1:
        return CheckResult("rows", name, "ok", gap.share, gap.allowed)
    text = f"{at}: {gap.text}{remedy}"
    return CheckResult("rows", name, "differs", gap.share, gap.allowed, text)


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
    for low in np.flatnonzero(mine & (worlds.end == 0)).tolist():
        high = int(
            np.flatnonzero(mine & (worlds.end == 1) & (worlds.start == worlds.start[low]))[0]
        )
        for x in track.shape.values():
            if np.abs(x[low] - x[high]).max(initial=0) > 1e-6 * np.abs(x[low]).max(initial=0):
                return True
        one, two = ((track.cores.qpos[w, 1:], track.cores.qvel[w, 1:]) for w in (low, high))
        effect = found[low].twin.apart(one, two) / scale
        rounding = (found[low].spread[1:] / scale).max(0, initial=0)
        if (effect > 1e-6 + FACTOR * np.maximum.accumulate(rounding, 0)).any():
            return True
    return False


def _idle(env: Env, worlds: Worlds, found: Sequence[_World], row: int, gap: _Gap) -> CheckResult:
    """Returns the verdict on a row that changed nothing."""
    param = env.space.rows[row]
    mine = [found[w].twin for w in np.flatnonzero(worlds.row == row).tolist()]
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
        return CheckResult("rows", param.name, "acts not", gap.share, gap.allowed, text)
    return CheckResult("rows", param.name, "not tried", gap.share, gap.allowed, text)


def _judge_functions(
    env: Env, worlds: Worlds, track: Track, found: Sequence[_World], seed: int
) -> list[CheckResult]:
    """Returns the verdicts on what the task's functions say: at every start, and later."""
    drawn, often = np.random.default_rng(seed), env.task.substeps
    steps = track.ctrl.shape[1] // often
    picks = [(w, 0) for w in range(len(worlds.row)) if worlds.row[w] < 0]
    picks += [(w, often * int(drawn.integers(1, steps + 1))) for w in range(len(worlds.row))]
    picks = [(w, t) for w, t in picks if np.isfinite(track.cores.qpos[w, t]).all()]
    told = run_functions(env, track, {w: found[w].twin for w, _ in picks}, picks)
    at_s = [t * env.task.mj_model.opt.timestep for _, t in picks]
    return [_judge_function(name, *both, at_s) for name, both in told.items()]


def _judge_function(
    name: str, mine: np.ndarray, theirs: np.ndarray, at_s: Sequence[float]
) -> CheckResult:
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
        return CheckResult("functions", name, "not finite", text=text)
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
        return CheckResult("functions", name, "ok", worst, most_allowed)
    text = (
        f"{name}[{k}] at {at_s[place]:.3g} s: {mine[place, k]:.5g} in the engine, "
        f"{theirs[0, place, k]:.5g} with C MuJoCo's data{remedy}"
    )
    return CheckResult("functions", name, "differs", worst, most_allowed, text)
