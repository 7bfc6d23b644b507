"""What a task's functions return is cast where that is harmless, else refused with a sentence."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.sim.env import make
from mjx_s2r.sim.task import InitialState, StepResult, TaskError
from mjx_s2r.sim.task_calls import draw_start, goal_distance
from tests.sim.toy import Toy

NO = np.zeros((), bool)


def returning(function: str, result: Callable[..., Any]) -> Any:
    """Returns the toy whose ``function`` returns what ``result`` makes of its arguments."""
    if function == "reset":
        return type("Odd", (Toy,), {"reset": lambda self, *, key: result(key)})()
    return type("Odd", (Toy,), {function: lambda self, *args: result(*args)})()


HARMLESS: dict[str, tuple[str, Callable[..., Any]]] = {
    "whole numbers": ("reset", lambda key: InitialState(jnp.zeros(1, int), jnp.zeros(1, int))),
    "lists": ("reset", lambda key: InitialState([0.0], [0.0], [], [])),  # type: ignore[arg-type]
    "double precision": ("reset", lambda key: InitialState(np.zeros(1))),  # type: ignore[arg-type]
    "a number for one reading": (
        "signals",
        lambda data: {"position": data.qpos[0], "speed": 0},
    ),
    "a single privileged value": ("privileged", lambda data: data.qpos[0]),
    "a Python number": ("reward", lambda data, action: StepResult(1, False, True)),  # type: ignore[arg-type]
    "vectors of one": (
        "reward",
        lambda data, action: StepResult(data.qpos, data.qpos > 1, data.qpos < -1),
    ),
    "flags in whole numbers": (
        "reward",
        lambda data, action: StepResult(jnp.float32(1), jnp.int32(1), jnp.uint8(0)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("function", "result"), HARMLESS.values(), ids=HARMLESS.keys())
def test_harmless_types_are_cast(function: str, result: Callable[..., Any]) -> None:
    env = make(returning(function, result))

    def step(state: Any, _: None) -> tuple[Any, None]:
        return env.step(state, jnp.zeros(1)), None

    def three(key: jax.Array) -> Any:
        return jax.lax.scan(step, env.reset(key), length=3)[0]

    state = jax.eval_shape(three, jax.random.key(0))
    assert state.reward.dtype == jnp.float32 and state.reward.shape == ()
    assert {x.dtype for x in state.obs.values()} == {jnp.dtype("float32")}


REFUSED: dict[str, tuple[str, Callable[..., Any], str]] = {
    "a tuple as start": ("reset", lambda key: (jnp.zeros(1),), r"reset returns tuple.*Initial"),
    "another size": ("reset", lambda key: InitialState(jnp.zeros(2)), r"qpos of shape \(2,\).*1,"),
    "no qpos": ("reset", lambda key: InitialState(None), "reset returns qpos None"),  # type: ignore[arg-type]
    "speeds of another size": (
        "reset",
        lambda key: InitialState(jnp.zeros(1), jnp.zeros(3)),
        r"qvel of shape \(3,\)",
    ),
    "a mocap body that is not there": (
        "reset",
        lambda key: InitialState(jnp.zeros(1), mocap_pos=jnp.zeros((1, 3))),
        r"mocap_pos of shape \(1, 3\)",
    ),
    "a list of signals": ("signals", lambda data: [data.qpos], "signals returns list.*dict"),
    "a missing signal": ("signals", lambda data: {"position": data.qpos}, "not 'speed'"),
    "a signal too many": (
        "signals",
        lambda data: {"position": data.qpos, "speed": data.qvel, "gyro": data.qvel},
        "returns 'gyro', which the contract does not list",
    ),
    "the command": (
        "signals",
        lambda data: {"position": data.qpos, "speed": data.qvel, "command": data.ctrl},
        "'command', which the environment adds",
    ),
    "a signal of another size": (
        "signals",
        lambda data: {"position": data.xpos[1], "speed": data.qvel},
        r"'position' of shape \(3,\)",
    ),
    "a word as signal": (
        "signals",
        lambda data: {"position": "far", "speed": data.qvel},
        "'position' str 'far'",
    ),
    "nothing privileged": ("privileged", lambda data: None, "privileged returns None.*zeros"),
    "two axes": ("privileged", lambda data: data.xpos, r"privileged returns shape \(2, 3\)"),
    "a dict as label": ("label", lambda data: {"x": data.qpos}, "label returns dict"),
    "complex numbers": ("label", lambda data: data.qpos * 1j, "label returns.*complex"),
    "a bare reward": ("reward", lambda data, action: action[0], "returns an array.*StepResult"),
    "a vector of rewards": (
        "reward",
        lambda data, action: StepResult(data.xpos[1], NO, NO),  # type: ignore[arg-type]
        r"reward of shape \(3,\)",
    ),
    "a distance as goal": (
        "reward",
        lambda data, action: StepResult(action[0], data.qpos[0], NO),  # type: ignore[arg-type]
        "on_goal of type float32.*distance < 0.02",
    ),
    "many flags": (
        "reward",
        lambda data, action: StepResult(action[0], NO, data.xpos[1] > 0),  # type: ignore[arg-type]
        r"failed of shape \(3,\).*any\(\)",
    ),
    "an if": (
        "reward",
        lambda data, action: StepResult(1.0 if data.qpos[0] > 0 else 0.0, NO, NO),  # type: ignore[arg-type]
        r"raises TracerBoolConversionError.*jnp\.where",
    ),
    "a field that is not there": (
        "label",
        lambda data: data.energy,
        r"label raises AttributeError.*data_fields\.md",
    ),
}


@pytest.mark.parametrize(("function", "result", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_refused_by_name(
    function: str, result: Callable[..., Any], words: str
) -> None:
    with pytest.raises(TaskError) as caught:
        make(returning(function, result))
    assert re.search(words, str(caught.value), re.S), str(caught.value)
    assert str(caught.value).startswith("toy.") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("substeps", 0, "substeps 0"),
        ("substeps", 2.0, "substeps is float 2.0"),
        ("episode_s", 0.0, "episode_s 0.0"),
        ("hold_s", float("nan"), "hold_s nan"),
        ("episode_s", 0.001, "less than one control step"),
        ("success_reward", float("inf"), "success_reward inf"),
        ("ends_on_success", 1, "ends_on_success is int 1"),
        ("mj_model", "robot.xml", "mj_model is str 'robot.xml'"),
        ("space", (), "space is tuple"),
        ("label", None, "no function 'label'"),
    ],
)
def test_parts_of_another_kind_are_refused(part: str, value: Any, words: str) -> None:
    task = Toy()
    object.__setattr__(task, part, value)
    with pytest.raises(TaskError, match=re.escape(words)):
        make(task)


def test_a_goal_that_need_not_be_held_must_be_reached() -> None:
    env = make(Toy(hold_s=0.0))

    def run(place: float) -> jax.Array:
        first = env.reset(jax.random.key(0))
        sim = first.pipeline_state
        core = sim.physics_state.replace(qpos=jnp.full(1, place))
        moved = first.replace(pipeline_state=sim.replace(physics_state=core))  # type: ignore[attr-defined]
        return env.step(moved, jnp.zeros(1)).metrics["success"]

    assert [float(jax.jit(run)(x)) for x in (0.0, 1.5)] == [0, 1]


def test_what_is_absent_is_the_models_own() -> None:
    xml = """<mujoco><worldbody>
      <body name="two" mocap="true" pos="0 2 0"/><body name="one" mocap="true" pos="1 0 0"/>
      <body><joint type="slide"/><geom size="1"/></body></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    task = returning("reset", lambda key: InitialState(jnp.ones(1)))
    object.__setattr__(task, "mj_model", model)
    start = draw_start(task, key=jax.random.key(0))
    data = mujoco.MjData(model)
    np.testing.assert_allclose(start.mocap_pos, data.mocap_pos)
    np.testing.assert_allclose(start.mocap_quat, data.mocap_quat)
    np.testing.assert_allclose(start.qvel, 0)


@pytest.mark.slow
def test_a_world_whose_observations_are_not_finite_is_ended_zeroed_and_counted() -> None:
    def root(data: mjx.Data) -> jax.Array:
        return jnp.sqrt(data.qpos + 0.2)  # no number left of -0.2

    lost = {
        "signals": lambda data: {"position": root(data), "speed": data.qvel},
        "privileged": root,
        "label": lambda data: root(data) + 1,
    }
    for function, result in lost.items():
        env = make(returning(function, result))

        def run(key: jax.Array, env: Any = env) -> Any:
            def step(state: Any, _: None) -> tuple[Any, Any]:
                after = env.step(state, -jnp.ones(1))
                return after, (after.metrics["nan"], after.done, after.obs)

            return jax.lax.scan(step, env.reset(key), length=30)[1]

        nan, done, obs = jax.jit(run)(jax.random.key(0))
        first = int(np.argmax(np.asarray(nan)))
        assert nan[first] == 1 and done[first] == 1 and first > 0, function
        assert all(np.isfinite(x).all() for x in obs.values()), function
        assert all((np.asarray(x)[first] == 0).all() for x in obs.values()), function


def test_a_start_that_is_not_finite_is_counted_in_the_first_step() -> None:
    """A direction of motion is 0 / 0 at rest; one that the first reading alone shows counts too."""
    env = make(
        returning("signals", lambda d: {"position": d.qpos, "speed": d.qvel / jnp.abs(d.qvel)})
    )
    first = jax.jit(env.reset)(jax.random.key(0))
    after = jax.jit(env.step)(first, jnp.ones(1))
    assert first.metrics["nan"] == 1 and all(np.isfinite(x).all() for x in first.obs.values())
    assert after.metrics["nan"] == 1 and after.done == 1 and bool(after.info["terminated"])


def test_a_task_may_say_how_far_its_goal_is() -> None:
    data = mjx.make_data(Toy().mj_model)
    assert goal_distance(Toy(), data).shape == (0,), "most tasks say nothing"
    near: Any = returning("goal_distance", lambda data: data.qpos + 2)
    assert goal_distance(near, data).tolist() == [2.0]
    odd: Any = returning("goal_distance", lambda data: jnp.zeros(2))
    with pytest.raises(TaskError, match=r"goal_distance returns a length of shape \(2,\)"):
        goal_distance(odd, data)
