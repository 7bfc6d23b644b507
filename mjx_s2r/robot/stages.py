"""Speed stages of one policy on one robot: 10, 25, 50, 75 and 100 % of the speed, earned in turn.

A stage is left upwards by a person, or by the rule when it is asked for: long enough at the speed
of this stage, enough episodes, no stop since it was entered, few held steps. What was flown slower
shows nothing of this speed, and does not count. A stop leads one stage down, at once.
The functions are pure; `StageFile` keeps the state between runs, with everything that happened.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mjx_s2r.contract import PolicyContract, to_json

SCHEMA = 1
FIRST_EPISODES = 3  # of a new policy, flown at half the speed of the stage
FIRST_FACTOR = 0.5
SLACK = 1e-9  # of a fraction of the speed


class StageError(ValueError):
    """A stage that cannot be entered, or a file of stages that cannot be used; says the remedy."""


@dataclass(frozen=True)
class Stage:
    """One stage and what must be flown at it before the next.

    Attributes:
        fraction: of the contract's speed (of its effort in effort mode).
        least_s: time flown at it, s.
        least_episodes: episodes flown at it.
    """

    fraction: float
    least_s: float
    least_episodes: int = 3

    @property
    def percent(self) -> str:
        """The fraction for people."""
        return f"{100 * self.fraction:.0f} %"


STAGES = (
    Stage(0.10, 60.0, 5),
    Stage(0.25, 600.0),
    Stage(0.50, 1800.0),
    Stage(0.75, 3600.0),
    Stage(1.00, 0.0, 0),
)
HELD_SHARE = 0.01  # largest share of held steps with which the rule promotes


@dataclass(frozen=True)
class EpisodeTally:
    """What counts of one episode.

    Attributes:
        seconds: flown.
        steps: commands that were sent.
        held: steps in which the guard held the last command.
        fraction: of the speed, that it was flown at.
        stop: why the guard or a person stopped the robot; "" for an episode that ended by itself.
    """

    seconds: float
    steps: int
    held: int
    fraction: float
    stop: str = ""


@dataclass(frozen=True)
class StageChange:
    """One change of the stage: from and to as indices of `STAGES`, by whom, why, when (UTC)."""

    start: int
    end: int
    by: str
    reason: str
    at: str


@dataclass(frozen=True)
class StageState:
    """Where one policy stands on one robot.

    Attributes:
        robot: name of the robot.
        policy: sha256 of the policy's file.
        stage: index of `STAGES`.
        seconds: flown at this stage's speed since it was entered or since the last stop, s.
        episodes: flown at this speed since then.
        steps: commands sent at this speed since then.
        held: of these, steps in which the guard held.
        total_episodes: flown by this policy on this robot at all.
        history: every change of the stage.
    """

    robot: str
    policy: str
    stage: int = 0
    seconds: float = 0.0
    episodes: int = 0
    steps: int = 0
    held: int = 0
    total_episodes: int = 0
    history: tuple[StageChange, ...] = ()

    @property
    def speed_fraction(self) -> float:
        """Fraction of the speed that the next episode is flown at."""
        first = FIRST_FACTOR if self.total_episodes < FIRST_EPISODES else 1.0
        return first * STAGES[self.stage].fraction


def after_episode(state: StageState, flown: EpisodeTally, at: str) -> StageState:
    """Returns the state after an episode; a stop leads one stage down and starts the count again.

    An episode in which nothing was flown does not count, nor one that was slower than the stage,
    which is one of the first episodes of a policy all the same. A start that was refused, or a
    flight that ended in an error, shows nothing of the policy: it leads down and is none of them.

    Args:
        state: before.
        flown: the episode.
        at: when, UTC.
    """
    if not flown.steps and not flown.stop:
        return state
    state = replace(state, total_episodes=state.total_episodes + bool(flown.steps))
    if flown.fraction >= STAGES[state.stage].fraction - SLACK:
        state = replace(
            state,
            seconds=state.seconds + flown.seconds,
            episodes=state.episodes + 1,
            steps=state.steps + flown.steps,
            held=state.held + flown.held,
        )
    if not flown.stop:
        return state
    return _enter(state, max(0, state.stage - 1), "rule", f"stopped: {flown.stop}", at)


def still_wanted(state: StageState) -> list[str]:
    """Returns what the rule still asks for before the next stage; nothing where it may be entered.

    At the last stage there is no next one, and one line says so.
    """
    stage = STAGES[state.stage]
    if state.stage == len(STAGES) - 1:
        return ["this is the last stage"]
    reasons = []
    if state.seconds < stage.least_s:
        reasons.append(f"{state.seconds:.0f} s of {stage.least_s:.0f} s flown at {stage.percent}")
    if state.episodes < stage.least_episodes:
        reasons.append(
            f"{state.episodes} of {stage.least_episodes} episodes flown at {stage.percent}"
        )
    share = state.held / state.steps if state.steps else 0.0
    if share > HELD_SHARE:
        reasons.append(
            f"{100 * share:.1f} % of the steps were held by the guard, more than "
            f"{100 * HELD_SHARE:.0f} %"
        )
    return reasons


def promote(state: StageState, by: str, at: str, anyway: str = "") -> StageState:
    """Returns the state one stage up.

    Args:
        state: before.
        by: name of the person, or "rule".
        at: when, UTC.
        anyway: why it is entered although the rule asks for more; kept in the history.

    Raises:
        StageError: the rule asks for more and no reason was given, or this is the last stage.
    """
    reasons = still_wanted(state)
    if state.stage == len(STAGES) - 1:
        raise StageError(f"{STAGES[state.stage].percent} is the last stage; there is none above it")
    if reasons and not anyway:
        raise StageError(
            f"not yet past {STAGES[state.stage].percent}: {'; '.join(reasons)}; fly more, or say "
            "why it should be left all the same (--anyway REASON)"
        )
    reason = anyway if reasons else f"{state.seconds:.0f} s and {state.episodes} episodes flown"
    return _enter(state, state.stage + 1, by, reason, at)


def demote(state: StageState, by: str, reason: str, at: str) -> StageState:
    """Returns the state one stage down; at the first stage the count starts again."""
    return _enter(state, max(0, state.stage - 1), by, reason, at)


def _enter(state: StageState, stage: int, by: str, reason: str, at: str) -> StageState:
    """Returns the state at the start of a stage."""
    change = StageChange(state.stage, stage, by, reason, at)
    return replace(
        state,
        stage=stage,
        seconds=0.0,
        episodes=0,
        steps=0,
        held=0,
        history=(*state.history, change),
    )


def policy_digest(path: str | Path) -> str:
    """Returns the sha256 of a policy's file, which is what a stage belongs to.

    Raises:
        StageError: no such file.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise StageError(f"{path} cannot be read ({error.strerror}); name a policy") from error


def contract_digest(contract: PolicyContract) -> str:
    """Returns the sha256 of a contract, which the stage of a motion without a policy belongs to."""
    return hashlib.sha256(to_json(contract).encode()).hexdigest()


@dataclass(frozen=True)
class StageFile:
    """The file of one policy on one robot; written as a whole or not at all."""

    path: Path
    robot: str
    policy: str

    @classmethod
    def of(cls, folder: Path, robot: str, policy: str) -> "StageFile":
        """Returns the file in the ``folder`` of a robot; it need not exist yet."""
        return cls(folder / f"stage-{policy[:16]}.json", robot, policy)

    def load(self) -> StageState:
        """Returns the state; a policy that never flew is at the first stage.

        Raises:
            StageError: a file that was damaged, changed by hand, or is of another robot or policy.
        """
        if not self.path.exists():
            return StageState(self.robot, self.policy)
        remedy = f"move {self.path} away and begin at {STAGES[0].percent} again"
        try:
            body = json.loads(self.path.read_text())
            digest = body.pop("sha256")
            schema = body.pop("schema")
            if digest != _digest(body):
                raise StageError(
                    f"the stages in {self.path} were changed after they were written (sha256 "
                    f"differs); {remedy}"
                )
            if schema != SCHEMA:
                raise StageError(
                    f"{self.path} has schema {schema}, this program reads {SCHEMA}; {remedy}"
                )
            history = tuple(StageChange(**x) for x in body.pop("history"))
            state = StageState(**body, history=history)
        except StageError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StageError(f"{self.path} holds no stages ({error}); {remedy}") from error
        for what, found, wanted in (
            ("robot", state.robot, self.robot),
            ("policy", state.policy, self.policy),
        ):
            if found != wanted:
                raise StageError(f"{self.path} is of {what} {found!r}, not of {wanted!r}; {remedy}")
        if not 0 <= state.stage < len(STAGES):
            raise StageError(f"{self.path} names stage {state.stage}, which is none; {remedy}")
        return state

    def save(self, state: StageState) -> None:
        """Writes the state; a crash leaves the old file or the new one."""
        body = asdict(state)
        text = json.dumps(body | {"schema": SCHEMA, "sha256": _digest(body)}, indent=1)
        write_whole(self.path, text + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes a file by way of a draft beside it, so that no reader ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _digest(body: Mapping[str, Any]) -> str:
    """Returns the sha256 of the canonical JSON of ``body``."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
