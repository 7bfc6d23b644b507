"""Which engine "auto" takes, and that a run goes on with the one that it took."""

from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax
import mujoco
import pytest

from mjx_s2r.api.teacher import TeacherConfig, with_engine_kept, with_engine_taken
from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.sim.backends.physics_config import PhysicsConfig, faster_in_c
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.task import StepResult
from mjx_s2r.sim.task_defaults import TaskDefaults

LINK = '<body pos="0 0 0.1"><joint name="j{}" axis="0 1 0"/><geom size="0.02"/>'


def arm(joints: int, ground: str = "") -> mujoco.MjModel:
    """Returns an arm of hinges with one motor."""
    links = "".join(LINK.format(i) for i in range(joints)) + "</body>" * joints
    asset = '<asset><hfield name="g" nrow="2" ncol="2" size="1 1 .1 .1"/></asset>' * bool(ground)
    return mujoco.MjModel.from_xml_string(
        f'<mujoco>{asset}<option timestep="0.02"/><worldbody>{ground}{links}</worldbody>'
        f'<actuator><motor name="m" joint="j0" ctrlrange="-1 1"/></actuator></mujoco>'
    )


@dataclass(frozen=True, eq=False)
class Arm(TaskDefaults):
    """An arm whose reward is nothing, or what MJX alone computes."""

    mj_model: mujoco.MjModel
    reads: str = "qpos"
    contract: PolicyContract = PolicyContract(  # noqa: RUF009
        "arm",
        50.0,
        (Signal("joint_pos", 3, "rad"),),
        ActionSpec(("j0",), "effort", "N m", (1,), (0,), (-1,), (1,), (9e9,), (1,)),
    )

    def signals(self, data: Any) -> dict[str, jax.Array]:
        """Returns the joints' positions."""
        return {"joint_pos": data.qpos[:3]}

    def reward(self, data: Any, action: jax.Array) -> StepResult:
        """Returns nothing, by the field."""
        value = attrgetter(self.reads)(data).ravel()[0]
        return StepResult(0.0 * value, value > 1e9)


def engine(task: Any) -> str:
    """Returns the engine that a task is given where it may be any."""
    return make(task, PhysicsConfig("auto")).physics.backend


def test_all_but_the_smallest_models_are_faster_in_c() -> None:
    assert [faster_in_c(arm(n)) for n in (1, 2, 3, 6)] == [False, False, True, True]


def test_ground_of_its_own_stays_in_mjx() -> None:
    assert not faster_in_c(arm(3, '<geom type="hfield" hfield="g"/>'))


def test_nothing_is_faster_in_c_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not faster_in_c(arm(6))


def test_a_task_that_c_cannot_serve_is_stepped_by_mjx() -> None:
    """Composite inertias are known in MJX alone."""
    assert engine(Arm(arm(3))) == "c"
    assert engine(Arm(arm(3), reads="_impl.crb")) == "jax"


@pytest.mark.parametrize("backend", ["c", "jax"])
def test_a_run_keeps_the_engine_that_it_took(backend: Any, tmp_path: Path) -> None:
    asked = TeacherConfig(run=tmp_path)
    assert asked.physics.backend == "auto"
    env = make(Arm(arm(3)), PhysicsConfig(backend))
    taken = with_engine_taken(asked, env)
    assert isinstance(env, Env) and taken.physics.backend == backend
    again = with_engine_kept(asked, {"physics": {"backend": backend}})
    assert again == taken
    told = replace(asked, physics=PhysicsConfig("jax"))
    assert with_engine_kept(told, {"physics": {"backend": "c"}}) == told


def test_runs_of_before_the_choice_go_on_in_mjx() -> None:
    assert with_engine_kept(TeacherConfig(), {}).physics.backend == "jax"
