"""Imperfections that a simulator usually leaves out, on numpy: bus, gears, encoders, camera.

Used by the robot stand-in; every random draw comes from the generator that is passed in.

- Backlash is the play operator: y <- clip(y, u - w, u + w), half width w (Krasnosel'skii and
  Pokrovskii, Systems with Hysteresis, 1989).
- Camera noise has a shot and a read part: variance a I + b^2 for a signal I in [0, 1] (EMVA 1288).
- The auto-exposure drift is a first-order autoregressive process of log gain with a stationary
  spread and a time constant.
"""

import math
from dataclasses import dataclass, fields, replace

import numpy as np

PROBABILITIES = ("lost_commands", "dropped_frames")
SIGNED = ("offset_deg",)  # flaws that may be negative


@dataclass(frozen=True)
class Imperfections:
    """The effects of one robot. All zero is a perfect robot.

    Attributes:
        seed: of all random draws of the stand-in.
        strength: factor on every actuator's force (supply voltage, wear).
        offset_deg: encoder zero error, degrees; readings and commands carry it both.
        backlash_deg: half width of the gear play between command and joint, degrees.
        deadband_deg: position error that the servo ignores, degrees.
        latency_ms: median delay from `write` to the servo, ms.
        latency_jitter: standard deviation of the logarithm of that delay.
        lost_commands: probability that a command never arrives.
        encoder_counts: counts per revolution; 0 reads exactly.
        velocity_cutoff_hz: low-pass of the velocity estimate, Hz; 0 reads the true velocity.
        camera_latency_frames: age of the delivered image, in frames of that camera.
        dropped_frames: probability that a frame is lost and the one before is delivered again.
        shot_noise: variance of the image per unit of signal.
        read_noise: standard deviation of the image in the dark, signal in [0, 1].
        gain: exposure, a factor on the image, per colour channel.
        exposure_drift: stationary standard deviation of the logarithm of the drifting gain.
        exposure_time_s: time constant of that drift, s.
    """

    seed: int = 0
    strength: float = 1.0
    offset_deg: float = 0.0
    backlash_deg: float = 0.0
    deadband_deg: float = 0.0
    latency_ms: float = 0.0
    latency_jitter: float = 0.0
    lost_commands: float = 0.0
    encoder_counts: int = 0
    velocity_cutoff_hz: float = 0.0
    camera_latency_frames: int = 0
    dropped_frames: float = 0.0
    shot_noise: float = 0.0
    read_noise: float = 0.0
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    exposure_drift: float = 0.0
    exposure_time_s: float = 1.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: a negative value or a probability above one; the message names the field.
        """
        for f in fields(self):
            values = np.atleast_1d(getattr(self, f.name))
            least = -np.inf if f.name in SIGNED else 0.0
            if not (np.all(np.isfinite(values)) and np.all(values >= least)):
                raise ValueError(f"reality.{f.name} = {values} must be finite and not negative")
        for name in PROBABILITIES:
            if getattr(self, name) > 1:
                raise ValueError(f"reality.{name} = {getattr(self, name)} is a probability, 0 to 1")


# A hobby-servo arm with a web camera. Backlash and 4096 counts are the SO-101 servo's published
# figures (Feetech STS3215); the other numbers are plausible, not measured.
SERVO_ARM = Imperfections(
    backlash_deg=0.5,
    deadband_deg=0.1,
    latency_ms=12.0,
    latency_jitter=0.3,
    lost_commands=0.005,
    encoder_counts=4096,
    velocity_cutoff_hz=20.0,
    camera_latency_frames=1,
    dropped_frames=0.02,
    shot_noise=0.002,
    read_noise=0.008,
    gain=(1.05, 1.0, 0.95),
    exposure_drift=0.08,
)


@dataclass(frozen=True)
class Bus:
    """The command line to the servos.

    Attributes:
        command: (J,) what the servos follow now.
        waiting: (arrival s, (J,) command) still under way, in the order of sending.
    """

    command: np.ndarray
    waiting: tuple[tuple[float, np.ndarray], ...] = ()


def send(
    bus: Bus,
    reality: Imperfections,
    time_s: float,
    command: np.ndarray,
    rng: np.random.Generator,
    step_s: float = 0.0,
) -> Bus:
    """Returns the bus with a command on its way; commands never overtake each other.

    A ``command`` (n, J) is a course of n commands, ``step_s`` apart, that travels as one.
    """
    delay_s = 1e-3 * reality.latency_ms * math.exp(reality.latency_jitter * rng.standard_normal())
    if rng.random() < reality.lost_commands:
        return bus
    course = enumerate(np.atleast_2d(command))
    sent = ((time_s + delay_s + i * step_s, each) for i, each in course)
    return replace(bus, waiting=(*bus.waiting, *sent))


def deliver(bus: Bus, time_s: float) -> Bus:
    """Returns the bus after what has arrived by ``time_s`` took effect, in the order of sending."""
    while bus.waiting and bus.waiting[0][0] <= time_s + 1e-9:
        bus = Bus(bus.waiting[0][1], bus.waiting[1:])
    return bus


def play(driven: np.ndarray, target: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Returns the joint side of a gear: it follows the target only at the edges of the play."""
    return np.clip(driven, target - half, target + half)


def deadband(target: np.ndarray, position: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Returns the set point of a servo that sees no error below ``half``."""
    return np.where(np.abs(target - position) < half, position, target)


@dataclass(frozen=True)
class Encoder:
    """What the encoders say: ``position`` (S,) rounded to counts and ``velocity`` (S,) from it."""

    position: np.ndarray
    velocity: np.ndarray


def sense(
    encoder: Encoder,
    truth: tuple[np.ndarray, np.ndarray],
    quantum: np.ndarray,
    cutoff_hz: float,
    dt_s: float,
) -> Encoder:
    """Returns the encoder one sample of ``dt_s`` after its last.

    Args:
        encoder: the last sample.
        truth: (S,) position and (S,) velocity of the joints.
        quantum: (S,) one count, in the joint's unit; 0 reads exactly.
        cutoff_hz: low-pass of the differenced positions, Hz; 0 reads the true velocity.
        dt_s: time since the last sample, s.
    """
    position = quantise(truth[0], quantum)
    if not cutoff_hz:
        return Encoder(position, truth[1].copy())
    weight = 1 - math.exp(-2 * math.pi * cutoff_hz * dt_s)
    raw = (position - encoder.position) / dt_s
    return Encoder(position, encoder.velocity + weight * (raw - encoder.velocity))


def quantise(position: np.ndarray, quantum: np.ndarray) -> np.ndarray:
    """Returns the position rounded to whole counts of size ``quantum``; 0 leaves it exact."""
    step = np.where(quantum > 0, quantum, 1.0)
    return np.where(quantum > 0, np.round(position / step) * step, position)


def drift(log_gain: float, reality: Imperfections, dt_s: float, rng: np.random.Generator) -> float:
    """Returns the logarithm of the drifting exposure gain ``dt_s`` later."""
    keep = math.exp(-dt_s / max(reality.exposure_time_s, 1e-9))
    return keep * log_gain + reality.exposure_drift * math.sqrt(1 - keep**2) * rng.standard_normal()


def expose(
    image: np.ndarray, reality: Imperfections, log_gain: float, rng: np.random.Generator
) -> np.ndarray:
    """Returns what the sensor makes of an image (H, W, 3) uint8: gain, noise, rounding."""
    signal = image * (np.asarray(reality.gain) * math.exp(log_gain) / 255)
    if reality.shot_noise or reality.read_noise:
        spread = np.sqrt(reality.shot_noise * signal + reality.read_noise**2)
        signal = signal + spread * rng.standard_normal(image.shape)
    return np.round(np.clip(signal, 0, 1) * 255).astype(np.uint8)
