"""python -m benchmarks.models PATH ...: public models, each stepped in MJX and in C, or refused.

For every MJCF or URDF named, or found in a folder named: what `mjx_s2r.mjcf.inspect` says, and then
0.2 s in both engines from the first keyframe (or the zero pose), with a random velocity of about
0.1 m/s and rad/s and a random control for each actuator, a tenth of its range from rest. A row is
"equal" where no qpos differs by more than 1e-3 m or rad, or than `FACTOR` times what C itself
drifts by when its start is moved by 1e-6, the rounding of float32: contacts amplify rounding, and
no engine could do better. It is "refused" where inspect says that MJX would not simulate it,
"differs" where inspect names a difference and there is one, and "SILENT" where there is a
difference of which inspect says nothing: a bug of inspect.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro

from mjx_s2r.mjcf.checks import start_data
from mjx_s2r.mjcf.inspect import inspect_model
from mjx_s2r.mjcf.load import load
from mjx_s2r.runtime.progress import print_line
from mjx_s2r.sim.backends.c_fields import burst
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.physics import PhysicsState, advance, initial_state, put_model

SECONDS = 0.2
ALLOWED = 1e-3  # m or rad
NUDGE = 1e-6
FACTOR = 10.0
# It runs for a moment and compiles for minutes, so the machine code need not be good.
QUICK: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}
Verdict = Literal["equal", "refused", "no model", "differs", "SILENT", "not stepped"]


@dataclass(frozen=True)
class ModelsConfig:
    """Settings of a round of models."""

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Files, or folders that are searched for .xml and .urdf."""
    json: Path | None = None
    """File that the rows are added to; models that are in it are left out."""
    longest: float = 200.0
    """Models whose step would compile for longer, s by the estimate, are not stepped."""
    worlds: int = 64
    """Worlds that must find room."""


@dataclass(frozen=True)
class ModelRow:
    """One model.

    Attributes:
        name: the last parts of its path.
        verdict: see the module.
        reason: why it is refused, or what differs.
        gap: largest difference of qpos between the engines after `SECONDS`, m or rad.
        moved: largest change of qpos in C.
        drift: that of C from itself, its start moved by `NUDGE`.
        dofs: degrees of freedom.
        pairs: pairs of geoms that may touch.
        rows: rows of constraints in MJX.
        world_bytes: estimated memory of a world.
        compile_s: estimated compile time.
        compiled_s: measured compile time, tracing included.
        notes: findings by severity.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    gap: float | None = None
    moved: float | None = None
    drift: float | None = None
    dofs: int = 0
    pairs: int = 0
    rows: int = 0
    world_bytes: int = 0
    compile_s: float = 0.0
    compiled_s: float | None = None
    notes: str = ""


def judge(path: Path, config: ModelsConfig) -> ModelRow:
    """Returns what becomes of one file."""
    name = "/".join(path.parts[-2:])
    try:
        loaded = load(path)
    except ModelError as error:
        told = str(error).partition("; searched in")[0]  # without the folders of one machine
        return ModelRow(name, "no model", told.replace(f"{path.resolve().parent}/", ""))
    found = inspect_model(loaded, config.worlds)
    m, cost = loaded.model, found.cost
    said = [f for f in found.findings if f.engine == "jax"]
    by = {s: sum(f.severity == s for f in found.findings) for s in ("refused", "differs", "note")}
    row = ModelRow(
        name,
        "refused",
        dofs=m.nv,
        pairs=sum(cost.pairs.values()),
        rows=cost.rows,
        world_bytes=round(cost.world_bytes),
        compile_s=round(cost.compile_s, 1),
        notes=", ".join(f"{n} {s}" for s, n in by.items() if n),
    )
    refusals = [f for f in said if f.severity == "refused"]
    if refusals:
        first = refusals[0]
        return changed(row, reason=f"{first.element}: {first.value}; {first.remedy}")
    if not m.nv:
        return changed(row, verdict="not stepped", reason="nothing in it moves")
    if cost.compile_s > config.longest:
        return changed(row, verdict="not stepped", reason="would compile for long")
    ctrl = controls(m)
    drift, reference = in_c(m, ctrl)
    if not np.isfinite(drift):
        return changed(row, verdict="not stepped", reason="C MuJoCo itself becomes unstable")
    moved = float(np.abs(reference - start_data(m).qpos).max())
    qpos, took = in_mjx(m, ctrl)
    gap = float(np.abs(qpos - reference).max())
    equal = gap <= max(ALLOWED, FACTOR * drift)
    warned = [f for f in found.findings if f.severity == "differs" and f.engine == "jax"]
    verdict: Verdict = "equal" if equal else "differs" if warned else "SILENT"
    reason = "" if equal else "; ".join(f"{f.element}: {f.value}" for f in warned)
    return changed(
        row,
        verdict=verdict,
        reason=reason,
        gap=gap,
        moved=moved,
        drift=drift,
        compiled_s=round(took, 1),
    )


def changed(row: ModelRow, **parts: object) -> ModelRow:
    """Returns a row with other parts."""
    return ModelRow(**(asdict(row) | parts))


def controls(m: mujoco.MjModel) -> np.ndarray:
    """Returns (nu,) controls: those of the start, and a tenth of their range at random."""
    rest = start_data(m).ctrl
    span = np.where(m.actuator_ctrllimited != 0, np.ptp(m.actuator_ctrlrange, axis=-1), 1.0)
    drawn = rest + 0.1 * span * np.random.default_rng(0).uniform(-1, 1, m.nu)
    low, high = m.actuator_ctrlrange.T
    return np.where(m.actuator_ctrllimited != 0, np.clip(drawn, low, high), drawn)


def velocity(m: mujoco.MjModel) -> np.ndarray:
    """Returns (nv,) velocities at the start, m/s and rad/s, small and random."""
    return 0.1 * np.random.default_rng(1).standard_normal(m.nv)


def in_c(m: mujoco.MjModel, ctrl: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns how far C drifts from itself, infinite where it bursts, and its qpos (nq,) then."""
    ends = []
    for nudge in (0.0, NUDGE, -NUDGE):
        data = start_data(m)
        data.qvel[:] = velocity(m)
        mujoco.mj_integratePos(m, data.qpos, np.full(m.nv, nudge), 1.0)
        data.ctrl[:] = ctrl
        for _ in range(steps(m)):
            mujoco.mj_step(m, data)
        if burst(data):
            return np.inf, data.qpos
        ends.append(data.qpos.copy())
    return max(float(np.abs(end - ends[0]).max()) for end in ends[1:]), ends[0]


def steps(m: mujoco.MjModel) -> int:
    """Returns how many physics steps make `SECONDS`."""
    return max(round(SECONDS / m.opt.timestep), 1)


def in_mjx(m: mujoco.MjModel, ctrl: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns MJX's qpos (nq,) at the end, and the seconds that tracing and compiling took."""
    began = time.perf_counter()
    physics, start = put_model(m), start_data(m)
    state = initial_state(physics, jnp.asarray(start.qpos), jnp.asarray(velocity(m)))
    state = replace(state, act=jnp.asarray(start.act, jnp.float32))

    def run(state: PhysicsState, ctrl: jax.Array) -> jax.Array:
        """Steps to the end."""

        def body(_: int, now: PhysicsState) -> PhysicsState:
            """Steps once."""
            return advance(physics, {}, now, ctrl)

        return jax.lax.fori_loop(0, steps(m), body, state).qpos

    moved = jnp.asarray(ctrl, jnp.float32)
    compiled = jax.jit(run).lower(state, moved).compile(QUICK)
    took = time.perf_counter() - began
    return np.asarray(compiled(state, moved), float), took


def files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yields the models named, and those in folders named."""
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in (".xml", ".urdf"))
        else:
            yield path


def main(argv: Sequence[str]) -> int:
    """Judges models one after another; returns 1 where inspect was silent about a difference."""
    config = tyro.cli(ModelsConfig, args=list(argv))
    rows = json.loads(config.json.read_text()) if config.json and config.json.exists() else []
    for path in files(config.paths):
        if any(row["name"] == "/".join(path.parts[-2:]) for row in rows):
            continue
        row = judge(path, config)
        rows.append(asdict(row))
        gap = "" if row.gap is None else f" gap {row.gap:.2g} of {row.moved:.2g} moved"
        print_line(f"{row.verdict:<11} {row.name}{gap} {row.reason[:300]}")
        if config.json:
            config.json.parent.mkdir(parents=True, exist_ok=True)
            config.json.write_text(json.dumps(rows, indent=1) + "\n")
        jax.clear_caches()
    return int(any(row["verdict"] == "SILENT" for row in rows))


if __name__ == "__main__":
    from mjx_s2r.runtime import devices

    devices.configure()
    sys.exit(main(sys.argv[1:]))
