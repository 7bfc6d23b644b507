"""The rows of light, colours and sensor that explain pictures, the camera's place being known.

The camera's geometry is held; the picture of the project's own renderer, with all of its shading
and photometry, is fitted by Gauss-Newton steps with differences through the renderer. Rows that
say the same only together (a darker lamp, a darker table, a shorter exposure) are told apart by the
prior alone, and their intervals stay wide; nothing is invented.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.params import ParamSpace
from mjx_s2r.params.camera_rows import rows_of_camera
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import ScenePose
from mjx_s2r.render.looks.appearance import appearance, bind_appearance
from mjx_s2r.transfer.camera.fit import (
    normal_equations,
    prior_cost,
    robust_cost,
    robust_weights,
    to_units,
    to_values,
)
from mjx_s2r.transfer.camera.intervals import RowEstimate, picture_covariance
from mjx_s2r.transfer.camera.regions import PosedScene, blur_of
from mjx_s2r.transfer.camera.rows import shared_by_cameras

PHOTOMETRIC = (
    *("exposure", "white_balance", "brightness", "contrast", "gamma", "saturation", "hue"),
    *("vignette", "ambient", "headlight", "light_strength", "light_rgb", "light_dir", "geom_rgb"),
)
BLUR = 0.012  # of the picture's height
SHAPE = -0.5  # of the robust function
STEP = 0.15  # of difference quotients, in unit coordinates
MOST_STEPS = 8


def colour_space(
    space: ParamSpace, camera: str, known: list[str], others: Sequence[str] = ()
) -> ParamSpace:
    """Returns the table's rows of light, colours and sensor that touch a camera's pictures.

    Of a row that changes the sensors of ``others``, cameras of the policy, a copy is taken that
    changes this one's alone.
    """
    mine = rows_of_camera(space, camera, known)
    shared = shared_by_cameras(space, camera, known, others)
    rows = []
    for i in mine.chosen:
        row = replace(space.rows[i], correlation="", rho=1.0)
        if i in shared:
            row = replace(row, name=f"{camera}_{row.name}", elements=(camera,))
        if row.array in PHOTOMETRIC:
            rows.append(row)
    return ParamSpace(tuple(rows))


def fit_colours(
    posed: PosedScene,
    geometry: ParamSpace,
    xi: np.ndarray,
    colours: ParamSpace,
    pictures: np.ndarray,
    mj_model: mujoco.MjModel,
) -> tuple[RowEstimate, np.ndarray]:
    """Fits rows of light, colours and sensor.

    Args:
        posed: the scene in its poses.
        geometry: the rows of the camera.
        xi: (D,) their values.
        colours: the rows that are fitted.
        pictures: (M, H, W, 3) uint8.
        mj_model: the model.

    Returns:
        the estimate, and (M, H, W, 3) uint8 what the renderer draws with it.
    """
    both = ParamSpace((*geometry.rows, *colours.rows))
    binding = bind_appearance(both, mj_model, posed.scene.camera)
    count, height, width = posed.size
    blur = blur_of(height, width, BLUR * height)

    @jax.jit
    def draw(pose: ScenePose, values: jax.Array) -> jax.Array:
        """Returns (M, H, W, 3) in [0, 1]."""
        look = replace(appearance(binding, values), geom_shown=jnp.asarray(posed.shown))
        looks = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), look)
        rgb = jnp.asarray(raycast.render(posed.scene, pose, looks).rgb)
        s = posed.samples
        return rgb.reshape(count, height, s, width, s, 3).astype(jnp.float32).mean((2, 4)) / 255

    smooth = jax.jit(blur)
    seen = np.asarray(smooth(jnp.asarray(pictures, jnp.float32) / 255))

    def picture(u: np.ndarray) -> jax.Array:
        """Returns what is drawn at unit coordinates."""
        return draw(posed.pose, jnp.asarray([*xi, *to_values(colours, u)], jnp.float32))

    def residual(u: np.ndarray) -> np.ndarray:
        """Returns measured minus drawn."""
        return seen - np.asarray(smooth(picture(u)))

    u = np.clip(to_units(colours, colours.nominal), -0.99, 0.99)
    middle, damping = u, 1e-2
    left = residual(u)
    for _ in range(MOST_STEPS):
        weights = robust_weights(left, SHAPE)
        cost = robust_cost(left, SHAPE) + prior_cost(u - middle, weights.size)
        jacobian = np.stack([_slope(residual, u, left, i) for i in range(len(u))], axis=-1)
        hessian, slope = normal_equations(jacobian, left, weights, u - middle)
        for _ in range(4):
            move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), slope)
            near = np.clip(u - move, -1, 1)
            after = residual(near)
            found = robust_cost(after, SHAPE) + prior_cost(near - middle, weights.size)
            if found < cost:
                break
            damping *= 8
        else:
            break
        settled = cost - found < 1e-3 * cost
        u, left, damping = near, after, damping / 8
        if settled:
            break
    weights = robust_weights(left, SHAPE)
    covariance = picture_covariance(jacobian, left, weights)
    drawn = np.asarray(picture(u))
    return RowEstimate(colours, u, covariance), np.rint(255 * drawn).astype(np.uint8)


def _slope(
    residual: Callable[[np.ndarray], np.ndarray], u: np.ndarray, left: np.ndarray, index: int
) -> np.ndarray:
    """Returns the difference quotient of the residual along one row, inwards from its limits."""
    step = np.zeros(len(u))
    step[index] = -STEP if u[index] > 0 else STEP
    return (residual(u + step) - left) / step[index]
