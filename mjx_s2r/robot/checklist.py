"""The checklist before a robot moves: what the program can see, it checks; the rest a person says.

Every answer is kept with who gave it and when. An item that nobody can answer is a no.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.driver import DriverInfo
from mjx_s2r.robot.estop import StopSource

PROGRAM = "program"
SPACE_BYTES = 200_000_000  # free room for a log without pictures, at least
PRESS_S = 20.0  # time that a person has to press an emergency stop
PICTURE_S = 60.0  # of raw pictures that must find room besides


@dataclass(frozen=True)
class Finding:
    """What the program found about one item: yes, no, or None for what a person must say."""

    ok: bool | None
    note: str


@dataclass(frozen=True)
class ChecklistItem:
    """One item.

    Attributes:
        name: for the record.
        question: what a person is asked.
        look: what the program sees of it; None where it sees nothing.
        person: whether a person must say yes even if the program found nothing wrong.
    """

    name: str
    question: str
    look: Callable[[], Finding] | None = None
    person: bool = True


@dataclass(frozen=True)
class Answer:
    """One answer: who said so (`PROGRAM`, or a name), when (UTC), and what was seen."""

    item: str
    ok: bool
    by: str
    at: str
    note: str = ""
    overridden: bool = False


@dataclass(frozen=True)
class ChecklistRecord:
    """The walk through a checklist; ``ok`` when every item is."""

    robot: str
    answers: tuple[Answer, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether every item was answered with yes."""
        return all(a.ok for a in self.answers)

    @property
    def failed(self) -> list[str]:
        """Names of the items that were not, with what was seen."""
        return [f"{a.item} ({a.note})" if a.note else a.item for a in self.answers if not a.ok]

    def to_json(self) -> dict[str, Any]:
        """Returns the record as JSON values."""
        return {"robot": self.robot, "ok": self.ok, "answers": [asdict(a) for a in self.answers]}


def walk(
    robot: str,
    items: Sequence[ChecklistItem],
    ask: Callable[[str], bool],
    by: str,
    now: Callable[[], str],
    overridden: bool = False,
) -> ChecklistRecord:
    """Returns the record of a walk that ends at the first no.

    Args:
        robot: name of the robot.
        items: in order.
        ask: puts a question to a person and returns the answer.
        by: name of that person.
        now: the time (UTC), for the record.
        overridden: nobody is asked: every question is answered with yes in that name.
    """
    answers: list[Answer] = []
    for item in items:
        found = item.look() if item.look else Finding(None, "")
        if found.ok is False:
            answers.append(Answer(item.name, False, PROGRAM, now(), found.note))
            break
        if found.ok and not item.person:
            answers.append(Answer(item.name, True, PROGRAM, now(), found.note))
            continue
        text = f"{item.question} [{found.note}]" if found.note else item.question
        said = overridden or ask(text)
        answers.append(Answer(item.name, said, by, now(), found.note, overridden))
        if not said:
            break
    return ChecklistRecord(robot, tuple(answers))


def estop_press(
    stop: StopSource, press: Callable[[], None] | None, wait_s: float = PRESS_S
) -> Finding:
    """Returns whether an emergency stop is felt when it is pressed.

    Args:
        stop: not pressed now.
        press: what presses it; None where a person must, within ``wait_s``.
        wait_s: how long a press is waited for, s.
    """
    if stop.pressed():
        return Finding(False, f"{stop.name} is pressed already; release it")
    if press is not None:
        press()
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        if stop.pressed():
            return Finding(True, f"{stop.name} was pressed and felt")
        time.sleep(0.02)
    return Finding(False, f"{stop.name} was not pressed within {wait_s:g} s, or is not felt")


def joint_limits(contract: PolicyContract, info: DriverInfo) -> Finding:
    """Returns whether every joint's command has two ends in the software."""
    if contract.action.mode == "effort":
        return Finding(
            None, "efforts are commanded: no limit of the guard keeps a joint from its end"
        )
    open_ended = [
        joint
        for joint, low, high, a, b in zip(
            contract.action.joints,
            contract.action.low,
            contract.action.high,
            info.low,
            info.high,
            strict=True,
        )
        if not (math.isfinite(max(low, a)) and math.isfinite(min(high, b)))
    ]
    if open_ended:
        return Finding(False, f"joints {open_ended} have no limits; add them to the driver")
    return Finding(True, f"{len(info.joints)} joints have ends in the guard")


def velocity_limits(info: DriverInfo) -> Finding:
    """Returns what the data sheet says of speed; only a person knows what the motors were told."""
    unknown = [j for j, rate in zip(info.joints, info.max_rate, strict=True) if math.isinf(rate)]
    if unknown:
        return Finding(None, f"the driver names none for {unknown}")
    return Finding(None, f"the driver names {min(info.max_rate):g} to {max(info.max_rate):g} /s")


def collision(contract: PolicyContract, info: DriverInfo) -> Finding:
    """Returns what limits the force of a contact."""
    efforts = [min(a, b) for a, b in zip(contract.action.max_effort, info.max_effort, strict=True)]
    if all(map(math.isfinite, efforts)):
        return Finding(None, f"efforts end at {max(efforts):g}")
    return Finding(None, "no largest effort is known; the guard limits how far a command may lead")


def fallback(info: DriverInfo, watchdog: bool) -> Finding:
    """Returns what stops the robot when this program cannot."""
    parts = ["the watchdog process"] if watchdog else []
    if math.isfinite(info.timeout_s):
        parts.append(f"the robot itself after {info.timeout_s:g} s without a command")
    if not parts:
        return Finding(
            None, "nothing stops the robot if this process dies: no watchdog, no timeout"
        )
    return Finding(True, f"stopped by {' and by '.join(parts)}")


def log_room(folder: Path, contract: PolicyContract) -> Finding:
    """Returns whether the log can be written and has room."""
    try:
        probe = folder / ".probe"
        probe.write_bytes(b"0")
        probe.unlink()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(False, f"{folder} cannot be written ({error.strerror}); choose --flights")
    pictures = sum(c.height * c.width * c.channels * c.rate_hz for c in contract.cameras)
    wanted = SPACE_BYTES + int(PICTURE_S * pictures)
    if free < wanted:
        return Finding(
            False, f"{free / 1e6:.0f} MB free in {folder}, {wanted / 1e6:.0f} MB wanted; make room"
        )
    return Finding(True, f"{free / 1e9:.1f} GB free in {os.fspath(folder)}")


def speed_stage(fraction: float, earned: bool) -> Finding:
    """Returns whether the speed is a reduced one, or was earned stage by stage."""
    if earned:
        return Finding(True, f"{100 * fraction:.0f} % of the speed, the stage that was reached")
    return Finding(None, f"{100 * fraction:.0f} % of the speed was asked for and not earned")
