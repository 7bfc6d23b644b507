"""Servos too stiff for their force or their time step, beside what C MuJoCo makes of them."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.registry import make_task, task_names
from mjx_s2r.mjcf.checks import check_model, start_data
from mjx_s2r.mjcf.finding import ModelFinding
from mjx_s2r.mjcf.gains import check_gains, servo_gains

# Two links in line without gravity; the joints' inertia is mostly armature.
ARM = """<mujoco><option timestep="{dt}" integrator="{integrator}" gravity="0 0 0"/>
<worldbody><body name="a"><joint name="a" axis="0 1 0" armature="{armature}" damping="{loss}"/>
<geom size=".03" mass=".2" pos=".1 0 0"/>
<body name="b" pos=".2 0 0"><joint name="b" axis="0 1 0" armature="{armature}" damping="{loss}"/>
<geom size=".03" mass=".1" pos=".1 0 0"/></body></body></worldbody>
<actuator><position name="a" joint="a" kp="{kp}" kv="{kv}" forcerange="-{force} {force}"/>
<position name="b" joint="b" kp="{kp}" kv="{kv}" forcerange="-{force} {force}"/></actuator>
</mujoco>"""
USUAL = {"dt": 2e-3, "integrator": "Euler", "armature": 0.02, "loss": 0.5, "force": 3.0}


def arm(kp: float, kv: float, **more: object) -> mujoco.MjModel:
    """Returns the arm with these gains."""
    return mujoco.MjModel.from_xml_string(ARM.format(**USUAL | {"kp": kp, "kv": kv} | more))


def told(m: mujoco.MjModel) -> list[ModelFinding]:
    return list(check_gains(m, start_data(m)))


def test_a_servo_that_is_a_relay_is_told_with_gains_that_are_none() -> None:
    """As the SO-101 is published: 2.9 N m at 0.17 degrees."""
    (found,) = told(arm(998.0, 2.7, force=2.94))
    assert (found.severity, found.element) == ("note", "actuator 'a' and 1 more")
    assert "0.17 deg" in found.value and "2.94 N m" in found.value
    kp, kv = (float(found.remedy.split(f'{name}="')[1].split('"')[0]) for name in ("kp", "kv"))
    assert kp == pytest.approx(29.4) and not told(arm(kp, kv, force=2.94))


@pytest.mark.parametrize(
    ("kp", "kv", "force"),
    [
        (50.0, 2.0, 3.0),  # a usual servo: all force at 3.4 degrees
        (2000.0, 200.0, 12.0),  # stiff and heavily damped: at 0.34 degrees, and sound
    ],
)
def test_servos_that_work_are_not_told(kp: float, kv: float, force: float) -> None:
    assert not told(arm(kp, kv, force=force, integrator="implicitfast"))


HINGE = """<mujoco><option timestep="1e-5" gravity="0 0 0"/><worldbody><body><joint name="a"
axis="0 1 0" armature=".03"/><geom size=".01" mass=".01"/></body></worldbody><actuator>
<position joint="a" kp="{kp}" kv="{kv}" forcerange="-3 3"/></actuator></mujoco>"""


@pytest.mark.parametrize(("kp", "kv"), [(1000.0, 3.0), (1000.0, 11.0), (300.0, 2.0)])
def test_steps_overshoot_from_the_stated_size_on(kp: float, kv: float) -> None:
    """The motion in C MuJoCo: fully pushed, it passes the goal above the stated step alone.

    Below it the linear servo's own overshoot may remain, which is no more than F/K.
    """
    m = mujoco.MjModel.from_xml_string(HINGE.format(kp=kp, kv=kv))
    (servo,) = servo_gains(m, start_data(m))

    def passes(step: float) -> float:
        """Returns by how much the goal is passed after a step, beyond the servo's linear band."""
        data, most = mujoco.MjData(m), 0.0
        data.ctrl[0] = step
        for _ in range(60_000):
            mujoco.mj_step(m, data)
            most = max(most, float(data.qpos[0]) - step)
        return most - servo.full_at

    small, large = (passes(x * servo.largest_step + servo.full_at) for x in (0.8, 3.0))
    assert small < 0 < large


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast"])
@pytest.mark.parametrize(
    ("kp", "kv"), [(1e3, 1.0), (2e4, 1.0), (4e4, 50.0), (5e4, 1.0), (1e3, 30.0), (1e2, 200.0)]
)
def test_what_cannot_be_stepped_grows_in_mujoco(kp: float, kv: float, integrator: str) -> None:
    m = arm(kp, kv, integrator=integrator, force=1e9, loss=0.0)
    data = mujoco.MjData(m)
    data.qvel[:] = (1e-6, -1e-6)
    for _ in range(400):
        mujoco.mj_step(m, data)
        if not np.abs(data.qvel).max() < 1e-2:
            break
    bursts = not np.abs(data.qvel).max() < 1e-2
    found = [one for one in told(m) if one.severity == "differs"]
    assert bool(found) == bursts
    assert not found or "too stiff for steps of 0.002 s" in found[0].value


def test_only_large_parts_of_what_collides_must_collide() -> None:
    box = 'vertex="0 0 0 1 0 0 0 1 0 0 0 1"'
    xml = """<mujoco><asset><mesh name="m" scale=".1 .1 .1" {box}/><mesh name="s"
    scale=".01 .01 .01" {box}/></asset><worldbody><geom type="plane" size="1 1 1"/>
    <body name="base" pos="0 0 .5">
    <geom type="mesh" mesh="m" contype="0" conaffinity="0" {base}/>
    <body name="arm" pos="0 0 .1"><joint axis="1 0 0"/><geom size=".02"/>
    <body name="screw" pos="0 0 .1"><joint axis="1 0 0"/><inertial pos="0 0 0" mass="1"
    diaginertia="1 1 1"/><geom type="mesh" mesh="s" contype="0" conaffinity="0"/></body></body>
    </body>{more}</worldbody></mujoco>"""

    def missing(base: str = "", more: str = "") -> list[ModelFinding]:
        m = mujoco.MjModel.from_xml_string(xml.format(box=box, base=base, more=more))
        return [f for f in check_model(m, "mjcf") if "no geom that collides" in f.value]

    (found,) = missing()
    assert found.element == "body 'base'"
    whole = f'/>{found.remedy[found.remedy.index("<geom") : found.remedy.index("/>")]} name="new"'
    assert not missing(whole)
    m = mujoco.MjModel.from_xml_string(xml.format(box=box, base=whole, more=""))
    np.testing.assert_allclose(m.geom("new").size, 0.05, atol=1e-4)  # the box about the mesh
    assert not missing('group="3"')  # what is not shown need not be touched
    marker = '<body mocap="true"><geom type="mesh" mesh="m" contype="0" conaffinity="0"/></body>'
    assert len(missing(more=marker)) == 1


@pytest.mark.parametrize("name", task_names())
def test_shipped_models_are_sound(name: str) -> None:
    m = make_task(name).mj_model
    amiss = [*told(m), *(f for f in check_model(m, "mjcf") if "no geom that" in f.value)]
    assert not amiss
