"""What the guard promises for any input, by random and hostile flights (hypothesis)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as HPhase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.decisions import FlightState, Pilot
from mjx_s2r.robot.driver import DriverInfo
from mjx_s2r.robot.frames import FrameStack
from mjx_s2r.robot.phases import Deed, Phase
from mjx_s2r.robot.safety import CAUSES, Event, Guard, Mode, SafetyConfig
from mjx_s2r.robot.safety.limits import Motion, at_rest, command_limits, limit
from tests.robot.fakes import contract_for, info_for, reading_at
from tests.robot.hostile import EMERGENCIES, SPOILT, SPOILT_PICTURES, VALUES

DT_S = 0.1
TOL = 3e-6  # commands are float32
CODES = {cause.code for cause in CAUSES}
FLOWN = {"steps": 0}
PHASES = (HPhase.generate, HPhase.shrink)

configs = st.builds(
    SafetyConfig,
    soft_limit=st.sampled_from((1.0, 0.95, 0.4)),
    speed_fraction=st.sampled_from((1.0, 0.3)),
    ramp_s=st.sampled_from((0.0, 0.5)),
    tolerated_bad=st.sampled_from((0, 2)),
    max_acceleration=st.sampled_from(((), (4.0,), (1.0, 9.0))),
    max_jerk=st.sampled_from(((), (30.0,))),
    check_s=st.sampled_from((0.0, 0.5)),
    hold_stop_s=st.sampled_from((1.0, 10.0)),
)


def contract_of(kind: str, cameras: bool) -> PolicyContract:
    """Returns a contract: "effort", or "delta" or "position" with or without a known gain."""
    if kind == "effort":
        return contract_for("effort", cameras)
    contract = contract_for("position" if "position" in kind else "delta_position", cameras)
    kp = () if "blind" in kind else contract.action.kp
    return replace(contract, action=replace(contract.action, kp=kp))


class Flights(RuleBasedStateMachine):
    """Flights of one policy on one robot, one after another, with faults of every kind."""

    @initialize(
        config=configs,
        kind=st.sampled_from(("delta", "position", "delta blind", "position blind", "effort")),
        cameras=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )
    def begin(self, config: SafetyConfig, kind: str, cameras: bool, seed: int) -> None:
        """Takes a robot and its rules."""
        self.contract = contract_of(kind, cameras)
        self.info: DriverInfo = info_for(self.contract)
        self.guard = Guard.build(config, self.contract, self.info)
        self.config, self.effort = config, kind == "effort"
        self.rng, self.now_s, self.answer = np.random.default_rng(seed), 50.0, None
        self.late_s, self.late_events = 0.0, ()
        self.restart()

    def restart(self) -> None:
        """Begins a flight, the robot somewhere inside its stops."""
        self.q = self.rng.uniform(-0.9, 0.9, 2)
        self.pilot, self.flight = Pilot(self.guard, self), FlightState()  # type: ignore[arg-type]
        self.frames = FrameStack(self.contract)
        self.sent: list[np.ndarray] = []

    # What the pilot asks of the loop around it.
    def ask(self, observation: np.ndarray, seen: Any) -> Any:
        """Answers as the rule says."""
        assert observation.dtype == np.float32 and np.isfinite(observation).all()
        return self.answer

    def later(self) -> tuple[float, tuple[Event, ...]]:
        """Returns the time after a slow answer."""
        return self.now_s + self.late_s, ()

    def way(self, target: np.ndarray) -> np.ndarray:
        """Goes there at once."""
        return target

    def step(self, reading: Any = None, faults: tuple[Event, ...] = ()) -> Any:
        """Flies one step and checks what was promised."""
        FLOWN["steps"] += 1
        self.now_s += DT_S
        good = reading_at(self.now_s, self.contract, joint_pos=self.q)
        for name in good.images:
            good.images[name][:] = self.rng.integers(0, 256, good.images[name].shape)
        reading = good if reading is None else reading(good)
        before = self.flight
        try:
            seen = self.frames.push(reading.images, reading.image_time_s)
        except (AttributeError, TypeError, RuntimeError):
            seen = {}
        step, self.flight = self.pilot.decide(before, reading, self.now_s, seen, faults, self)
        assert {event.code for event in step.events} <= CODES
        assert (step.command is None) == (self.flight.deed is not Deed.SEND)
        if before.phase is Phase.ESTOP:
            assert self.flight.phase is Phase.ESTOP and step.command is None
        if before.phase is Phase.DAMP:
            assert self.flight.phase in (Phase.DAMP, Phase.ESTOP) and step.command is None
        if step.command is not None:
            self.check_command(step.command)
            self.sent.append(step.command)
            self.q = self.q + 0.8 * (step.command - self.q) * (not self.effort)
        return step

    def check_command(self, command: np.ndarray) -> None:
        """Checks a command against every limit, from the commands before it alone."""
        assert command.shape == (2,) and command.dtype == np.float32
        assert np.isfinite(command).all()
        now = command.astype(float)
        if not self.sent:
            np.testing.assert_array_equal(now, np.float32(0 * self.q if self.effort else self.q))
            return
        last = self.sent[-1].astype(float)
        if self.effort:
            most = min(1.0, 3.0 * self.config.speed_fraction)
            assert (np.abs(now) <= most + TOL).all()
            return
        low, high = -2.0 * self.config.soft_limit, 2.0 * self.config.soft_limit
        low, high = max(low, -1.0), min(high, 1.0)
        assert (now >= np.minimum(low, last) - TOL).all()
        assert (now <= np.maximum(high, last) + TOL).all()
        speed = (now - last) / DT_S
        assert (np.abs(speed) <= 2.0 * self.config.speed_fraction + TOL / DT_S).all()
        most = np.array(self.config.max_acceleration or (np.inf,))
        before = self.sent[-2].astype(float) if len(self.sent) > 1 else last
        change = (speed - (last - before) / DT_S) / DT_S
        assert (np.abs(change) <= most + 3 * TOL / DT_S**2).all()

    @rule(count=st.integers(1, 25), size=st.sampled_from((0.01, 0.2, 5.0, 1e30)))
    def fly(self, count: int, size: float) -> None:
        """Flies with whatever the policy wants, in a new flight if the last is over."""
        self.start_again()
        for _ in range(count):
            self.answer = (size * self.rng.standard_normal(2)).astype(np.float32)
            self.step()

    @rule(count=st.integers(1, 25))
    def fly_legally(self, count: int) -> None:
        """A command inside every limit is sent as it is, to the bit."""
        self.start_again()
        for _ in range(count):
            if self.effort or "pos" in self.contract.action.mode[:3] or self.flight.guard is None:
                self.answer = np.zeros(2, np.float32)
                self.step()
                continue
            state = self.flight.guard
            small = 0.0005 * self.rng.uniform(-1, 1, 2)
            self.answer = np.float32(small)
            wish = np.clip(state.command + self.answer, np.float32(-1), np.float32(1))
            calm = not state.motion.speed.any() and not self.config.max_jerk
            inside = (np.abs(wish) <= 2.0 * self.config.soft_limit).all()
            near = (np.abs(wish - self.q) < 0.25).all() and state.ramp_s >= self.config.ramp_s
            step = self.step()
            if step.mode == Mode.RUN and calm and inside and near:
                np.testing.assert_array_equal(step.command, wish)
                assert not step.events

    @rule(spoil=st.sampled_from(SPOILT))
    def read_garbage(self, spoil: Any) -> None:
        """No reading of any type makes a fresh command, or an exception."""
        self.check_not_fresh(self.step(spoil))

    @rule(spoil=st.sampled_from(SPOILT_PICTURES))
    def see_garbage(self, spoil: Any) -> None:
        """No picture of any type does, either."""
        if self.contract.cameras:
            self.check_not_fresh(self.step(spoil))

    def check_not_fresh(self, step: Any) -> None:
        """Checks that nothing but a hold or a stop came of a reading, and that it was said."""
        assert step.mode != Mode.RUN and step.output is None
        assert step.events or step.phase in (Phase.DAMP, Phase.ESTOP)

    @rule(turns=st.sampled_from((-1, 1)))
    def wrap(self, turns: int) -> None:
        """A position that is a whole turn away holds."""
        if self.effort or self.flight.guard is None:
            return
        moved = self.q + np.array([turns * 2 * np.pi, 0.0])
        wide = tuple(replace(s, low=-99.0, high=99.0) for s in self.contract.signals)
        guard = Guard.build(self.config, replace(self.contract, signals=wide), self.info)
        self.pilot = Pilot(guard, self)  # type: ignore[arg-type]
        step = self.step(lambda r: replace(r, signals={**r.signals, "joint_pos": moved}))
        self.check_not_fresh(step)

    @rule(value=st.sampled_from((*VALUES, np.full(2, np.nan, np.float32))))
    def answer_garbage(self, value: Any) -> None:
        """An answer that is no command is not sent."""
        self.answer = value
        if isinstance(value, np.ndarray) and value.shape == (2,) and value.dtype.kind == "u":
            return
        step = self.step()
        if step.mode == Mode.RUN:
            assert len(self.sent) == 1 and step.output is None  # the first command is the pose

    @rule(seconds=st.sampled_from((0.05, 0.3, 3.0)))
    def hang(self, seconds: float) -> None:
        """A command from an old reading is not sent as fresh."""
        self.answer, self.late_s = np.full(2, 0.1, np.float32), seconds
        step = self.step()
        self.late_s = 0.0
        if seconds > 0.25 and len(self.sent) > 1:
            assert step.mode != Mode.RUN

    @rule(back_s=st.sampled_from((0.3, 20.0, 1e6)))
    def turn_the_clock_back(self, back_s: float) -> None:
        """Time that goes backwards ends the flight."""
        self.now_s -= back_s
        known = self.flight.guard.past if self.flight.guard is not None else self.flight.past
        step = self.step()
        if known.now_s > self.now_s:
            assert step.command is None
        self.now_s += back_s

    @rule(seconds=st.sampled_from((0.35, 5.0, 1e6)))
    def jump_ahead(self, seconds: float) -> None:
        """Time may pass; a reading from before it is old."""
        self.now_s += seconds
        self.check_not_fresh(self.step(lambda r: replace(r, time_s=r.time_s - seconds)))

    @rule(pressed=st.sampled_from(EMERGENCIES))
    def press_the_stop(self, pressed: Any) -> None:
        """An emergency stop is never left within the flight."""
        step = self.step(lambda r: replace(r, estop=pressed))
        assert step.command is None and self.flight.phase is Phase.ESTOP

    @rule()
    def start_again(self) -> None:
        """A flight that is over stays so; the next begins where the robot is."""
        if self.flight.phase in (Phase.DAMP, Phase.ESTOP):
            assert self.step().command is None
            self.now_s += DT_S
            self.restart()


def fly_all(examples: int) -> int:
    """Runs the flights; returns how many steps were flown."""
    FLOWN["steps"] = 0
    checks = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    rules = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        phases=PHASES,
        suppress_health_check=checks,
    )
    run_state_machine_as_test(Flights, settings=rules)
    return FLOWN["steps"]


def test_flights_with_faults_of_every_kind() -> None:
    assert fly_all(30) > 1000


@pytest.mark.slow
def test_a_million_steps_with_faults_of_every_kind() -> None:
    steps = fly_all(8000)
    assert steps > 1_000_000


numbers = st.floats(-3.0, 3.0, width=32)
pairs = st.tuples(numbers, numbers).map(lambda x: np.array(x, np.float32))
tighter = st.sampled_from(
    ({"speed_fraction": 0.4}, {"soft_limit": 0.3}, {"lead_s": 0.05}, {"stop_s": 0.2})
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(last=pairs, wish=pairs, position=pairs, share=st.floats(0.01, 1.0), blind=st.booleans())
def test_a_limited_command_is_legal(
    last: np.ndarray, wish: np.ndarray, position: np.ndarray, share: float, blind: bool
) -> None:
    contract = contract_of("delta blind" if blind else "delta", cameras=False)
    limits = command_limits(SafetyConfig(max_acceleration=(9.0,)), contract, info_for(contract))
    motion = at_rest(np.clip(last, -0.9, 0.9))
    once, _ = limit(limits, motion, wish, position.astype(float), DT_S, share)
    twice, events = limit(limits, motion, once, position.astype(float), DT_S, share)
    np.testing.assert_array_equal(once, twice)
    reach = 0.4 if blind else 0.3  # of a joint that is farther away, the command stays in breach
    assert not events or (np.abs(once - position) > reach).any()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(last=pairs, wish=pairs, change=tighter, offset=st.floats(-0.05, 0.05))
def test_a_tighter_limit_never_enlarges_a_command(
    last: np.ndarray, wish: np.ndarray, change: dict[str, Any], offset: float
) -> None:
    contract = contract_of("delta blind", cameras=False)
    last = np.clip(last, -0.55, 0.55)
    motion: Motion = at_rest(last)
    position = last.astype(float) + offset
    ways = [
        np.abs(
            limit(
                command_limits(c, contract, info_for(contract)), motion, wish, position, DT_S, 1.0
            )[0]
            - last
        )
        for c in (SafetyConfig(), SafetyConfig(**change))
    ]
    assert (ways[1] <= ways[0] + 1e-6).all()
