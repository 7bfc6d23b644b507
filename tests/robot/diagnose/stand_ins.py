"""One joint in C MuJoCo with known parameters, and a routine flown on it as the command does."""

from dataclasses import dataclass
from pathlib import Path

import mujoco

from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.diagnose.estimate import Diagnosis
from mjx_s2r.robot.diagnose.excitation import diagnosis_contract
from mjx_s2r.robot.diagnose.routines import ROUTINES, rest_readings
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Rig
from mjx_s2r.robot.drivers.sim_robot import SimRobot
from mjx_s2r.robot.log import FlightLog, read
from mjx_s2r.robot.safety import Guard, SafetyConfig


@dataclass(frozen=True)
class Truth:
    """The parameters of one joint; the link is a rod of ``mass`` whose end lies at ``length``.

    ``step_s`` is of the physics; a command takes effect at its next step.
    """

    damping: float = 0.15
    dry: float = 0.08
    armature: float = 0.02
    mass: float = 0.5
    length: float = 0.3
    level: bool = False
    kp: float = 0.0
    kd: float = 0.0
    step_s: float = 0.001

    @property
    def link_inertia(self) -> float:
        """Of the point mass at the end of the link, kg m^2."""
        return self.mass * self.length**2 * (not self.level) + SPHERE

    @property
    def inertia(self) -> float:
        """About the joint, kg m^2."""
        return self.link_inertia + self.armature


SPHERE = 0.0005  # kg m^2, of the mass about its own middle


def model_of(truth: Truth) -> mujoco.MjModel:
    """Returns the model.

    MuJoCo's dry friction is soft: at low speed it asks for a deceleration of twice the speed over a
    time constant, which can be no shorter than two steps of physics.
    """
    servo = f'<position name="j" joint="j" kp="{truth.kp}" kv="{truth.kd}" forcerange="-20 20"/>'
    motor = '<motor name="j" joint="j" ctrlrange="-4 4" ctrllimited="true"/>'
    return mujoco.MjModel.from_xml_string(f"""
    <mujoco><compiler angle="radian"/>
      <option timestep="{truth.step_s}" gravity="0 0 -9.81" integrator="RK4">
        <flag contact="disable"/></option>
      <worldbody><body><joint name="j" axis="{"0 0 1" if truth.level else "0 1 0"}" range="-2 2"
        damping="{truth.damping}" frictionloss="{truth.dry}"
        armature="{truth.armature}" solreffriction="{2 * truth.step_s} 1"
        solimpfriction="0.99 0.999 0.001"/>
        <inertial pos="0 0 -{truth.length}" mass="{truth.mass}"
          diaginertia="{SPHERE} {SPHERE} {SPHERE}"/></body></worldbody>
      <actuator>{servo if truth.kp else motor}</actuator></mujoco>""")


def fly_routine(
    folder: Path,
    truth: Truth,
    settings: DiagnosisSettings,
    reality: Imperfections,
    hz: float = 50.0,
) -> Diagnosis:
    """Returns what a routine finds of a stand-in."""
    clock = VirtualClock()
    rig = Rig(("j",), 500.0, max_rate=(6.0,) if truth.kp else ())
    robot = SimRobot(model_of(truth), rig, clock, reality)
    robot.connect()
    info = robot.describe()
    contract = diagnosis_contract(info, hz)
    guard = Guard.build(SafetyConfig(), contract, info)
    routine = ROUTINES[settings.what]
    settings = routine.complete(settings, contract)
    rest = rest_readings(robot, clock, contract)
    plan = routine.plan(settings, guard, info, rest)
    path = folder / f"{settings.what}-{reality.seed}.log"
    with FlightLog(path, contract, info.name, {}, driver=info) as log:
        done = run(
            robot, plan.actor, clock, ControllerConfig(duration_s=plan.seconds), log,
            until=lambda r: plan.done() or plan.leaves(r),
        )  # fmt: skip
    assert done.reason == "until" and plan.done(), (done.reason, done.stopped_by)
    found = routine.fit(read(path), settings)[0]
    path.unlink()
    return found
