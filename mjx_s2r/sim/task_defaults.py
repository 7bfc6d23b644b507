"""What is usual of a task, so that one's own file says only what is its own.

A base class and not a function that fills gaps: editors and type checkers know it, any part is
replaced by writing it, and `super()` reaches what was there. It is no task, so no task inherits
from another. A class that writes every part of `mjx_s2r.sim.task.Task` needs it not.
"""

import re
from functools import cached_property

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import PolicyContract
from mjx_s2r.drives import resolve
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.model.model_contract import contract_of, home_qpos, substeps_of
from mjx_s2r.sim.task import InitialState

START_SPREAD = 0.1  # share of a joint's range by which a start differs from home, to either side


class TaskDefaults:
    """Everything of a task but its model and its reward; replace what should be otherwise.

    The class that derives from it writes ``mj_model`` and ``reward``, and as a rule ``space``,
    ``privileged`` and ``label``. Attributes are those of `mjx_s2r.sim.task.Task`.

    Attributes:
        mj_model: the nominal model; has no default.
        control_hz: rate of the policy where the contract comes from the model, Hz; the nearest one
            that is a whole number of timesteps is taken.
        name: the class's name in lower case, with underscores.
        contract: joints, limits, gains and rates of the model (`contract_of`), without cameras.
        substeps: physics steps per control step of the contract.
        space: no rows.
        episode_s: 5 s.
        hold_s: 0.5 s.
        ends_on_success: a success does not end the episode.
        success_reward: none.
    """

    mj_model: mujoco.MjModel
    control_hz: float = 25.0
    space: ParamSpace = ParamSpace(())
    episode_s: float = 5.0
    hold_s: float = 0.5
    ends_on_success: bool = False
    success_reward: float = 0.0

    @cached_property
    def name(self) -> str:
        """The class's name in lower case: MyArm is my_arm."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()

    @cached_property
    def contract(self) -> PolicyContract:
        """What the model says: all servos (or motors), their limits, joint_pos and joint_vel."""
        return contract_of(self.mj_model, self.name, control_hz=self.control_hz)

    @cached_property
    def substeps(self) -> int:
        """Physics steps per control step."""
        return substeps_of(self.mj_model, self.contract.control_hz)

    def start_qpos(self, *, key: jax.Array) -> jax.Array:
        """Returns (nq,) home with the commanded joints spread, each by a tenth of its range.

        Home is the pose of the model's first keyframe, else the model as written. Joints without
        limits are spread by 0.1 rad or m.
        """
        m = self.mj_model
        drives = resolve(m, self.contract.action.joints)
        low, high = m.jnt_range[drives.joints].T
        limited = m.jnt_limited[drives.joints] != 0
        spread = START_SPREAD * jnp.where(limited, high - low, 1.0)
        home = jnp.asarray(home_qpos(m), jnp.float32)
        moved = home[drives.qpos] + spread * jax.random.uniform(key, spread.shape, minval=-1.0)
        inside = jnp.clip(moved, jnp.asarray(low), jnp.asarray(high))
        return home.at[drives.qpos].set(jnp.where(limited, inside, moved))

    def reset(self, *, key: jax.Array) -> InitialState:
        """Starts at rest near home; see `start_qpos`."""
        return InitialState(self.start_qpos(key=key))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Positions and speeds of the commanded joints, rad or m and per second.

        A task whose contract lists more returns those beside these:
        ``{**super().signals(data), "gyro": data.qvel[3:6]}``.
        """
        drives = resolve(self.mj_model, self.contract.action.joints)
        known = {"joint_pos": data.qpos[drives.qpos], "joint_vel": data.qvel[drives.dof]}
        asked = [s.name for s in self.contract.signals if s.name != "command"]
        return {name: known[name] for name in asked if name in known}

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Nothing that the signals and the table do not hold: (0,)."""
        return jnp.zeros((0,))

    def label(self, data: mjx.Data) -> jax.Array:
        """Nothing to find in a picture: (0,)."""
        return jnp.zeros((0,))
