"""The check of a task against C MuJoCo finds what differs, acts not or is no number, by name."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.envs.registry import task_names
from mjx_s2r.eval.engine_check import CheckResult, check_engine
from mjx_s2r.params import ParamError, ParamSpace, add, scale
from mjx_s2r.sim import env as environment
from mjx_s2r.sim import physics
from mjx_s2r.sim.env import make
from mjx_s2r.sim.task import InitialState, StepResult
from mjx_s2r.sim.task_defaults import TaskDefaults
from train import check
from train.check import CheckConfig

# A pendulum with a gyro, a post on the world, and a ball that hangs far above the floor.
XML = """
<mujoco><option timestep="0.005"/><worldbody>
  <geom name="floor" type="plane" size="1 1 .1"/>
  <body name="post" pos="1 0 0"><geom name="post" size=".1" mass="1"/></body>
  <body name="pole" pos="0 0 2"><joint name="hinge" axis="0 1 0" damping=".05"/>
    <geom name="pole" type="capsule" size=".02" fromto="0 0 0 0 0 -.4" mass=".3"/>
    <site name="imu" pos="0 0 -.4"/></body>
</worldbody>
<actuator><motor name="hinge" joint="hinge"/></actuator>
<sensor><gyro name="gyro" site="imu"/></sensor></mujoco>
"""
SPACE = ParamSpace(
    (
        scale("mass", "model.body_mass", ("pole",), (0.5, 2.0)),
        add("damping", "model.dof_damping", ("hinge",), (0.0, 0.2)),
        scale("grip", "model.geom_friction", ("pole",), (1.0, 1.5)),
    )
)
CONTRACT = PolicyContract(
    "swing",
    50.0,
    (Signal("angle", 1, "rad"), Signal("gyro", 3, "rad/s")),
    ActionSpec(("hinge",), "effort", "N m", (0.4,), (0.0,), (-0.4,), (0.4,), (np.inf,), (0.4,)),
)


@dataclass(frozen=True)
class Swing(TaskDefaults):
    """See `mjx_s2r.sim.task.Task`."""

    episode_s: float = 2.0
    hold_s: float = 0.1
    space: ParamSpace = SPACE
    contract: PolicyContract = CONTRACT
    mj_model: mujoco.MjModel = field(default_factory=lambda: mujoco.MjModel.from_xml_string(XML))

    def reset(self, *, key: jax.Array) -> InitialState:
        """Lets go anywhere."""
        return InitialState(jax.random.uniform(key, (1,), minval=-2.0, maxval=2.0))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """The angle and the gyro."""
        return {"angle": data.qpos, "gyro": data.sensordata}

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Where the tip is: (3,)."""
        return data.site_xpos[0]

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Height of the tip."""
        height = data.site_xpos[0, 2]
        return StepResult(height, height > 2.3)


class Hasty(Swing):
    """Steps that the model's timestep does not make a control step of."""

    @property
    def substeps(self) -> int:
        """Too few."""
        return 3


def checked(task: Any, rows: str = "*", **settings: Any) -> dict[str, CheckResult]:
    """Returns the verdicts of a short check by name."""
    made = make(task)
    chosen = check.select_rows(made.space, rows)
    found = check_engine(made, chosen, seconds=0.2, starts=2, **settings)
    return {v.name: v for v in found}


@pytest.mark.slow
def test_a_sound_task_is_told_so_and_a_row_that_does_nothing_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mass of what is fixed acts not, as if no check of the table had refused it."""
    monkeypatch.setattr("mjx_s2r.sim.model.row_checks.check", lambda *_: None)
    monkeypatch.setattr("mjx_s2r.sim.env.refuse_rows_without_effect", lambda *_, **__: None)
    post = scale("post", "model.body_mass", ("post",), (0.5, 2.0))
    config = CheckConfig(seconds=0.2, starts=2)
    found = check.check(Swing(space=ParamSpace((*SPACE.rows, post))), config)
    by_name = {v.name: v for v in found}
    assert [v.name for v in found if v.failed] == ["post"]
    assert by_name["post"].verdict == "acts not"
    assert "model.body_mass at 0.5 and at 2" in by_name["post"].text
    assert by_name["grip"].verdict == "not tried" and "touched nothing" in by_name["grip"].text
    alike = {"(nominal)", "mass", "damping", "signal 'angle'", "signal 'gyro'", "privileged"}
    assert {by_name[n].verdict for n in alike | {"reward", "on_goal", "failed"}} == {"ok"}
    told = json.loads(json.dumps(check.to_json(found, config), allow_nan=False))
    assert not told["ok"] and len(told["verdicts"]) == len(found)


class Divides(Swing):
    """Divides by a speed that is zero at the start."""

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """As before, but for the angle."""
        return {"angle": data.qvel / data.qvel, "gyro": data.sensordata}


@pytest.fixture(scope="module")
def faulty() -> dict[str, CheckResult]:
    """The verdicts on three faults at once: a damping, a sensor and a signal.

    The damping is 5 % too large away from nominal. The sensor reads zeros, as in a Data in which
    only positions are new. The signal is `Divides`'s.
    """
    true_leaves, true_forward = environment.leaves, physics.forward_all

    def off(*given: Any) -> physics.Leaves:
        """Returns a damping that is 5 % too large away from nominal."""
        out = true_leaves(*given)
        nominal = jnp.asarray(Swing().mj_model.dof_damping, jnp.float32)
        return {**out, "dof_damping": nominal + 1.05 * (out["dof_damping"] - nominal)}

    def stale(*given: Any) -> mjx.Data:
        """Returns Data without sensors."""
        data = true_forward(*given)
        return data.replace(sensordata=jnp.zeros_like(data.sensordata))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "leaves", off)
        patch.setattr(physics, "forward_all", stale)
        return checked(Divides(), "damping,mass")


@pytest.mark.slow
def test_a_field_that_is_off_in_the_engine_is_found_at_its_row(
    faulty: dict[str, CheckResult],
) -> None:
    assert faulty["damping"].verdict == "differs" and faulty["damping"].failed
    assert "row 'damping' at 0.2: " in faulty["damping"].text
    assert "'hinge'" in faulty["damping"].text
    assert {faulty["(nominal)"].verdict, faulty["mass"].verdict} == {"ok"}


@pytest.mark.slow
def test_a_signal_that_reads_the_past_or_is_no_number_is_named(
    faulty: dict[str, CheckResult],
) -> None:
    assert faulty["signal 'gyro'"].verdict == "differs"
    assert "signal 'gyro'[1] at" in faulty["signal 'gyro'"].text
    assert faulty["signal 'angle'"].verdict == "not finite"
    assert "at a start" in faulty["signal 'angle'"].text
    assert {faulty["reward"].verdict, faulty["mass"].verdict} == {"ok"}


def test_what_cannot_be_bound_is_the_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = check.check(Hasty(), CheckConfig())
    assert (found.section, found.verdict) == ("task", "refused") and "substeps" in found.text
    monkeypatch.setattr(check, "make_task", lambda name, ranges: Hasty())
    assert check.main(("--task", "swing")) == 1


def test_bad_options_are_refused_by_name() -> None:
    with pytest.raises(ParamError, match="masss"):
        check.check(Swing(), CheckConfig(rows="masss"))
    with pytest.raises(ValueError, match=r"seconds 0\.0"):
        CheckConfig(seconds=0.0)
    with pytest.raises(ValueError, match="starts 0"):
        CheckConfig(starts=0)


def test_rows_that_were_not_compared_are_named_with_their_reasons() -> None:
    delay = add("delay", "actuator.delay", None, (0.0, 0.02))
    kept = replace(SPACE.rows[1], limits=(0.1, 0.1), initial=(0.1, 0.1), nominal=0.1)
    space = ParamSpace((SPACE.rows[0], kept, SPACE.rows[2], delay))
    found = [CheckResult("rows", "mass", "ok"), CheckResult("rows", "grip", "not tried")]
    lines = check.not_compared(space, CheckConfig(), found)
    assert [line.partition(": ")[2] for line in lines] == [
        "1 of 4 rows, since C MuJoCo has none of actuator, which are ours in any engine: delay",
        "1 of 4 rows, since a range fixes them: damping",
        "1 of 4 rows, since these worlds did not tell, see above: grip",
    ]
    assert (
        "--rows leaves them out: mass, damping, grip"
        in check.not_compared(space, CheckConfig(rows="delay"), [])[1]
    )


def test_the_engine_of_a_training_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pendulum is too small for C MuJoCo to be faster; of another one it is asked."""
    assert check.training_engine(Swing()) == "jax"
    monkeypatch.setattr(check, "faster_in_c", lambda _: True)
    monkeypatch.setattr(environment, "faster_in_c", lambda _: True)
    assert check.training_engine(Swing()) == "c"
    assert "C MuJoCo itself here" in check.engine_told("c", "jax")
    assert "MJX on jax, which training takes on an accelerator" in check.engine_told("c", "jax")
    assert check.engine_told("jax", "jax").endswith("here, which is compared with C MuJoCo")


@pytest.mark.slow
@pytest.mark.parametrize("task", [name for name in task_names() if name != "pendulum"])
def test_shipped_tasks_are_those_of_c(task: str) -> None:
    """Rows, signals and rewards; height fields and a box in a hand touch otherwise, as is told."""
    found = check.check(check.make_task(task), CheckConfig(task=task))
    assert [v.text for v in found if v.failed] == []
    if task not in ("quadruped_rough", "reorient"):
        assert [v.text for v in found if v.verdict == "other points"] == []
