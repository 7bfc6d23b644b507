"""A robot made of numbers alone, for whoever has only the robot extra: joints move, no scene.

It is built from a policy's contract: servos of second order, a bus that delays, encoders that count
and shake, pictures of noise with fresh stamps. It shows that a policy file, a controller and a
machine work together and keep their time. It shows nothing of how well the policy does its task:
the pictures hold no scene, and signals other than joints stand still.

A servo is critically damped, e'' + 2 w e' + w^2 e = 0 with e = joint - command, and moves by the
closed form e(t) = (e0 + (v0 + w e0) t) exp(-w t). Of gains kp and kd, critical damping leaves
w = 2 kp / kd; without gains w is `SERVO_RAD_S`. Speed is cut at the contract's ``max_rate``. A
motor (mode "effort") accelerates a joint by `MOTOR_RAD_S2` at full effort, against friction
proportional to speed.
"""

import math

import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import COMMAND, CameraInfo, DriverInfo, Reading
from mjx_s2r.robot.drivers.imperfections import (
    Bus,
    Encoder,
    Imperfections,
    deliver,
    quantise,
    send,
    sense,
)
from mjx_s2r.robot.drivers.named import DriverOrder

SERVO_RAD_S = 30.0  # of a servo whose gains are unknown: settles within 0.2 s
SLOWEST_RAD_S, FASTEST_RAD_S = 5.0, 200.0
MOTOR_RAD_S2 = 10.0
FRICTION_PER_S = 2.0
STOPS = 0.05  # how far the joint stops lie beyond the contract's range, a share of it
STEP_S = 0.001  # longest step of the servos, so that a cut speed acts soon
FLAWS = Imperfections(latency_ms=5.0, encoder_counts=4096, velocity_cutoff_hz=20.0)


def bench_factory(order: DriverOrder) -> "BenchRobot":
    """Returns the bench robot of an order.

    Options: ``latency_ms``, ``encoder_counts``, ``noise_counts``, ``seed``.
    """
    numbers = order.numbers(
        latency_ms=FLAWS.latency_ms,
        encoder_counts=FLAWS.encoder_counts,
        noise_counts=0.5,
        seed=0,
    )
    flaws = Imperfections(
        seed=int(numbers["seed"]),
        latency_ms=numbers["latency_ms"],
        encoder_counts=int(numbers["encoder_counts"]),
        velocity_cutoff_hz=FLAWS.velocity_cutoff_hz,
    )
    return BenchRobot(order.contract, order.clock, flaws, numbers["noise_counts"])


class BenchRobot:
    """A robot of numbers alone; implements `mjx_s2r.robot.driver.Driver`."""

    def __init__(
        self,
        contract: PolicyContract,
        clock: Clock,
        flaws: Imperfections = FLAWS,
        noise_counts: float = 0.5,
    ) -> None:
        """Builds the robot at the contract's home, at rest.

        Args:
            contract: what it must fit.
            clock: real or virtual time.
            flaws: ``latency_ms``, ``lost_commands``, ``encoder_counts`` and ``velocity_cutoff_hz``
                act; the others have no meaning here.
            noise_counts: standard deviation of an encoder, in its counts.
        """
        self._contract, self._clock, self._flaws = contract, clock, flaws
        self._noise_counts = noise_counts
        self._servo = contract.action.mode != "effort"
        self._rng = np.random.default_rng(flaws.seed)
        joints = len(contract.action.joints)
        count = 2 * math.pi / flaws.encoder_counts if flaws.encoder_counts else 0.0
        self._quantum = np.full(joints, count)
        self._rate = np.asarray(contract.action.max_rate, float)
        self._stiffness = _stiffness(contract)
        self.position = np.array(contract.action.home, float)
        self.velocity = np.zeros(joints)
        rest = self.position.copy() if self._servo else np.zeros(joints)
        self._bus = Bus(rest)
        self._encoder = Encoder(quantise(self.position, self._quantum), np.zeros(joints))
        self._time_s = self._read_s = clock.now_s()
        self._frames: dict[str, tuple[float, np.ndarray]] = {}

    def describe(self) -> DriverInfo:
        """Returns the data sheet, which names it a bench robot that shows no scene."""
        action = self._contract.action
        low, high = np.array(action.low, float), np.array(action.high, float)
        room = np.where(np.isfinite(high - low), STOPS * (high - low), 0.0)
        free = (math.inf,) * len(action.joints)
        return DriverInfo(
            name="bench (moves joints, shows no scene)",
            joints=action.joints,
            command="position" if self._servo else "effort",
            unit=action.unit,
            low=tuple((low - room).tolist()) if self._servo else tuple(-x for x in free),
            high=tuple((high + room).tolist()) if self._servo else free,
            max_rate=action.max_rate if self._servo else free,
            max_effort=action.max_effort,
            max_hz=max(1000.0, self._contract.control_hz),
            signals=self._contract.sensed,
            cameras=tuple(
                CameraInfo(c.name, c.height, c.width, c.rate_hz, c.kind, c.optics)
                for c in self._contract.cameras
            ),
        )

    def connect(self) -> None:
        """Takes up the present time; nothing moves."""
        self._time_s = self._clock.now_s()

    def read(self) -> Reading:
        """Returns the encoders now, and pictures of noise as often as the cameras take them."""
        self._advance()
        dt_s = max(self._time_s - self._read_s, 1e-6)
        if self._time_s > self._read_s:
            shaken = self.position + self._quantum * self._noise_counts * (
                self._rng.standard_normal(len(self.position))
            )
            self._encoder = sense(
                self._encoder, (shaken, self.velocity), self._quantum,
                self._flaws.velocity_cutoff_hz, dt_s,
            )  # fmt: skip
            self._read_s = self._time_s
        for camera in self._contract.cameras:
            taken_s = self._frames.get(camera.name, (-math.inf,))[0]
            if self._time_s - taken_s >= (1 - 1e-6) / camera.rate_hz:
                self._frames[camera.name] = self._time_s, _noise(camera, self._rng)
        return Reading(
            time_s=self._time_s,
            signals={s.name: self._signal(s) for s in self._contract.signals if s.name != COMMAND},
            images={name: frame[1] for name, frame in self._frames.items()},
            image_time_s={name: frame[0] for name, frame in self._frames.items()},
        )

    def write(self, command: np.ndarray) -> None:
        """Puts a command (J,) on the bus.

        Raises:
            ValueError: not (J,) finite numbers.
        """
        if np.shape(command) != self.position.shape or not np.all(np.isfinite(command)):
            raise ValueError(f"command {command} must be {len(self.position)} finite numbers")
        self._advance()
        self._bus = send(self._bus, self._flaws, self._time_s, np.array(command, float), self._rng)

    def stop(self) -> None:
        """Holds the joints where they are (servos) or takes the effort away (motors)."""
        self._bus = Bus(self.position.copy() if self._servo else np.zeros_like(self.position))

    def close(self) -> None:
        """Stops."""
        self.stop()

    def _advance(self) -> None:
        """Moves the joints up to the clock's time."""
        left_s = self._clock.now_s() - self._time_s
        steps = max(1, math.ceil(min(left_s, 1.0) / STEP_S)) if left_s > 0 else 0
        for _ in range(steps):
            self._time_s += left_s / steps
            self._bus = deliver(self._bus, self._time_s)
            self._move(self._bus.command, left_s / steps)

    def _move(self, command: np.ndarray, dt_s: float) -> None:
        """Moves the joints for ``dt_s`` under a command (J,)."""
        if self._servo:
            w, error = self._stiffness, self.position - command
            slope, fade = self.velocity + w * error, np.exp(-w * dt_s)
            after = command + (error + slope * dt_s) * fade
            velocity = (self.velocity - w * slope * dt_s) * fade
            reach = self._rate * dt_s
            self.position = np.clip(after, self.position - reach, self.position + reach)
            self.velocity = np.clip(velocity, -self._rate, self._rate)
            return
        most = np.asarray(self._contract.action.max_effort, float)
        share = command / np.where(np.isfinite(most) & (most > 0), most, 1.0)
        final = share * MOTOR_RAD_S2 / FRICTION_PER_S
        self.velocity = final + (self.velocity - final) * math.exp(-FRICTION_PER_S * dt_s)
        self.position = self.position + self.velocity * dt_s

    def _signal(self, signal: Signal) -> np.ndarray:
        """Returns the reading (size,) of one signal; what is no joint's stands in its middle."""
        joints = len(self.position)
        if signal.name == "joint_pos" and signal.size >= joints:
            return np.pad(self._encoder.position, (0, signal.size - joints))
        if signal.name == "joint_vel" and signal.size >= joints:
            return np.pad(self._encoder.velocity, (0, signal.size - joints))
        if signal.name == "gravity" and signal.size == 3:
            return np.array([0.0, 0.0, -1.0])
        middle = np.resize(np.asarray(signal.offset, float), signal.size)
        if signal.seen_low and signal.seen_high:
            middle = (np.asarray(signal.seen_low) + np.asarray(signal.seen_high)) / 2
        return np.clip(middle, signal.low, signal.high)


def _stiffness(contract: PolicyContract) -> np.ndarray:
    """Returns (J,) w of each servo, rad/s."""
    action = contract.action
    none = (0.0,) * len(action.joints)
    kp, kd = np.array(action.kp or none, float), np.array(action.kd or none, float)
    known = (kp > 0) & (kd > 0)
    return np.where(
        known,
        np.clip(2 * kp / np.where(known, kd, 1.0), SLOWEST_RAD_S, FASTEST_RAD_S),
        SERVO_RAD_S,
    )


def _noise(camera: CameraSignal, rng: np.random.Generator) -> np.ndarray:
    """Returns a picture of noise: (H, W, 3) uint8, or (H, W) float32 metres."""
    if camera.kind == "depth":
        size = camera.height, camera.width
        return rng.uniform(camera.near, camera.far, size).astype(np.float32)
    return rng.integers(0, 256, (camera.height, camera.width, 3), np.uint8)
