"""Plans of motions: which joint goes where and when, shown and checked before anything moves.

A motion moves about a centre. What does not fit the robot's limits with a margin is made smaller,
joint by joint, and the plan says so; what would have to shrink to almost nothing is refused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.params import unknown
from mjx_s2r.robot.collect import waves
from mjx_s2r.robot.safety import Guard

MotionKind = Literal["chirp", "log-chirp", "multi-sine", "random", "steps", "gravity-rest"]
SHARE = 0.8  # of what the guard allows in position, speed and acceleration
LEAST = 0.05  # share of the asked amplitude below which a motion is refused
GOLDEN = 0.382  # share of a period by which joints that move together are shifted
FINE = 8  # samples per control step with which speed and acceleration are found


@dataclass(frozen=True)
class MotionConfig:
    """What a motion should be.

    Attributes:
        kind: form of the motion.
        joints: which joints move; () is all.
        amplitude: away from the centre, in the command's unit; of "gravity-rest" the box of poses.
        seconds: time of each joint's motion, s.
        first_hz: lowest frequency, Hz.
        last_hz: highest frequency, Hz.
        hold_s: length of a step, of a rest and of the way to it, s.
        together: all joints at once, each with a wave of its own; otherwise one after another.
        max_acceleration: largest acceleration of a command, unit/s^2; inf asks for none.
        seed: of what is random.
    """

    kind: MotionKind = "chirp"
    joints: tuple[str, ...] = ()
    amplitude: float = 0.2
    seconds: float = 20.0
    first_hz: float = 0.1
    last_hz: float = 2.0
    hold_s: float = 1.0
    together: bool = False
    max_acceleration: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ContractError: a setting that no motion can have, named.
        """
        if self.kind not in get_args(MotionKind):
            raise ContractError(str(unknown("motion", str(self.kind), get_args(MotionKind))))
        for name in ("amplitude", "seconds", "first_hz", "last_hz", "hold_s", "max_acceleration"):
            value = getattr(self, name)
            if not value > 0 or (name != "max_acceleration" and not math.isfinite(value)):
                raise ContractError(f"motion: {name} {value} must be a positive number")
        if self.first_hz > self.last_hz:
            raise ContractError(
                f"motion: first_hz {self.first_hz} is above last_hz {self.last_hz}; swap them"
            )


@dataclass(frozen=True)
class JointPlan:
    """What one joint will do: amplitude and limits in the command's unit, per s and s^2.

    Attributes:
        joint: its name.
        centre: where it starts and ends.
        amplitude: farthest from the centre.
        asked: amplitude that was asked for.
        room: largest amplitude that the limits leave, with the margin of `SHARE`.
        speed: largest speed.
        max_speed: what the guard allows.
        acceleration: largest acceleration.
        narrowed_by: "position", "speed" or "acceleration" where it was made smaller, else "".
    """

    joint: str
    centre: float
    amplitude: float
    asked: float
    room: float
    speed: float
    max_speed: float
    acceleration: float
    narrowed_by: str = ""


@dataclass(frozen=True)
class MotionPlan:
    """A motion ready to be made.

    Attributes:
        contract: of the actor that makes it.
        targets: (T, J) commands, one per control step.
        joints: of each joint that moves.
        kind: form of the motion; "plan" for one that was read from a file.
    """

    contract: PolicyContract
    targets: np.ndarray
    joints: tuple[JointPlan, ...]
    kind: MotionKind | Literal["plan"]

    @property
    def seconds(self) -> float:
        """How long it takes, s."""
        return len(self.targets) / self.contract.control_hz

    def lines(self) -> list[str]:
        """Returns the plan for people, one line per joint."""
        unit = self.contract.action.unit
        found = [f"{self.kind}: {self.seconds:.1f} s at {self.contract.control_hz:g} Hz"]
        for j in self.joints:
            line = (
                f"{j.joint}: {j.centre:+.3f} +- {j.amplitude:.3f} {unit} (room {j.room:.3f}), "
                f"speed up to {j.speed:.2f} of {j.max_speed:.2f} {unit}/s, acceleration up to "
                f"{j.acceleration:.1f} {unit}/s^2"
            )
            if j.narrowed_by:
                line += f"; made smaller from {j.asked:g} for the limit of {j.narrowed_by}"
            found.append(line)
        return found


def plan_motion(
    config: MotionConfig, guard: Guard, centre: Sequence[float] | np.ndarray
) -> MotionPlan:
    """Returns the plan of a motion about a pose.

    Args:
        config: what is asked for.
        guard: the limits that it will run under.
        centre: (J,) the pose that it begins and ends in.

    Raises:
        ContractError: efforts instead of positions, a pose outside the limits, a frequency that the
            control rate cannot make, a motion that the limits leave nothing of.
        ParamError: an unknown joint.
    """
    contract, centre = guard.contract, np.asarray(centre, float)
    names = contract.action.joints
    if contract.action.mode == "effort":
        raise ContractError(
            "motions are made of positions and this contract commands efforts; use a driver and a "
            "contract in a position mode"
        )
    for joint in config.joints:
        if joint not in names:
            raise unknown("joint", joint, names)
    if config.kind not in ("steps", "gravity-rest") and config.last_hz > contract.control_hz / 4:
        raise ContractError(
            f"motion: last_hz {config.last_hz} is above a quarter of the control rate "
            f"{contract.control_hz:g} Hz; ask for at most {contract.control_hz / 4:g} Hz"
        )
    moved = [j for j, name in enumerate(names) if not config.joints or name in config.joints]
    for j in moved:
        if not guard.limits.low[j] < centre[j] < guard.limits.high[j]:
            raise ContractError(
                f"joint {names[j]!r} is at {centre[j]:.3f}, outside {guard.limits.low[j]:.3f} to "
                f"{guard.limits.high[j]:.3f} that commands may use; move it inside by hand first"
            )
    shapes = motion_shapes(config, contract.control_hz, moved)
    targets = np.tile(centre, (len(shapes) // FINE, 1))
    plans = []
    for j, shape in zip(moved, shapes.T, strict=True):
        plan = _fit(config, guard, j, centre[j], shape)
        plans.append(plan)
        targets[:, j] += plan.amplitude * shape[::FINE]
    contract = motion_actor_contract(guard, centre)
    return MotionPlan(contract, targets, tuple(plans), config.kind)


def _fit(config: MotionConfig, guard: Guard, j: int, centre: float, shape: np.ndarray) -> JointPlan:
    """Returns what joint ``j`` can do of a shape (T,) within [-1, 1].

    Raises:
        ContractError: the limits leave almost nothing.
    """
    contract, name = guard.contract, guard.contract.action.joints[j]
    speed, acceleration = wave_peaks(shape, contract.control_hz)
    if not speed:
        raise ContractError(
            f"motion: {config.kind} of {config.seconds:g} s does not move joint {name!r}; ask for "
            "more seconds, a round of steps takes four times hold_s, or a shorter hold_s"
        )
    max_speed = float(guard.limits.rate[j])
    allowed = allowed_amplitudes(guard, j, centre, (speed, acceleration), config.max_acceleration)
    tightest = min(allowed, key=lambda key: allowed[key])
    amplitude = min(config.amplitude, allowed[tightest])
    if amplitude < LEAST * config.amplitude:
        unit = contract.action.units[j]
        slower_hz = config.last_hz * allowed[tightest] / config.amplitude
        remedy = {
            "position": "move the joint away from its end, or ask for a smaller amplitude",
            "speed": f"commands may move at {max_speed:.3g} {unit}/s now: ask for "
            f"frequencies up to {slower_hz:.2g} Hz, or for a higher stage of speed",
            "acceleration": "ask for lower frequencies or a smaller amplitude",
        }[tightest]
        raise ContractError(
            f"joint {name!r}: the limit of {tightest} leaves {amplitude:.2g} of the amplitude "
            f"{config.amplitude:g}; {remedy}"
        )
    return JointPlan(
        joint=name,
        centre=float(centre),
        amplitude=amplitude,
        asked=config.amplitude,
        room=allowed["position"],
        speed=amplitude * speed,
        max_speed=max_speed,
        acceleration=amplitude * acceleration,
        narrowed_by=tightest if amplitude < config.amplitude else "",
    )


def wave_peaks(shape: np.ndarray, control_hz: float) -> tuple[float, float]:
    """Returns the largest speed and acceleration of a shape (FINE T,), per s and per s^2."""
    dt_s = 1 / (control_hz * FINE)
    speed = np.gradient(shape, dt_s)
    return float(np.max(np.abs(speed))), float(np.max(np.abs(np.gradient(speed, dt_s))))


def allowed_amplitudes(
    guard: Guard,
    j: int,
    centre: float,
    peaks: tuple[float, float],
    max_acceleration: float = math.inf,
) -> dict[str, float]:
    """Returns what each limit leaves of the amplitude of a wave within [-1, 1] about a centre.

    Args:
        guard: the limits; `SHARE` of them is used.
        j: the joint.
        centre: what it moves about.
        peaks: largest speed and acceleration of the wave, `wave_peaks`.
        max_acceleration: of a command, unit/s^2, where less is wanted than the guard allows.
    """
    limits, (speed, acceleration) = guard.limits, peaks
    hardest = min(max_acceleration, float(limits.acceleration[j]))
    return {
        "position": SHARE * float(min(centre - limits.low[j], limits.high[j] - centre)),
        "speed": SHARE * float(limits.rate[j]) / speed if speed else math.inf,
        "acceleration": SHARE * hardest / acceleration if acceleration else math.inf,
    }


def motion_shapes(config: MotionConfig, control_hz: float, moved: Sequence[int]) -> np.ndarray:
    """Returns (FINE T, N) the way of each joint, within [-1, 1] and zero at both ends."""
    rng = np.random.default_rng(config.seed)
    if config.kind == "gravity-rest":
        return _rests(config, control_hz, len(moved), rng)
    count = max(2, math.ceil(config.seconds * control_hz)) * FINE
    time_s = np.arange(count) / (control_hz * FINE)
    if config.together:
        return np.stack([_wave(config, time_s, rng, n) for n in range(len(moved))], axis=1)
    shapes = np.zeros((count * len(moved), len(moved)))
    for n in range(len(moved)):
        shapes[n * count : (n + 1) * count, n] = _wave(config, time_s, rng, 0)
    return shapes


def _wave(
    config: MotionConfig, time_s: np.ndarray, rng: np.random.Generator, number: int
) -> np.ndarray:
    """Returns one joint's wave (T,); ``number`` keeps joints that move together apart."""
    band = config.first_hz * (1 + number / 8), config.last_hz
    if config.kind == "chirp":
        return waves.linear_chirp(time_s, *band)
    if config.kind == "log-chirp":
        return waves.log_chirp(time_s, *band)
    if config.kind == "multi-sine":
        return waves.multi_sine(time_s, config.first_hz, config.last_hz, number * GOLDEN)
    if config.kind == "random":
        return waves.band_noise(time_s, config.first_hz, config.last_hz, rng)
    hold_s = config.hold_s * (1 + number / 4)
    return waves.steps(time_s, hold_s, min(hold_s / 2, 1 / config.last_hz))


def _rests(
    config: MotionConfig, control_hz: float, joints: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns (FINE T, N) ways of ``hold_s`` between poses of a box, with as long a rest at each.

    The poses are a Latin hypercube: every joint meets each part of its range once.
    """
    count = max(2, round(config.seconds / (2 * config.hold_s)) - 1)
    poses = np.zeros((count + 2, joints))
    for n in range(joints):
        poses[1:-1, n] = 2 * (rng.permutation(count) + 0.5) / count - 1
    per_leg = math.ceil(2 * config.hold_s * control_hz) * FINE
    share = np.arange(per_leg) / (control_hz * FINE) / config.hold_s
    way = waves.minimum_jerk(share)[:, None]
    legs = [a + (b - a) * way for a, b in pairwise(poses)]
    return np.concatenate(legs)


def motion_actor_contract(guard: Guard, centre: np.ndarray) -> PolicyContract:
    """Returns the contract of an actor that commands positions, about (J,), and has no camera."""
    contract = guard.contract
    home = np.clip(centre, contract.action.low, contract.action.high)
    action = replace(contract.action, mode="position", home=tuple(home))
    return replace(contract, action=action, cameras=(), memory=0)
