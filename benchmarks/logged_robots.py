"""Simulated robots whose numbers are known, and the flight logs that they leave.

Three kinds: reach's arm with rows of its own table, a two-link arm and a pan-tilt head. Each
individual is another draw of the kind's rows. It runs in C MuJoCo at a time step that is small
beside the model's (a robot has none), with a converged solver and the flaws of a bus and of
encoders, and is driven through controller and guard by a random motion, as `mjx-s2r-robot collect
random --together` does. What is identified is read from the flight log alone.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import mujoco
import numpy as np

from benchmarks.rows import BenchmarkError
from mjx_s2r.envs.registry import make_task
from mjx_s2r.params import Param, ParamSpace, add, scale, set_to
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.collect.actors import MotionActor, motion_contract
from mjx_s2r.robot.collect.plan import MotionConfig, plan_motion
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Rig
from mjx_s2r.robot.drivers.sim_robot import SimRobot
from mjx_s2r.robot.log import FlightLog
from mjx_s2r.robot.safety import Guard, SafetyConfig
from mjx_s2r.sim.model.leaves import bind_model, write
from mjx_s2r.transfer.problem import IdentifyProblem, task_problem, without_channels
from mjx_s2r.transfer.readers.read import read_recordings
from mjx_s2r.transfer.recording_checks import check_recordings
from mjx_s2r.transfer.unit_coordinates import values_at

ROBOT_STEP_S = 0.0005
REACH_STEP_S = 0.004  # its task trains at 10 ms, which is a model error of its own
RATE_HZ = 50.0
MAX_RATE = 4.0  # rad/s of a command
JITTER = 0.3  # of the logarithm of the latency
DRAWN = (0.15, 0.85)  # unit coordinates between which the truths lie
LATENCY_S = (0.006, 0.020)  # mean latencies of the bus; that of `SERVO_ARM` is 12.5 ms
SPARE_S = 2.0  # beyond the motion, for steps in which the guard holds
BUS = Imperfections(
    encoder_counts=4096, latency_jitter=JITTER, lost_commands=0.005, velocity_cutoff_hz=20.0
)
GEARS = replace(BUS, deadband_deg=0.1)  # the dead band of `SERVO_ARM`; play is a row

TWO_LINK = """
<mujoco model="two_link">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.002" integrator="implicitfast"><flag contact="disable"/></option>
  <worldbody>
    <body name="upper" pos="0 0 0.5">
      <joint name="shoulder" axis="0 1 0" range="-2 2" damping="0.8" frictionloss="0.1"
             armature="0.03"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="0.5"/>
      <body name="lower" pos="0 0 -0.3">
        <joint name="elbow" axis="0 1 0" range="-2 2" damping="0.4" frictionloss="0.06"
               armature="0.015"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.25" size="0.018" mass="0.3"/>
        <body name="tool" pos="0 0 -0.25">
          <geom name="tool" type="sphere" size="0.02" mass="0.15"/>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="shoulder" joint="shoulder" kp="35" forcerange="-30 30"/>
    <position name="elbow" joint="elbow" kp="18" forcerange="-20 20"/>
  </actuator>
</mujoco>
"""
PAN_TILT = """
<mujoco model="pan_tilt">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.002" integrator="implicitfast"><flag contact="disable"/></option>
  <worldbody>
    <body name="yoke" pos="0 0 0.4">
      <joint name="pan" axis="0 0 1" range="-2 2" damping="0.15" frictionloss="0.04"
             armature="0.006"/>
      <geom type="box" size="0.04 0.05 0.02" mass="0.3"/>
      <body name="head" pos="0 0 0.08">
        <joint name="tilt" axis="0 1 0" range="-1.4 1.4" damping="0.12" frictionloss="0.03"
               armature="0.005"/>
        <geom name="head" type="box" pos="0.06 0 0.02" size="0.07 0.05 0.04" mass="0.45"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="pan" joint="pan" kp="9" forcerange="-6 6"/>
    <position name="tilt" joint="tilt" kp="8" forcerange="-6 6"/>
  </actuator>
</mujoco>
"""


@dataclass(frozen=True, eq=False)
class RobotKind:
    """A kind of robot, whose individuals differ in the rows of its table.

    Attributes:
        name: of the kind.
        mj_model: the nominal model.
        space: the D rows that are drawn and identified; "actuator.delay_s" among them.
        home: (J,) pose that motions begin in.
        amplitude: of the motions, rad.
        flaws: of bus, gears and encoders; latency and play are rows.
        own_step: whether it is fitted at its model's time step, however long that is.
    """

    name: str
    mj_model: mujoco.MjModel
    space: ParamSpace
    home: tuple[float, ...]
    amplitude: float
    flaws: Imperfections = BUS
    own_step: bool = False

    @property
    def joints(self) -> tuple[str, ...]:
        """(J,) its joints, all of them driven."""
        return tuple(self.mj_model.joint(i).name for i in range(self.mj_model.njnt))


@dataclass(frozen=True, eq=False)
class Individual:
    """One robot.

    Attributes:
        kind: of the robot.
        truth: (D,) its values of the kind's rows.
        flaws: of its bus, gears and encoders.
        model: with its numbers, at a small time step.
    """

    kind: RobotKind
    truth: np.ndarray
    flaws: Imperfections
    model: mujoco.MjModel


@cache
def kinds() -> dict[str, RobotKind]:
    """Returns the kinds by name."""
    reach = make_task("reach")
    names = (
        *("damping", "friction", "armature", "kp", "payload", "action_delay", "tilt_x", "tilt_y"),
        *("zero_shoulder_lift", "zero_elbow_flex", "zero_wrist_flex"),
    )
    rows = tuple(reach.space.rows[reach.space.index(name)] for name in names)
    home = (0.0, -0.9, 0.75, 1.2, 0.0, 0.3)
    worn = (*rows, reach.space.rows[reach.space.index("backlash")])
    fine = copy.copy(reach.mj_model)
    fine.opt.timestep = REACH_STEP_S
    found = (
        RobotKind("reach_coarse", reach.mj_model, ParamSpace(rows), home, 0.5, own_step=True),
        RobotKind("reach_gears", fine, ParamSpace(worn), home, 0.5, GEARS),
        RobotKind("reach", fine, ParamSpace(rows), home, 0.5),
        RobotKind(
            "two_link", _model(TWO_LINK), _table(("shoulder", "elbow"), "tool"), (0.6, 0.8), 0.7
        ),
        RobotKind(
            "pan_tilt",
            _model(PAN_TILT),
            _table(("pan", "tilt"), "head", gains=False),
            (0.0, 0.2),
            0.6,
        ),
    )
    return {kind.name: kind for kind in found}


def _model(xml: str) -> mujoco.MjModel:
    """Returns a compiled model."""
    return mujoco.MjModel.from_xml_string(xml)


def _table(joints: Sequence[str], load: str, *, gains: bool = True) -> ParamSpace:
    """Returns the rows of an arm: each joint's own, the load's mass, the delay of commands.

    Where no weight hangs on a joint, its gain, damping, friction and armature are seen as ratios
    alone, nearly; such a robot's gains are taken as known.
    """
    rows: list[Param] = []
    for joint in joints:
        on = (joint,)
        rows += [
            scale(f"damping_{joint}", "model.dof_damping", on, (0.4, 2.5), law="log_uniform"),
            scale(f"friction_{joint}", "model.dof_frictionloss", on, (0.3, 3.0), law="log_uniform"),
            scale(f"armature_{joint}", "model.dof_armature", on, (0.4, 2.5), law="log_uniform"),
        ]
        if gains:
            rows.append(
                scale(f"kp_{joint}", "model.actuator_kp", on, (0.6, 1.6), law="log_uniform")
            )
    rows.append(add(f"zero_{joints[-1]}", "model.qpos0", (joints[-1],), (-0.05, 0.05), unit="rad"))
    rows.append(scale("load", "model.body_mass", (load,), (0.5, 2.0), law="log_uniform"))
    rows.append(set_to("action_delay", "actuator.delay_s", (), (0, 0.06), unit="s"))
    return ParamSpace(tuple(rows))


def individual(kind: RobotKind, number: int) -> Individual:
    """Returns robot number ``number`` of a kind."""
    rng = np.random.default_rng((number, len(kind.space), 18))
    truth = values_at(kind.space, rng.uniform(*DRAWN, len(kind.space)))
    truth[_delay(kind.space)] = rng.uniform(*LATENCY_S)
    return with_truth(kind, truth, replace(kind.flaws, seed=number))


def with_truth(kind: RobotKind, truth: np.ndarray, flaws: Imperfections) -> Individual:
    """Returns the robot whose rows have the values ``truth`` (D,); its delay is the mean one.

    A latency whose logarithm is normal has the mean median exp(jitter^2 / 2).
    """
    median_s = truth[_delay(kind.space)] / math.exp(flaws.latency_jitter**2 / 2)
    model = copy.copy(kind.mj_model)
    model.opt.timestep = ROBOT_STEP_S
    model.opt.iterations, model.opt.ls_iterations = 50, 20
    write(model, bind_model(kind.space, model), truth)
    play = [x for x, row in zip(truth, kind.space.rows, strict=True) if row.array == "backlash"]
    flaws = replace(flaws, latency_ms=1e3 * median_s, backlash_deg=math.degrees(sum(play)))
    return Individual(kind, truth, flaws, model)


def _delay(space: ParamSpace) -> int:
    """Returns the number of the row that delays commands."""
    return next(i for i, row in enumerate(space.rows) if row.field == "actuator.delay_s")


def fly(robot: Individual, path: Path, seconds: float, seed: int) -> None:
    """Writes the flight log of a random motion of all joints.

    Raises:
        BenchmarkError: the guard stopped the robot, or held it so long that the motion is not over.
    """
    clock, kind = VirtualClock(), robot.kind
    rig = Rig(joints=kind.joints, control_hz=RATE_HZ, max_rate=(MAX_RATE,) * len(kind.joints))
    driver = SimRobot(robot.model, rig, clock, robot.flaws, kind.mj_model)
    driver.connect()
    driver.reset(qpos=kind.home, seed=seed)
    info = driver.describe()
    contract = motion_contract(info, RATE_HZ)
    motion = MotionConfig(
        kind="random",
        amplitude=kind.amplitude,
        seconds=seconds,
        first_hz=0.1,
        last_hz=3.0,
        together=True,
        seed=seed,
    )
    guard = Guard.build(SafetyConfig(), contract, info)
    actor = MotionActor(plan_motion(motion, guard, np.array(kind.home)))
    settings = ControllerConfig(duration_s=seconds + SPARE_S)
    with FlightLog(path, actor.contract, kind.name, driver=info, images=False) as log:
        done = run(driver, actor, clock, settings, log, lambda _: actor.done)
    driver.close()
    if not actor.done:
        raise BenchmarkError(
            f"{kind.name}: the motion was not finished: {done.reason} {done.stopped_by}"
        )


def problem_of(kind: RobotKind, log: Path, rows: Sequence[str] = ()) -> IdentifyProblem:
    """Returns the problem of identifying a robot from its flight log, by its positions.

    Its speeds are positions through a low-pass: they say the same again, and late.

    Args:
        kind: of the robot.
        log: its flight log.
        rows: to fit; empty for all of the kind's.
    """
    book = read_recordings([log], kind.mj_model)
    check_recordings(book.recordings, kind.mj_model, book.findings).require_usable()
    speeds = {str(c) for r in book.recordings for c in r.channels if c.kind == "joint_vel"}
    chosen = np.array([not rows or name in rows for name in kind.space.names])
    recordings = without_channels(book.recordings, speeds)
    return task_problem(
        kind.name, kind.mj_model, kind.space, chosen, recordings, own_step=kind.own_step
    )
