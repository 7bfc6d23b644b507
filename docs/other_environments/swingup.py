"""MuJoCo Playground's swing-up, with masses and damping that differ from world to world.

The text is in docs/other_environments.md.
"""

import jax
from mujoco_playground import State

from mjx_s2r.bridge.registry import playground
from mjx_s2r.bridge.wrapper import WrappedEnv
from mjx_s2r.params import ParamSpace, add, scale

ROWS = ParamSpace(
    (
        scale("cart", "model.body_mass", ("cart",), (0.5, 2.0)),
        scale("pole", "model.body_mass", ("pole_1",), (0.5, 2.0)),
        add("damping", "model.dof_damping", ("slider",), (0.0, 0.5), unit="N s/m"),
    )
)


def upright(state: State) -> jax.Array:
    """Returns () whether the pole stands: the reward is 1 where it does, at rest, in the middle."""
    return state.reward > 0.9


def swingup() -> WrappedEnv:
    """Returns the environment that --task docs.other_environments.swingup:swingup trains."""
    return playground("CartpoleSwingup", ROWS, success=upright)
