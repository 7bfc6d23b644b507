"""Any LeRobot robot behind our driver's interface, by duck typing; LeRobot is not imported.

What is used of the robot (`lerobot/robots/robot.py`): observation_features, action_features,
is_connected, connect(calibrate), is_calibrated, get_observation, send_action, disconnect; keys
"<motor>.pos" for joints and the camera's name for pictures. Motors become joints by a calibration
(`mjx_s2r.robot.calibration`).

    robot = SO101Follower(SO101FollowerConfig(port="/dev/ttyACM0", id="arm"))
    driver = LeRobotRobot(robot, read_calibration("arm.json"), clock, max_hz=30)

Such a robot has no time-out of its own: its servos hold the last goal for ever.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError, Optics, PolicyContract
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import CameraInfo, DriverInfo, Reading
from mjx_s2r.robot.drivers.pictures import resize
from mjx_s2r.robot.drivers.velocity import VelocityFilter
from mjx_s2r.robot.units import suspect_reading

SENT_TOLERANCE = (
    1e-3  # of the motor's value, which is 0..100 or degrees; less than any encoder count
)
LIMP = "disable_torque_on_disconnect"  # LeRobot's setting, true by default
RANGES = {"range_m100_100": (-100.0, 100.0), "range_0_100": (0.0, 100.0)}


class CommandChangedError(RuntimeError):
    """A robot that sent something else than it was asked to."""


@dataclass
class _CameraState:
    """The last picture of one camera, and when it was taken."""

    image: np.ndarray | None = None
    time_s: float = -math.inf
    source: np.ndarray | None = None  # as LeRobot delivered it
    stamp: float | None = None  # in LeRobot's clock


class LeRobotRobot:
    """A LeRobot robot; implements `mjx_s2r.robot.driver.Driver`."""

    def __init__(
        self,
        robot: Any,
        calibration: Sequence[JointCalibration],
        clock: Clock,
        *,
        contract: PolicyContract | None = None,
        max_hz: float = 30.0,
        camera_hz: float = 30.0,
        max_rate: float = math.inf,
        velocity_s: float = 0.05,
        limp_on_close: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Maps the robot's motors and cameras; nothing is opened.

        Args:
            robot: the LeRobot robot, connected or not.
            calibration: one entry per joint.
            clock: of the controller; the time stamps are in it.
            contract: of the policy; joints come in its order, pictures in its sizes. None takes
                the order of the calibration and the pictures as they are.
            max_hz: control rate that the bus carries.
            camera_hz: rate of cameras whose configuration does not say it.
            max_rate: fastest position change, rad/s or m/s.
            velocity_s: time constant of the filter on differenced positions, where the robot has no
                "<motor>.vel", s.
            limp_on_close: whether `close` lets LeRobot switch the torque off, so that the arm
                drops; otherwise it holds its pose.
            say: where the mapping of the first `connect` goes; None writes to standard error.

        Raises:
            ContractError: a motor, joint or camera that is missing; the message lists those there.
        """
        self._robot, self._clock = robot, clock
        self._joints = _ordered(calibration, contract)
        self._has_velocity = _check_motors(robot, self._joints)
        self._contract = contract
        self._velocity_s, self._limp = velocity_s, limp_on_close
        self._say = say or (lambda text: print(text, file=sys.stderr))
        self._cameras = _cameras(robot, contract, camera_hz)
        self._pictures = {c.name: _CameraState() for c in self._cameras}
        ends = [x.ends for x in self._joints]
        self._info = DriverInfo(
            name=_name(robot),
            joints=tuple(x.joint for x in self._joints),
            command="position",
            unit=contract.action.unit if contract else "rad",
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
            max_rate=(max_rate,) * len(ends),
            max_effort=(math.inf,) * len(ends),
            max_hz=max_hz,
            signals={"joint_pos": len(ends), "joint_vel": len(ends)},
            cameras=self._cameras,
        )
        self._filter = VelocityFilter(len(ends), velocity_s)
        self._command: dict[str, float] | None = None
        self._shown = False

    def describe(self) -> DriverInfo:
        """Returns joints, limits by the calibration, signals and cameras."""
        return self._info

    def mapping(self) -> str:
        """Returns the mapping for people: each joint's motor, unit and range, and the cameras."""
        lines = [f"robot {self._info.name!r}: joint <- motor, range in {self._info.unit}"]
        lines += [f"  {x.describe()}" for x in self._joints]
        lines += [
            f"  camera {c.name}: {c.height}x{c.width} at {c.rate_hz:g} Hz" for c in self._cameras
        ]
        used = {x.motor for x in self._joints}
        motors = (k.removesuffix(".pos") for k in self._robot.action_features if k.endswith(".pos"))
        if idle := [motor for motor in motors if motor not in used]:
            lines.append(f"  never commanded, as the policy has no such joint: {', '.join(idle)}")
        if not self._has_velocity:
            lines.append(
                "  velocities: differences of positions, first-order low-pass of "
                f"{self._velocity_s:g} s"
            )
        return "\n".join(lines)

    def connect(self) -> None:
        """Opens the robot, without calibrating it, and shows the mapping once.

        Raises:
            ContractError: the robot is not calibrated, or its first reading is in other units.
        """
        if not self._robot.is_connected:
            self._robot.connect(calibrate=False)
        if not self._robot.is_calibrated:
            raise ContractError(
                f"robot {self._info.name!r} is not calibrated, so its values mean nothing; run "
                "LeRobot's calibration first (lerobot-calibrate)"
            )
        if not self._shown:
            self._say(self.mapping())
            self._shown = True
        if self._contract is not None:
            mistakes = suspect_reading(self._contract, self.read().signals)
            if mistakes:
                raise ContractError("; ".join(mistakes))

    def read(self) -> Reading:
        """Returns the newest reading, stamped before the bus was asked.

        A picture that LeRobot could not get (None), or that it hands out again, keeps the stamp of
        when it was new.
        """
        now_s = self._clock.now_s()
        seen: Mapping[str, Any] = self._robot.get_observation()
        position = np.array([x.to_joint(float(seen[f"{x.motor}.pos"])) for x in self._joints])
        if self._has_velocity:
            velocity = np.array([x.scale * float(seen[f"{x.motor}.vel"]) for x in self._joints])
        else:
            velocity = self._filter.update(now_s, position)
        for camera in self._cameras:
            self._look(camera, seen.get(camera.name), now_s)
        taken = {name: x for name, x in self._pictures.items() if x.image is not None}
        return Reading(
            time_s=now_s,
            signals={"joint_pos": position, "joint_vel": velocity},
            images={name: x.image for name, x in taken.items() if x.image is not None},
            image_time_s={name: x.time_s for name, x in taken.items()},
        )

    def write(self, command: np.ndarray) -> None:
        """Sends one command, (J,).

        Raises:
            CommandChangedError: the robot sent something else, or would have to: LeRobot clips
                what is outside a motor's range, or farther away than its ``max_relative_target``.
        """
        asked = {}
        for x, target in zip(self._joints, np.asarray(command, float).tolist(), strict=True):
            value = x.to_motor(target)
            low, high = RANGES.get(x.unit, (-math.inf, math.inf))
            if not low - SENT_TOLERANCE <= value <= high + SENT_TOLERANCE:  # NaN, too
                raise CommandChangedError(
                    f"joint {x.joint!r}: {target:g} is {value:.2f} of motor {x.motor!r}, outside "
                    f"{low:g} to {high:g}, where LeRobot would clip it; narrow the policy's limits"
                )
            asked[f"{x.motor}.pos"] = min(max(value, low), high)
        sent: Mapping[str, Any] = self._robot.send_action(dict(asked))
        self._command = asked
        for key, value in asked.items():
            if key not in sent or not abs(float(sent[key]) - value) <= SENT_TOLERANCE:
                raise CommandChangedError(
                    f"{key} was asked to be {value:.2f} and LeRobot sent "
                    f"{sent.get(key, 'nothing')}; its max_relative_target clips: set it to None, "
                    "the guard limits the speed"
                )

    def stop(self) -> None:
        """Leaves the robot under its last goal, which its servos hold; never drops the arm."""
        if self._command is None or not self._robot.is_connected:
            return
        try:
            self._robot.send_action(dict(self._command))
        except Exception as error:  # of LeRobot's or the bus', which have no type in common
            self._say(f"the last goal could not be sent again ({error}); the servos hold it")

    def close(self) -> None:
        """Stops and disconnects; the arm keeps its torque unless ``limp_on_close``."""
        self.stop()
        config = getattr(self._robot, "config", None)
        if config is not None and not self._limp and hasattr(config, LIMP):
            setattr(config, LIMP, False)
        if self._robot.is_connected:
            self._robot.disconnect()

    def _look(self, camera: CameraInfo, image: Any, now_s: float) -> None:
        """Takes a camera's picture, unless it is none or the one that was there before."""
        if image is None:
            return
        last = self._pictures[camera.name]
        device = getattr(self._robot, "cameras", {}).get(camera.name)
        stamp = getattr(device, "latest_timestamp", None)  # of time.perf_counter
        if stamp is not None and stamp == last.stamp:
            return
        array = np.array(image)  # a copy: the camera may use its memory again
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if stamp is None and last.source is not None and _is_same(array, last.source):
            return
        last.source, last.stamp = array, stamp
        last.image = resize(array, camera.height, camera.width, camera.optics.fit)
        last.time_s = now_s if stamp is None else min(now_s, self._in_clock(float(stamp)))

    def _in_clock(self, stamp_s: float) -> float:
        """Returns a time of LeRobot's clock in the controller's."""
        return self._clock.now_s() - (time.perf_counter() - stamp_s)


def _name(robot: Any) -> str:
    """Returns the name of one arm: its kind and LeRobot's ``id``, which tells two of a kind."""
    kind, number = getattr(robot, "name", type(robot).__name__), getattr(robot, "id", None)
    return f"{kind}-{number}" if number else str(kind)


def _is_same(image: np.ndarray, last: np.ndarray) -> bool:
    """Returns whether two pictures hold the same values; NaN, depth that is not known, is one."""
    return np.array_equal(image, last, equal_nan=image.dtype.kind == "f")


def _ordered(
    calibration: Sequence[JointCalibration], contract: PolicyContract | None
) -> tuple[JointCalibration, ...]:
    """Returns the calibration in the order of the policy's joints.

    Raises:
        ContractError: a joint of the policy that has none.
    """
    if contract is None:
        return tuple(calibration)
    known = {x.joint: x for x in calibration}
    missing = [joint for joint in contract.action.joints if joint not in known]
    if missing:
        raise ContractError(
            f"the calibration has no joint {missing}; it has {sorted(known)}: give the policy's "
            "names in it, or map the motors' names to them"
        )
    return tuple(known[joint] for joint in contract.action.joints)


def _check_motors(robot: Any, joints: Sequence[JointCalibration]) -> bool:
    """Returns whether the robot reports velocities.

    Raises:
        ContractError: a motor that the robot does not have.
    """
    for kind in ("action_features", "observation_features"):
        known = list(getattr(robot, kind))
        missing = [x.motor for x in joints if f"{x.motor}.pos" not in known]
        if missing:
            motors = sorted(k.removesuffix(".pos") for k in known if k.endswith(".pos"))
            raise ContractError(
                f"the robot's {kind} have no motor {missing}; it has {motors}: correct `motor` in "
                "the calibration"
            )
    return all(f"{x.motor}.vel" in robot.observation_features for x in joints)


def _cameras(
    robot: Any, contract: PolicyContract | None, camera_hz: float
) -> tuple[CameraInfo, ...]:
    """Returns the cameras of the robot, in the sizes that the policy reads where it reads them."""
    wanted = {c.name: c for c in contract.cameras} if contract else {}
    found = []
    for name, shape in robot.observation_features.items():
        if not isinstance(shape, tuple) or len(shape) not in (2, 3):
            continue
        kind = "rgb" if len(shape) == 3 and shape[2] == 3 else "depth"
        device = getattr(robot, "cameras", {}).get(name)
        rate_hz = float(getattr(device, "fps", None) or camera_hz)
        read = wanted.get(name)
        height, width = (read.height, read.width) if read else shape[:2]
        optics = Optics(fit=read.optics.fit) if read else Optics()
        found.append(CameraInfo(name, height, width, rate_hz, kind, optics))
    return tuple(found)
