"""Calls of a task's functions: what they return is cast where that is harmless, else refused.

The environment calls a task through these functions only, so a first task meets sentences that
name the function, what came and what was wanted, and never a shape error of a compiled loop.
`trace_task` runs all of them once on shapes when the task is bound; it also finds which fields of
mjx.Data they read, so that what nobody reads is not computed, and what is not known is refused.
"""

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from jax.interpreters.partial_eval import dce_jaxpr
from mujoco import mjx

from mjx_s2r.contract import PolicyContract
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.model.fields import mocap_bodies
from mjx_s2r.sim.physics import (
    POSITION_FIELDS,
    STATE_FIELDS,
    Physics,
    PhysicsState,
    initial_state,
    readable_fields,
)
from mjx_s2r.sim.task import InitialState, StepResult, Task, TaskError

NO_DIRECTION = 1e-6  # a quaternion shorter than this is none
FUNCTIONS = ("reset", "signals", "privileged", "label", "reward")
MEMBERS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "mj_model": (mujoco.MjModel,),
    "space": (ParamSpace,),
    "contract": (PolicyContract,),
    "substeps": (int, np.integer),
    "episode_s": (Real,),
    "hold_s": (Real,),
    "success_reward": (Real,),
    "ends_on_success": (bool, np.bool_),
}


# What to write where a part is missing; other parts have a default in `TaskDefaults`.
LINES = {
    "mj_model": 'mj_model = mujoco.MjModel.from_xml_path("robot.xml")',
    "reward": "def reward(self, data, action): return StepResult(reward=..., on_goal=...)",
}


def check_members(task: Task) -> None:
    """Checks that a task has every part.

    Raises:
        TaskError: a part that is missing, or of another kind.
    """
    name = getattr(task, "name", type(task).__name__)
    for part, kinds in MEMBERS.items():
        if not hasattr(task, part):
            raise _missing(name, part)
        value = getattr(task, part)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TaskError(
                f"task {name!r}: {part} is {_described(value)}; it must be "
                f"{kinds[0].__name__.lower() if kinds[0] is Real else kinds[0].__name__}"
            )
    for function in FUNCTIONS:
        if not callable(getattr(task, function, None)):
            raise _missing(name, function, "function ")
    for part, least in (("substeps", 1), ("episode_s", 0.0), ("hold_s", 0.0)):
        value = float(getattr(task, part))
        if not np.isfinite(value) or value < least or (part == "episode_s" and value == 0):
            above = "above zero" if part == "episode_s" else f"at least {least}"
            raise TaskError(f"task {name!r}: {part} {value} must be {above} and finite")
    if round(task.episode_s * task.contract.control_hz) < 1:
        raise TaskError(
            f"task {name!r}: episode_s {task.episode_s} is less than one control step at "
            f"{task.contract.control_hz} Hz; make it longer"
        )
    if not np.isfinite(task.success_reward):
        raise TaskError(f"task {name!r}: success_reward {task.success_reward} must be finite")


def _missing(name: str, part: str, kind: str = "") -> TaskError:
    """Returns the error for a part of task ``name`` that is missing, with what to write."""
    line = LINES.get(part)
    remedy = (
        f"write `{line}` into its class"
        if line
        else "write it, or derive the class from mjx_s2r.sim.task_defaults.TaskDefaults, which has "
        "a usual one"
    )
    return TaskError(f"task {name!r} has no {kind}{part!r}; {remedy}")


@struct.dataclass
class Start:
    """Initial state of an episode with every field given; see `InitialState`."""

    qpos: jax.Array
    qvel: jax.Array
    mocap_pos: jax.Array
    mocap_quat: jax.Array
    memory: jax.Array


def draw_start(task: Task, *, key: jax.Array) -> Start:
    """Returns where an episode begins.

    Raises:
        TaskError: the task's reset returns something else, or a field of another shape.
    """
    with _blamed(task, "reset"):
        start: Any = task.reset(key=key)
    if not isinstance(start, InitialState):
        raise TaskError(
            f"{task.name}.reset returns {_described(start)}; return InitialState(qpos=..., "
            "qvel=...) of mjx_s2r.sim.task"
        )
    m = task.mj_model
    bodies = mocap_bodies(m)
    shapes = {"qpos": (m.nq,), "qvel": (m.nv,), "mocap_pos": (m.nmocap, 3)}
    shapes |= {"mocap_quat": (m.nmocap, 4), "memory": (m.nuserdata,)}
    absent = {"qvel": np.zeros(m.nv), "memory": np.zeros(m.nuserdata)}
    absent |= {"mocap_pos": m.body_pos[bodies], "mocap_quat": m.body_quat[bodies]}
    filled = {}
    for name, shape in shapes.items():
        value = getattr(start, name)
        value = absent.get(name) if value is None else value
        read = _memory if name == "memory" else _numbers
        filled[name] = read(task, f"reset returns {name}", value, shape)
    return Start(**filled)


def placed(engine: Physics, start: Start) -> PhysicsState:
    """Returns the physics state of a world at its start, what the task remembers apart."""
    core = initial_state(engine, start.qpos, start.qvel)
    return replace(core, mocap_pos=start.mocap_pos, mocap_quat=start.mocap_quat)


def check_starts(task: Task, starts: Start) -> None:
    """Checks starts (K, ...) of a task, as numbers.

    Warns of a mocap body that begins at the world's origin and not where the model has it.

    Raises:
        TaskError: a number that is not finite, or a quaternion without direction.
    """
    m = task.mj_model
    for name in ("qpos", "qvel", "mocap_pos", "mocap_quat", "memory"):
        value = getattr(starts, name)
        if not np.isfinite(value).all():
            raise TaskError(
                f"{task.name}.reset returns {name} that is not finite, e.g. entry "
                f"{np.argwhere(~np.isfinite(value))[0][1:].tolist()}; draw finite numbers"
            )
    turns = {
        f"qpos of joint {m.joint(j).name!r}": starts.qpos[:, a + 3 * free : a + 3 * free + 4]
        for j, a in enumerate(m.jnt_qposadr)
        if (free := m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE)
        or m.jnt_type[j] == mujoco.mjtJoint.mjJNT_BALL
    }
    bodies = mocap_bodies(m)
    for i, body in enumerate(bodies):
        turns[f"mocap_quat of body {m.body(body).name!r}"] = starts.mocap_quat[:, i]
    for what, quat in turns.items():
        if (np.linalg.norm(quat, axis=-1) < NO_DIRECTION).any():
            raise TaskError(
                f"{task.name}.reset returns {what} with quaternion {quat[0].tolist()}, which has "
                "no direction; (1, 0, 0, 0) is the one that turns nothing"
            )
    for i, body in enumerate(bodies):
        if not starts.mocap_pos[:, i].any() and m.body_pos[body].any():
            warnings.warn(
                f"{task.name}.reset puts mocap body {m.body(body).name!r} at the world's origin; "
                f"the model has it at {m.body_pos[body].round(3).tolist()}. Leave mocap_pos out "
                "for the model's own place",
                RuntimeWarning,
                stacklevel=2,
            )


def signals(task: Task, data: mjx.Data) -> dict[str, jax.Array]:
    """Returns the task's true readings by name, (size,) each, as its contract lists them.

    Raises:
        TaskError: a signal that is missing, not in the contract or of another shape.
    """
    with _blamed(task, "signals"):
        found: Any = task.signals(data)
    if not isinstance(found, Mapping):
        raise TaskError(
            f"{task.name}.signals returns {_described(found)}; return a dict of the contract's "
            "signals by name"
        )
    sizes = task.contract.sensed
    for name in sizes:
        if name not in found:
            raise TaskError(
                f"{task.name}.signals returns {sorted(found)} and not {name!r}, which the "
                "contract lists; return it, or drop the Signal from the contract"
            )
    for name in found:
        if name == "command":
            raise TaskError(
                f"{task.name}.signals returns 'command', which the environment adds; drop it"
            )
        if name not in sizes:
            raise TaskError(
                f"{task.name}.signals returns {name!r}, which the contract does not list (it has "
                f"{sorted(sizes)}); add a Signal to the contract, or drop it"
            )
    return {
        name: _numbers(task, f"signals returns {name!r}", found[name], (size,))
        for name, size in sizes.items()
    }


def privileged(task: Task, data: mjx.Data) -> jax.Array:
    """Returns (Q,) what only simulation knows.

    Raises:
        TaskError: no vector.
    """
    return _vector(task, "privileged", data)


def label(task: Task, data: mjx.Data) -> jax.Array:
    """Returns (L,) what a camera student should be able to see, m.

    Raises:
        TaskError: no vector.
    """
    return _vector(task, "label", data)


def keypoints(task: Task, data: mjx.Data) -> jax.Array:
    """Returns (K, 3) points of the world that a student should find in its pictures, m.

    Raises:
        TaskError: no list of points.
    """
    find = getattr(task, "keypoints", None)
    if find is None:
        return jnp.zeros((0, 3))
    with _blamed(task, "keypoints"):
        found = jnp.asarray(find(data))
    if found.ndim != 2 or found.shape[-1] != 3:
        raise TaskError(
            f"{task.name}.keypoints returns {_described(found)}; return one point of the world a "
            "row, (K, 3) in m"
        )
    return found.astype(jnp.float32)


def goal_distance(task: Task, data: mjx.Data) -> jax.Array:
    """Returns how far the goal is, (1,) m, for those who look on; (0,) of a task that says nothing.

    Raises:
        TaskError: not one number.
    """
    measure = getattr(task, "goal_distance", None)
    if measure is None:
        return jnp.zeros(0)
    with _blamed(task, "goal_distance"):
        found: Any = measure(data)
    return _numbers(task, "goal_distance returns a length", found, ()).reshape(1)


def reward(task: Task, data: mjx.Data, action: jax.Array) -> StepResult:
    """Returns the verdict on the step that led to ``data`` under ``action`` (J,) in [-1, 1].

    Raises:
        TaskError: no StepResult, a reward that is not one number, or a flag that is no flag.
    """
    with _blamed(task, "reward"):
        found: Any = task.reward(data, action)
    if not isinstance(found, StepResult):
        raise TaskError(
            f"{task.name}.reward returns {_described(found)}; return StepResult(reward=..., "
            "on_goal=..., failed=...) of mjx_s2r.sim.task"
        )
    memory = found.memory
    if memory is not None:
        size = task.mj_model.nuserdata
        memory = _memory(task, "reward returns memory", memory, (size,))
    return StepResult(
        reward=_numbers(task, "reward returns reward", found.reward, ()),
        on_goal=_flag(task, "on_goal", found.on_goal),
        failed=_flag(task, "failed", found.failed),
        memory=memory,
    )


def call_all(task: Task, data: mjx.Data, action: jax.Array) -> dict[str, jax.Array]:
    """Returns what each of a task's functions makes of ``data``, a vector by name; no empty ones.

    Flags are numbers; the names are "signal 'NAME'", "privileged", "label", "keypoints" and those
    of StepResult.
    """
    out = {f"signal {name!r}": x for name, x in signals(task, data).items()}
    out |= {"privileged": privileged(task, data), "label": label(task, data)}
    out |= {"keypoints": keypoints(task, data)}
    result = reward(task, data, action)
    out |= {"reward": result.reward}
    out |= {} if result.memory is None else {"memory": result.memory}
    out |= {"on_goal": result.on_goal, "failed": jnp.asarray(result.failed)}
    return {name: x.astype(jnp.float32).reshape(-1) for name, x in out.items() if x.size}


def trace_task(task: Task, physics: Physics) -> frozenset[str]:
    """Calls all of a task's functions on shapes; returns the fields of mjx.Data that they read.

    Nothing is computed or compiled. Fields inside MJX's own part begin with "_impl.".

    Raises:
        TaskError: a function that raises, one that returns what `draw_start` and the others
            refuse, or one that reads a field that the engine does not compute.
    """
    blank, known = _without_counts(physics.empty_data), readable_fields(physics)
    jax.eval_shape(lambda key: draw_start(task, key=key), jax.random.key(0))
    action = jnp.zeros(len(task.contract.action.joints))
    calls: dict[str, Callable[[mjx.Data], Any]] = {
        "signals": lambda data: signals(task, data),
        "privileged": lambda data: privileged(task, data),
        "label": lambda data: label(task, data),
        "keypoints": lambda data: keypoints(task, data),
        "goal_distance": lambda data: goal_distance(task, data),
        "reward": lambda data: reward(task, data, action),
    }
    read: set[str] = set()
    for function, call in calls.items():
        found = _fields_read(call, blank, empty=physics.backend != "jax")
        for field in sorted(found - known):
            raise TaskError(f"{task.name}.{function} reads data.{field}, {_why(field, physics)}")
        read |= found
    return frozenset(read)


def reads_forces(read: frozenset[str]) -> bool:
    """Returns whether any of the fields ``read`` follows from more than state and positions."""
    return bool(read - STATE_FIELDS - POSITION_FIELDS)


class _CountError(Exception):
    """A function that reads a count; the message says what to read instead."""


class _Uncounted:
    """Stands for a count in MJX's Data, which is that of all places and not of those in use."""

    def _refuse(self, *_: Any) -> Any:
        raise _CountError(
            "reads a count of data._impl (ncon, nefc, ...), which in MJX is the number of places "
            "and never changes; count what touches, e.g. (data._impl.contact.dist < 0).sum()"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _refuse
    __gt__ = __ge__ = __lt__ = __le__ = __bool__ = __int__ = __index__ = __float__ = _refuse
    __rtruediv__ = __array__ = __jax_array__ = __pow__ = __neg__ = _refuse


def _without_counts(blank: mjx.Data) -> mjx.Data:
    """Returns a Data whose counts of contacts and constraints cannot be read."""
    counts = {name: _Uncounted() for name in ("ne", "nf", "nl", "nefc", "ncon")}
    return blank.replace(_impl=blank._impl.replace(**counts))


def _fields_read(call: Callable[[mjx.Data], Any], blank: mjx.Data, empty: bool) -> set[str]:
    """Returns the fields of Data that the results of ``call`` depend on; ``empty`` ones, too."""
    jaxpr = jax.make_jaxpr(call)(blank).jaxpr
    used = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1]
    paths = jax.tree_util.tree_leaves_with_path(blank)
    return {
        jax.tree_util.keystr(path).removeprefix(".")
        for (path, leaf), is_used in zip(paths, used, strict=True)
        if is_used and (empty or np.size(leaf))
    }


def _why(field: str, physics: Physics) -> str:
    """Returns why a field cannot be read, and what to read instead."""
    if field == "qfrc_fluid":
        return "which MJX adds to qfrc_passive and keeps nowhere else; read data.qfrc_passive"
    if physics.backend != "jax":
        return (
            f"which is not known with physics.backend {physics.backend!r} (docs/data_fields.md); "
            "read another field, or use physics.backend jax"
        )
    return "which MJX does not compute in a step; read another field (docs/data_fields.md)"


@contextmanager
def _blamed(task: Task, function: str) -> Iterator[None]:
    """Turns an error inside a task's function into one that names it; errors of ours pass."""
    try:
        yield
    except _CountError as error:
        raise TaskError(f"{task.name}.{function} {error}") from None
    except Exception as error:
        if type(error).__module__.startswith("mjx_s2r."):
            raise
        what = one_line(error, function)
        raise TaskError(f"{task.name}.{function} raises {what}{_remedy(error)}") from error


def one_line(error: BaseException, function: str = "") -> str:
    """Returns what an error in a user's file says, and where: in ``function``, if named."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if not function or frame.name == function][-1:]
    where = "".join(f" ({frame.filename}:{frame.lineno})" for frame in inside)
    lines = str(error).strip().splitlines() or ["no word"]
    return f"{type(error).__name__}: {lines[0]}{where}"


def _remedy(error: Exception) -> str:
    """Returns what to do about an error that first tasks often meet, or nothing."""
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "; inside a compiled program use jnp.where, & and | instead of if, and, or"
    if isinstance(error, AttributeError) and "'Data'" in str(error):
        return "; mjx.Data has fewer fields than C's MjData, see docs/data_fields.md"
    return ""


def _numbers(task: Task, what: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
    """Returns ``value`` as float32 of ``shape``; one number may have any axes.

    Raises:
        TaskError: no numbers, or another shape.
    """
    array = _array(task, what, value)
    if array.shape != shape and not (array.size == np.prod(shape) and array.size <= 1):
        raise TaskError(f"{task.name}.{what} of shape {array.shape}; it must have shape {shape}")
    return array.astype(jnp.float32).reshape(shape)


def _memory(task: Task, what: str, value: Any, shape: tuple[int, ...]) -> jax.Array:
    """Returns what a task remembers as float32 of ``shape``."""
    array = _array(task, what, value)
    if array.shape != shape:
        raise TaskError(
            f"{task.name}.{what} of shape {array.shape}, and the MuJoCo model has room for "
            f'{shape[0]} numbers; write <size nuserdata="{array.size}"/> into it'
        )
    return array.astype(jnp.float32)


def _vector(task: Task, function: str, data: mjx.Data) -> jax.Array:
    """Returns what a function makes of ``data``, a float32 vector; one number is one of one."""
    with _blamed(task, function):
        found = getattr(task, function)(data)
    array = _array(task, f"{function} returns", found, "; return jnp.zeros((0,)) for nothing")
    if array.ndim > 1:
        raise TaskError(
            f"{task.name}.{function} returns shape {array.shape}; it must be one vector, e.g. by "
            "reshape(-1)"
        )
    return array.astype(jnp.float32).reshape(-1)


def _flag(task: Task, name: str, value: Any) -> jax.Array:
    """Returns a flag as () bool; whole numbers count as flags, others are no answer."""
    array = _array(task, f"reward returns {name}", value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        raise TaskError(
            f"{task.name}.reward returns {name} of type {array.dtype}, and a number is no yes or "
            "no; return a comparison, e.g. distance < 0.02"
        )
    if array.size != 1:
        raise TaskError(
            f"{task.name}.reward returns {name} of shape {array.shape}; it must be one bool, e.g. "
            "by .any() or .all()"
        )
    return array.astype(bool).reshape(())


def _array(task: Task, what: str, value: Any, remedy: str = "") -> jax.Array:
    """Returns ``value`` as an array of real numbers or flags."""
    wrong = f"{task.name}.{what} {_described(value)}, which is no array of numbers{remedy}"
    if value is None or isinstance(value, str | bytes | Mapping) or is_dataclass(value):
        raise TaskError(wrong)
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TaskError(f"{wrong} ({str(error).splitlines()[0]})") from error
    if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool) or jnp.issubdtype(
        array.dtype, jnp.complexfloating
    ):
        raise TaskError(wrong)
    return array


def _described(value: Any) -> str:
    """Returns what a value is, in a word or two."""
    if value is None:
        return "None"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype}, shape {tuple(value.shape)}"
    shown = repr(value) if isinstance(value, int | float | str | bool) else ""
    return f"{type(value).__name__} {shown}".strip()
