"""The interface of a task: one class in one file.

`mjx_s2r.sim.task_defaults.TaskDefaults` has what is usual of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import jax
import mujoco
from flax import struct
from mujoco import mjx

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.params import ParamSpace
from mjx_s2r.params.ranges import changed_space


class TaskError(ValueError):
    """A task that lacks a part or returns what it should not; names function, value and remedy."""


@struct.dataclass
class InitialState:
    """Initial state of an episode.

    Attributes:
        qpos: (nq,) generalized positions, m and rad.
        qvel: (nv,) generalized velocities, m/s and rad/s; None for rest.
        mocap_pos: (nmocap, 3) positions of mocap bodies, m; None for the model's own.
        mocap_quat: (nmocap, 4) orientations of mocap bodies, w x y z; None for the model's own.
        memory: (nuserdata,) what the task remembers first; None for zeros.
    """

    qpos: jax.Array
    qvel: jax.Array | None = None
    mocap_pos: jax.Array | None = None
    mocap_quat: jax.Array | None = None
    memory: jax.Array | None = None


@struct.dataclass
class StepResult:
    """A task's judgement of one control step, () each.

    Attributes:
        reward: reward of the step.
        on_goal: the goal holds now; held for the task's ``hold_s`` it is a success.
        failed: the episode must end here without bootstrapping; never, where it is left out.
        memory: (nuserdata,) what the task remembers from now on; None changes nothing.
    """

    reward: jax.Array
    on_goal: jax.Array
    failed: jax.Array | bool = False
    memory: jax.Array | None = None


class Task(Protocol):
    """A robot, its table of parameters, its contract and its reward.

    Whatever must last from step to step (a velocity to follow, the last action) is the task's
    memory. It lives where MuJoCo keeps what belongs to its user: write ``<size nuserdata="..."/>``
    into the model, fill ``InitialState.memory``, read ``data.userdata`` everywhere and move it by
    ``StepResult.memory``. The observation after a step is made with the memory after it.

    Actuators outside the contract keep one control, in training and on the robot stand-in: ctrl and
    act of the model's first keyframe, else zeros (`mjx_s2r.drives.rest_controls`). A servo that
    filters its control begins at rest: the contract's at the first command, the others at theirs.

    Attributes:
        name: name of the task.
        mj_model: the nominal model.
        space: the table.
        contract: what the policy reads and writes; its joints are names of actuators, or of
            joints with one actuator.
        substeps: physics steps per control step.
        episode_s: longest episode, s.
        hold_s: how long the goal must hold to be a success, s.
        ends_on_success: whether a success ends the episode; then it is a termination.
        success_reward: added to the reward once, when the goal has been held.
    """

    name: str
    mj_model: mujoco.MjModel
    space: ParamSpace
    contract: PolicyContract
    substeps: int
    episode_s: float
    hold_s: float
    ends_on_success: bool
    success_reward: float

    def reset(self, *, key: jax.Array) -> InitialState:
        """Draws where an episode begins."""
        ...

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Returns true readings by contract signal name; "command" is added by the environment."""
        ...

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Returns (Q,) what only simulation knows, scaled to about one."""
        ...

    def label(self, data: mjx.Data) -> jax.Array:
        """Returns (L,) what a camera student should be able to see, m."""
        ...

    # A task may also have ``keypoints(data) -> (K, 3)``: points of the world, m, that a student
    # should find in its pictures. Without it there are none. And ``goal_distance(data) -> ()``: how
    # far the goal is, m, which is shown of flights on stand-ins and trains nothing.

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Returns the verdict on the step that led to ``data`` under ``action`` (J,) in [-1, 1]."""
        ...


@dataclass(frozen=True)
class _Changed:
    """A task with another contract or table; all else is the task's own.

    Attributes:
        task: the task as it was written.
        contract: its contract.
        space: its table.
        ranges: what `ranged` was given; empty for the table as it was written.
    """

    task: Task
    contract: PolicyContract
    space: ParamSpace
    ranges: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        """Returns the task's own part."""
        return getattr(object.__getattribute__(self, "task"), name)

    @property
    def unwrapped(self) -> Task:
        """The task with its own cameras and its own table."""
        return self.task


def seen_by(task: Task, cameras: Sequence[CameraSignal]) -> Task:
    """Returns the task with other cameras in its contract, or as it is if none are given."""
    if not cameras:
        return task
    changed = _changed(task)
    contract = replace(changed.contract, cameras=tuple(cameras))
    return cast(Task, replace(changed, contract=contract))


def ranged(task: Task, ranges: Sequence[str]) -> Task:
    """Returns the task with other ranges of its rows, or as it is if none are given.

    Args:
        task: the task; ranges that it had been given before are those before these.
        ranges: as `mjx_s2r.params.ranges` reads them, "name=low,high".

    Raises:
        ParamError: a row that does not exist, or a range that cannot be.
    """
    if not ranges:
        return task
    changed = _changed(task)
    space = changed_space(changed.task.space, (*changed.ranges, *ranges))
    return cast(Task, replace(changed, space=space, ranges=(*changed.ranges, *ranges)))


def ranges_of(task: Task) -> tuple[str, ...]:
    """Returns the ranges that a task was given instead of those it is written with."""
    return task.ranges if isinstance(task, _Changed) else ()


def _changed(task: Task) -> _Changed:
    """Returns a task as one that can be changed."""
    return task if isinstance(task, _Changed) else _Changed(task, task.contract, task.space)
