"""python -m train view --task reach: random worlds as a student sees them, and MuJoCo's picture."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro

from envs.tasks import make_task
from mjx_s2r.render.eye import bind_cameras, poses, take_pictures
from mjx_s2r.render.mosaic import write_mosaic
from mjx_s2r.sim.env import Draw, make
from train.common import console


@dataclass(frozen=True)
class ViewConfig:
    """Settings of a picture."""

    task: str = "reach"
    """Name of a task, or module:Class."""
    out: Path = Path("runs/view.png")
    """Where the picture goes; the nominal world beside MuJoCo's goes next to it."""
    worlds: int = 40
    """How many worlds."""
    columns: int = 10
    """Worlds in a row."""
    seed: int = 0
    """Seed of the worlds."""


def main(argv: Sequence[str]) -> None:
    """Parses the command line and writes two pictures."""
    config = tyro.cli(ViewConfig, args=list(argv))
    env = make(make_task(config.task))
    task, count = env.task, config.worlds
    cameras = bind_cameras(task.space, task.mj_model, task.contract)
    key_xi, key_reset, key_noise = jax.random.split(jax.random.key(config.seed), 3)
    low, high = task.space.limits
    unit = jax.random.uniform(key_xi, (count, len(task.space)))
    xi = task.space.sample(jnp, unit, jnp.asarray(low), jnp.asarray(high))
    xi = xi.at[0].set(task.space.nominal)
    none = jnp.full((count,), -1, jnp.int32)
    worlds = jax.jit(jax.vmap(env.reset))(
        jax.random.split(key_reset, count), Draw(xi, none, jnp.zeros_like(none))
    )
    data = jax.jit(jax.vmap(env.view))(worlds)
    pictures = take_pictures(cameras, poses(cameras, data), xi, key=key_noise)[0]
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_mosaic(config.out, np.asarray(pictures), config.columns, zoom=2)
    console.print(f"{config.out}: {count} worlds over the limits of the table, the first nominal")
    beside = config.out.with_stem(config.out.stem + "_beside_mujoco")
    qpos = np.asarray(worlds.pipeline_state.core.qpos[0])
    mocap = np.asarray(worlds.pipeline_state.core.mocap_pos[0])
    quat = np.asarray(worlds.pipeline_state.core.mocap_quat[0])
    theirs = _mujoco_picture(env.task.mj_model, task.contract.cameras[0].name, (qpos, mocap, quat))
    write_mosaic(beside, np.stack([np.asarray(pictures[0]), theirs]), 2, zoom=6)
    console.print(f"{beside}: the nominal world, ours and MuJoCo's")


def _mujoco_picture(
    mj_model: mujoco.MjModel, camera: str, state: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """Returns (64, 64, 3) uint8: MuJoCo's own picture of one state."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    data = mujoco.MjData(mj_model)
    data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = state
    mujoco.mj_forward(mj_model, data)
    with mujoco.Renderer(mj_model, 64, 64) as renderer:
        renderer.update_scene(data, camera)
        return np.asarray(renderer.render())
