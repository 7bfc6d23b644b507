"""Pictures of worlds as they are, by the cameras of their task's contract: for people.

A training draws its pictures inside its own program (`mjx_s2r.learn.camera_schedule`), with delays
and lost frames; here every picture is of now.
"""

import jax
import numpy as np

from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import bind_cameras, poses, take_pictures
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.runtime.devices import picture_compiler_options
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State


def see_worlds(
    env: Env, worlds: State, *, config: RenderConfig | None = None, key: jax.Array
) -> tuple[np.ndarray, ...]:
    """Returns what every camera of the contract sees of N worlds, each in its own looks.

    The first call of a task and a number of worlds compiles.

    Args:
        env: the environment of one world.
        worlds: N of its worlds.
        config: how pictures are drawn.
        key: random key of the sensors' noise.

    Returns:
        An array per camera, (N, H, W, 3) uint8, or (N, H, W, 1) uint16 codes of depth.

    Raises:
        ParamError: a contract without cameras.
        SceneError, TextureError: as `mjx_s2r.render.cameras.bind_cameras`.
    """
    task = env.task
    if not task.contract.cameras:
        raise ParamError(
            f"task {task.name!r} has no camera in its contract; give it one by "
            "mjx_s2r.sim.task.seen_by"
        )
    bound = bind_cameras(task.space, task.mj_model, task.contract, config)
    # Two programs, since the compiler's switches for pictures slow physics down.
    data, xi = jax.jit(jax.vmap(lambda world: (env.positions(world), env.current_params(world))))(
        worlds
    )
    where = poses(bound, data, worlds.pipeline_state.leaves)
    draw = jax.jit(
        lambda where, xi, key: take_pictures(bound, where, xi, key=key),
        compiler_options=picture_compiler_options(),
    )
    return tuple(np.asarray(pictures) for pictures in draw(where, xi, key))
