"""Derivatives of a replay by its rows: forward mode through MJX against differences through C.

Both give the derivatives of every reading in every window by every row of a model, at the nominal
values, from the same start states and commands. MJX computes in single precision, as it trains.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx

from mjx_s2r.drives import resolve
from mjx_s2r.sim.model.leaves import bind_model, leaves
from mjx_s2r.sim.physics import put_model
from mjx_s2r.transfer.problem import IdentifyProblem
from mjx_s2r.transfer.windows import Windows


def forward_jacobian(
    problem: IdentifyProblem, windows: Windows
) -> tuple[Callable[[], jax.Array], Callable[[jax.Array], np.ndarray]]:
    """Returns a call that computes the derivatives, and what brings them into the form of C's.

    The call gives (W, N, Q, D) derivatives of the positions after every physics step by the rows'
    values; the other takes them at the readings, (W, K, Q, D).

    Args:
        problem: one recording and rows of the group "model" alone.
        windows: of the recording, as long as each other.
    """
    model, (recording,) = problem.mj_model, problem.recordings
    physics, binding = put_model(model), bind_model(problem.space, model)
    dt = float(model.opt.timestep)
    steps = round(float(np.nanmax(windows.time_s)) / dt)
    grid = windows.start_s[:, None] + np.arange(steps) * dt
    newest = np.searchsorted(recording.time_s, grid + 1e-9, side="right") - 1
    ctrl = np.zeros((len(windows), steps, model.nu), np.float32)
    ctrl[:, :, resolve(model, recording.joints).actuators] = recording.commands[newest]
    places = np.array([int(model.joint(j).qposadr[0]) for j in windows.joints])
    speeds = np.array([int(model.joint(j).dofadr[0]) for j in windows.joints])
    half = len(places)

    def positions(xi: jax.Array, start: jax.Array, controls: jax.Array) -> jax.Array:
        """Returns (N, Q) positions after every step of one window."""
        now = physics.model.replace(**leaves(physics, binding, xi))
        data = physics.empty_data.replace(
            qpos=physics.empty_data.qpos.at[places].set(start[:half]),
            qvel=physics.empty_data.qvel.at[speeds].set(start[half:]),
        )

        def step(data: mjx.Data, control: jax.Array) -> tuple[mjx.Data, jax.Array]:
            """Takes one physics step."""
            data = mjx.step(now, data.replace(ctrl=control))
            return data, data.qpos[places]

        return jax.lax.scan(step, data, controls)[1]

    by_rows = jax.jit(jax.vmap(jax.jacfwd(positions), in_axes=(None, 0, 0)))
    xi = jnp.asarray(problem.space.nominal, jnp.float32)
    start = jnp.asarray(windows.start, jnp.float32)

    def read(found: jax.Array) -> np.ndarray:
        """Returns the derivatives at the readings, which lie on physics steps."""
        place = np.round(np.nan_to_num(windows.time_s) / dt).astype(int) - 1
        return np.take_along_axis(np.asarray(found, float), place[:, :, None, None], axis=1)

    return lambda: by_rows(xi, start, ctrl), read
