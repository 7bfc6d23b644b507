"""How a joint is moved to be diagnosed: steps, sweeps and rests of positions, moves of efforts.

Each is planned from where the joint stands, shown, and refused before anything moves where the
limits leave too little. Positions go through the guard's range and speed; it knows no positions of
a robot that takes efforts, so the actor of efforts keeps the joint inside its room by itself and
the flight ends where that fails.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.robot.collect.actors import MotionActor, motion_contract
from mjx_s2r.robot.collect.plan import LEAST, SHARE, MotionPlan
from mjx_s2r.robot.collect.waves import minimum_jerk
from mjx_s2r.robot.diagnose.estimate import DiagnosisError
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Guard

REST_S = 1.0  # before the first motion, beside the guard's own ramp
TURN_S = 0.4  # in which a sweep changes its direction
SIGNAL = 8.0  # deviations of the noise that a motion must exceed
PAUSE_S = 0.1  # between two moves of effort
COAST_START = 0.2  # share of the room over which a joint is pushed before it coasts
COAST_END = 0.8  # share of the room at which a coasting joint is braked after all
WEAKER = 0.7  # what is left of the pushes then
BEYOND = 1.2  # shares of the room at which a flight of efforts ends


@dataclass(frozen=True)
class Excitation:
    """A motion ready to be made.

    Attributes:
        actor: makes it.
        seconds: longest time, s.
        lines: what a person reads before it is made.
        done: whether all of it was made.
        leaves: whether a reading lies outside of what was planned; that ends the flight.
    """

    actor: Actor
    seconds: float
    lines: tuple[str, ...]
    done: Callable[[], bool]
    leaves: Callable[[Reading], bool] = lambda _: False


@dataclass(frozen=True)
class JointRoom:
    """What one joint may do now.

    Attributes:
        index: of the joint.
        centre: where it stands.
        amplitude: how far from there it may go, made smaller than asked where it must be.
        noise: standard deviation of its readings at rest.
        line: for people.
    """

    index: int
    centre: float
    amplitude: float
    noise: float
    line: str


def diagnosis_contract(info: DriverInfo, control_hz: float) -> PolicyContract:
    """Returns the contract of a diagnosis from a robot's data sheet alone.

    Raises:
        ContractError: it reports no positions, or a joint has neither ends nor a largest effort.
    """
    if info.command != "effort":
        return motion_contract(info, control_hz)
    joints = len(info.joints)
    if info.signals.get("joint_pos") != joints:
        raise DiagnosisError(
            f"robot {info.name!r} reports no 'joint_pos' of {joints} values; it has "
            f"{dict(info.signals)}"
        )
    for joint, most in zip(info.joints, info.max_effort, strict=True):
        if not (math.isfinite(most) and most > 0):
            raise DiagnosisError(
                f"joint {joint!r} has a largest effort of {most}; give the driver its limit"
            )
    action = ActionSpec(
        joints=info.joints,
        mode="effort",
        unit=info.unit,
        scale=info.max_effort,
        home=(0.0,) * joints,
        low=tuple(-x for x in info.max_effort),
        high=info.max_effort,
        max_rate=(math.inf,) * joints,
        max_effort=info.max_effort,
    )
    unit = "m" if info.unit == "N" else "rad"
    units = {"joint_pos": unit, "joint_vel": f"{unit}/s"}
    signals = tuple(Signal(n, joints, u) for n, u in units.items() if info.signals.get(n) == joints)
    return PolicyContract("diagnose", control_hz, signals, action)


def plain_contract(contract: PolicyContract) -> PolicyContract:
    """Returns a policy's contract with absolute commands, joint signals alone and no scaling."""
    action = contract.action
    if action.mode == "delta_position":
        action = replace(action, mode="position")
    known = {s.name: s for s in contract.signals}
    unit = {"N m": "rad", "N": "m"}.get(action.unit, action.unit)
    units = {"joint_pos": unit, "joint_vel": f"{unit}/s"}
    signals = tuple(Signal(n, known[n].size, u) for n, u in units.items() if n in known)
    return replace(contract, action=action, signals=signals, cameras=(), memory=0)


def room_of(
    settings: DiagnosisSettings, guard: Guard, info: DriverInfo, rest: np.ndarray
) -> JointRoom:
    """Returns what a joint may do about where it stands.

    Args:
        settings: names the joint and asks for an amplitude.
        guard: the limits in force.
        info: the robot's data sheet.
        rest: (N, J) readings of the joints at rest.

    Raises:
        DiagnosisError: a joint that moves by itself, that stands at its end, or whose noise hides
            the motion that is left.
    """
    names = guard.contract.action.joints
    j = names.index(settings.joint)
    effort = guard.contract.action.mode == "effort"
    low, high = (
        (info.low[j], info.high[j]) if effort else (guard.limits.low[j], guard.limits.high[j])
    )
    centre, noise = float(np.mean(rest[:, j])), float(np.std(rest[:, j], ddof=1))
    drift = abs(float(np.mean(rest[len(rest) // 2 :, j]) - np.mean(rest[: len(rest) // 2, j])))
    quick = float(np.std(np.diff(rest[:, j])))  # what a slow motion adds nothing to
    if drift > max(8 * quick / math.sqrt(len(rest) / 2), 0.2 * settings.amplitude):
        raise DiagnosisError(
            f"joint {settings.joint!r} moves by {drift:.3g} while nothing commands it; bring it to "
            "rest, and hold up what would fall"
        )
    room = SHARE * min(centre - low, high - centre)
    if room < LEAST * settings.amplitude:
        raise DiagnosisError(
            f"joint {settings.joint!r} is at {centre:.3g} of {low:.3g} to {high:.3g}: too near its "
            f"end to move by {settings.amplitude:g}; move it towards the middle first"
        )
    amplitude = min(settings.amplitude, room)
    if amplitude < SIGNAL * noise:
        raise DiagnosisError(
            f"joint {settings.joint!r}: its readings shake by {noise:.2g}, which hides a motion of "
            f"{amplitude:.2g}; ask for --amplitude {SIGNAL * noise:.2g} at least"
        )
    line = f"{settings.joint}: {centre:+.3f} +- {amplitude:.3f} (room {room:.3g})"
    if amplitude < settings.amplitude:
        line += f", made smaller from {settings.amplitude:g}"
    return JointRoom(j, centre, amplitude, noise, line)


def _positions(guard: Guard, rest: np.ndarray, j: int, way: np.ndarray) -> MotionActor:
    """Returns the actor that leads joint ``j`` along a way (T,) and holds the others."""
    centre = np.clip(np.mean(rest, axis=0), guard.contract.action.low, guard.contract.action.high)
    action = replace(guard.contract.action, mode="position", home=tuple(centre.tolist()))
    targets = np.tile(centre, (len(way), 1))
    targets[:, j] = way
    return MotionActor(MotionPlan(replace(guard.contract, action=action), targets, (), "steps"))


def _by_positions(
    guard: Guard, rest: np.ndarray, room: JointRoom, way: np.ndarray, what: str
) -> Excitation:
    """Returns a motion of positions (T,) after a rest."""
    hz = guard.contract.control_hz
    still = np.full(math.ceil((REST_S + guard.config.ramp_s) * hz), room.centre)
    actor = _positions(guard, rest, room.index, np.concatenate([still, way]))
    seconds = (len(still) + len(way)) / hz
    return Excitation(
        actor=actor,
        seconds=1.2 * seconds + 2.0,
        lines=(f"{what}, {seconds:.0f} s at {hz:g} Hz", room.line),
        done=lambda: actor.done,
    )


def position_steps(
    settings: DiagnosisSettings, guard: Guard, rest: np.ndarray, room: JointRoom
) -> Excitation:
    """Returns steps between the two sides of the centre, of sizes that differ.

    Raises:
        DiagnosisError: the guard lets the joint go too slowly for a step.
    """
    rng = np.random.default_rng(settings.seed)
    count, hz = settings.trials, guard.contract.control_hz
    rate = float(guard.limits.rate[room.index])
    rise_s, unit = 2 * room.amplitude / rate, guard.contract.action.units[room.index]
    if rise_s > 0.5 * settings.hold_s:
        raise DiagnosisError(
            f"joint {settings.joint!r} may move at {rate:.3g} {unit}/s now, so a "
            f"step of {2 * room.amplitude:.3g} takes {rise_s:.2g} s of {settings.hold_s:g} s; ask "
            f"for --amplitude {rate * settings.hold_s / 4:.2g}, or for a higher stage of speed"
        )
    sizes = room.amplitude * rng.uniform(0.6, 1.0, count) * np.where(np.arange(count) % 2, -1, 1)
    holds = rng.integers(0, 4, count) + math.ceil(settings.hold_s * hz)
    way = np.repeat(room.centre + sizes, holds)
    way = np.concatenate([way, _way(way[-1], room.centre, rate, hz)])
    return _by_positions(guard, rest, room, way, f"{count} steps")


def _way(start: float, end: float, rate: float, hz: float) -> np.ndarray:
    """Returns a way (T,) of least jerk between two positions, at half the rate at most."""
    count = max(2, math.ceil(2 * 1.875 * abs(end - start) / rate * hz))
    return start + (end - start) * minimum_jerk(np.arange(1, count + 1) / count)


def sweeps(
    settings: DiagnosisSettings, guard: Guard, rest: np.ndarray, room: JointRoom
) -> Excitation:
    """Returns sweeps to and fro over the same positions, at speeds from a tenth of the top to it.

    Raises:
        DiagnosisError: the guard or the room leave no stretch of constant speed.
    """
    hz = guard.contract.control_hz
    rate = float(guard.limits.rate[room.index])
    top = min(settings.speed, SHARE * rate, room.amplitude / (2 * TURN_S))
    if top < 0.05 * settings.speed:
        raise DiagnosisError(
            f"joint {settings.joint!r}: the limits leave sweeps of {top:.2g} of the "
            f"{settings.speed:g} {guard.contract.action.unit}/s asked for; give it more "
            "room, or a higher stage of speed"
        )
    speeds = np.linspace(0.1, 1.0, max(2, settings.trials // 4)) * top
    way = [room.centre]
    for speed in np.repeat(speeds, 2):
        for side in (1, -1):
            way += _pass(way[-1], room.centre + side * room.amplitude, float(speed), hz)
    way += _way(way[-1], room.centre, rate, hz).tolist()
    return _by_positions(
        guard,
        rest,
        room,
        np.array(way),
        f"{4 * len(speeds)} sweeps at {speeds[0]:.2g} to {top:.2g}",
    )


def _pass(start: float, end: float, speed: float, hz: float) -> list[float]:
    """Returns a way from rest to rest at a constant speed between its ends' acceleration."""
    sign, length = math.copysign(1.0, end - start), abs(end - start)
    turn = math.ceil(TURN_S * hz)
    ramp = speed / hz * (np.arange(1, turn + 1) / turn)
    ends = float(np.sum(ramp))
    middle = max(0, round((length - 2 * ends) / (speed / hz)))
    strides = np.concatenate([ramp, np.full(middle, speed / hz), ramp[::-1]])
    return (start + sign * np.cumsum(strides)).tolist()


def stillness(
    settings: DiagnosisSettings, guard: Guard, rest: np.ndarray, room: JointRoom
) -> Excitation:
    """Returns a rest; no effort of a robot that takes efforts."""
    hz = guard.contract.control_hz
    count = math.ceil(settings.trials * settings.hold_s * hz)
    what = f"rest, {count / hz:.0f} s"
    if guard.contract.action.mode == "effort":
        mover = EffortMoves(guard.contract, room, (), pause_s=count / hz)
        return Excitation(mover, count / hz + 3.0, (what,), lambda: mover.done)
    return _by_positions(guard, rest, room, np.full(count, room.centre), what)


@dataclass(frozen=True)
class EffortMove:
    """One move: an effort for a way or a time, then a brake or a coast."""

    effort: float
    seconds: float
    brakes: bool = True


class EffortMoves:
    """Moves of constant effort about a centre, each followed by a brake or by a coast, and a pause.

    A move pushes until the brake, with the largest effort of all moves, still stops the joint
    inside its room; the way to stop is at most the way of the push times the share of the efforts.
    """

    def __init__(
        self,
        contract: PolicyContract,
        room: JointRoom,
        moves: Sequence[EffortMove],
        pause_s: float = PAUSE_S,
        coast_s: float = 0.0,
    ) -> None:
        """Takes the contract, the room, the moves, the pause and the longest coast, s."""
        self.contract, self._room, self._moves = contract, room, tuple(moves)
        self._brake = max((abs(m.effort) for m in moves), default=0.0)
        self._hz, self._pause_s, self._coast_s = contract.control_hz, pause_s, coast_s
        self._stir = max(4 * room.noise, 1e-3 * room.amplitude)
        self.reset()

    @property
    def done(self) -> bool:
        """Whether all moves were made."""
        return self._number >= len(self._moves) and self._phase == "end"

    def reset(self) -> None:
        """Begins again."""
        self._number, self._phase, self._steps = 0, "pause", 0
        self._from = self._peak = self._room.centre
        self._sign = self._share = 1.0
        self._recent: list[float] = []

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns efforts (J,): that of the move for its joint, none for the others."""
        position = float(obs[self._room.index])
        self._recent = [*self._recent[-9:], position]
        efforts = np.zeros(len(self.contract.action.joints), np.float32)
        efforts[self._room.index] = self._effort(position)
        self._steps += 1
        return efforts

    def _effort(self, position: float) -> float:
        """Returns the effort on the joint, and moves on to the next phase where it is due."""
        elapsed_s = self._steps / self._hz
        pause_s = self._pause_s if self._number else max(self._pause_s, REST_S)
        if self._phase == "pause" and elapsed_s >= pause_s:
            self._begin(position)
        elif self._phase == "push" and self._pushed(position, elapsed_s):
            self._enter("brake" if self._moves[self._number].brakes else "coast")
            self._peak = position
        elif self._phase == "brake" and self._turned(position):
            self._next()
        elif self._phase == "coast" and self._sign * (position - self._room.centre) > (
            COAST_END * self._room.amplitude
        ):
            self._weaken(position)
        elif self._phase == "coast" and (elapsed_s >= self._coast_s or self._still()):
            self._next()
        if self._phase == "push":
            return self._sign * self._share * abs(self._moves[self._number].effort)
        return -self._sign * self._brake if self._phase == "brake" else 0.0

    def _weaken(self, position: float) -> None:
        """Brakes a joint that coasts out of its room, and pushes less from now on."""
        self._share *= WEAKER
        self._peak = position
        self._enter("brake")

    def _enter(self, phase: str) -> None:
        """Begins a phase."""
        self._phase, self._steps = phase, 0

    def _begin(self, position: float) -> None:
        """Begins the next move, towards the farther side of the room; its sign where it may."""
        if self._number >= len(self._moves):
            self._enter("end")
            return
        away = position - self._room.centre
        wanted = math.copysign(1.0, self._moves[self._number].effort)
        far = abs(away) > 0.25 * self._room.amplitude
        self._sign = -math.copysign(1.0, away) if far else wanted
        self._from = position
        self._enter("push")

    def _pushed(self, position: float, elapsed_s: float) -> bool:
        """Returns whether the push is over."""
        move = self._moves[self._number]
        way = self._sign * (position - self._from)
        left = self._room.amplitude - self._sign * (position - self._room.centre)
        if not move.brakes:
            return elapsed_s >= move.seconds or way >= COAST_START * self._room.amplitude
        lag = self._sign * (self._recent[-1] - self._recent[max(0, len(self._recent) - 4)])
        brake = max(way, 0.0) * abs(move.effort) / self._brake + max(lag, 0.0)
        return elapsed_s >= move.seconds or brake >= left

    def _turned(self, position: float) -> bool:
        """Returns whether the brake has stopped the joint: it goes back, or never went."""
        self._peak = self._sign * max(self._sign * self._peak, self._sign * position)
        back = self._sign * (self._peak - position)
        return back > self._stir or (self._steps > 0.3 * self._hz and self._still())

    def _still(self) -> bool:
        """Returns whether the last ten readings are all within the noise."""
        return len(self._recent) == 10 and np.ptp(self._recent) <= self._stir

    def _next(self) -> None:
        """Goes on to the pause before the next move."""
        self._number += 1
        self._enter("pause")


def _by_efforts(
    settings: DiagnosisSettings,
    guard: Guard,
    room: JointRoom,
    mover: EffortMoves,
    seconds: float,
    what: str,
) -> Excitation:
    """Returns moves of effort, with the flight's end where the joint leaves its room."""
    joints = guard.contract.action.joints
    lines = [what, room.line]
    if len(joints) > 1:
        others = ", ".join(n for n in joints if n != settings.joint)
        lines.append(f"no effort on {others}: hold them mechanically, and up what would fall")

    def leaves(reading: Reading) -> bool:
        position = np.asarray(reading.signals.get("joint_pos", ()), float)
        away = position[room.index] - room.centre if room.index < position.size else 0.0
        return bool(abs(away) > BEYOND * room.amplitude)

    return Excitation(mover, seconds, tuple(lines), lambda: mover.done, leaves)


def _braked(
    settings: DiagnosisSettings,
    guard: Guard,
    room: JointRoom,
    moves: list[EffortMove],
    what: str,
) -> Excitation:
    """Returns moves after each of which the joint is braked."""
    mover = EffortMoves(guard.contract, room, moves)
    seconds = 3.0 + len(moves) * (2 * settings.hold_s + 2 * PAUSE_S)
    return _by_efforts(settings, guard, room, mover, seconds, what)


def _top_effort(settings: DiagnosisSettings, guard: Guard, room: JointRoom) -> float:
    """Returns the largest effort of a routine, N m or N."""
    allowed = min(guard.limits.high[room.index], -guard.limits.low[room.index])
    return settings.effort_share * float(allowed)


def levels(
    settings: DiagnosisSettings, guard: Guard, rest: np.ndarray, room: JointRoom
) -> Excitation:
    """Returns moves at efforts from a twentieth to all of the top, each both ways."""
    del rest
    top, count = _top_effort(settings, guard, room), max(2, settings.trials // 2)
    efforts = np.linspace(1 / count, 1.0, count) * top
    moves = [EffortMove(s * float(e), settings.hold_s) for e in efforts for s in (1, -1)]
    what = f"{count} levels of effort, {efforts[0]:.2g} to {top:.3g} {guard.contract.action.unit}"
    return _braked(settings, guard, room, moves, f"{what}, each both ways")


def pulses(
    settings: DiagnosisSettings, guard: Guard, rest: np.ndarray, room: JointRoom
) -> Excitation:
    """Returns short pulses between half and all of the top effort, to either side."""
    del rest
    rng = np.random.default_rng(settings.seed)
    top = _top_effort(settings, guard, room)
    sizes = top * rng.uniform(0.5, 1.0, settings.trials)
    sizes[0] = top
    signs = np.where(np.arange(settings.trials) % 2, -1, 1)
    moves = [EffortMove(float(x), settings.hold_s) for x in sizes * signs]
    what = (
        f"{settings.trials} pulses of {sizes.min():.3g} to {top:.3g} {guard.contract.action.unit}"
    )
    return _braked(settings, guard, room, moves, what)


def coasts(
    settings: DiagnosisSettings, guard: Guard, rest: np.ndarray, room: JointRoom
) -> Excitation:
    """Returns pushes to either side, after each of which the joint swings free."""
    del rest
    rng = np.random.default_rng(settings.seed)
    top = _top_effort(settings, guard, room)
    shares = rng.uniform(0.7, 1.0, settings.trials) * np.where(
        np.arange(settings.trials) % 2, -1, 1
    )
    moves = [EffortMove(float(top * x), settings.hold_s / 4, brakes=False) for x in shares]
    mover = EffortMoves(guard.contract, room, moves, coast_s=settings.hold_s)
    seconds = 3.0 + len(moves) * (2 * settings.hold_s + PAUSE_S)
    what = f"{settings.trials} pushes of {top:.3g} {guard.contract.action.unit}, then no effort"
    return _by_efforts(settings, guard, room, mover, seconds, what)
