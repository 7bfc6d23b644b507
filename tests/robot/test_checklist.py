"""The checklist: the program's findings, a person's answers, and a no that ends the walk."""

from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.robot import checklist
from mjx_s2r.robot.checklist import PROGRAM, ChecklistItem, Finding, walk
from tests.robot.fakes import contract_for, info_for

CONTRACT = contract_for(cameras=True)
INFO = info_for(CONTRACT)


def item(name: str, ok: bool | None, person: bool = False) -> ChecklistItem:
    """Returns an item that the program answers so."""
    return ChecklistItem(name, f"{name}?", lambda: Finding(ok, "seen"), person)


def test_a_person_is_asked_only_what_the_program_cannot_answer() -> None:
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return True

    items = (item("a", True), item("b", None), item("c", True, person=True))
    record = walk("arm", items, ask, "Ada", lambda: "now")
    assert record.ok and asked == ["b? [seen]", "c? [seen]"]
    assert [a.by for a in record.answers] == [PROGRAM, "Ada", "Ada"]
    assert record.to_json()["answers"][0] == {
        "item": "a",
        "ok": True,
        "by": PROGRAM,
        "at": "now",
        "note": "seen",
        "overridden": False,
    }


@pytest.mark.parametrize("override", [False, True])
def test_what_the_program_finds_wrong_no_person_can_allow(override: bool) -> None:
    record = walk(
        "arm", (item("a", False), item("b", True)), lambda q: True, "Ada", lambda: "", override
    )
    assert not record.ok and record.failed == ["a (seen)"] and len(record.answers) == 1


def test_an_override_asks_nobody_and_says_so() -> None:
    record = walk(
        "arm", (item("a", None),), lambda q: pytest.fail("asked"), "Ada", lambda: "", True
    )
    assert record.ok and record.answers[0].overridden and record.answers[0].by == "Ada"


def test_joints_without_ends_are_found() -> None:
    assert checklist.joint_limits(CONTRACT, INFO).ok
    action = replace(CONTRACT.action, low=(-np.inf, -1.0))
    bare = replace(INFO, low=(-np.inf, -2.0))
    found = checklist.joint_limits(replace(CONTRACT, action=action), bare)
    assert found.ok is False and "'a'" in found.note
    assert checklist.joint_limits(CONTRACT, bare).ok, "the contract has the end"
    effort = contract_for("effort")
    assert checklist.joint_limits(effort, info_for(effort)).ok is None


@pytest.mark.parametrize(
    ("timeout_s", "watchdog", "ok"),
    [(np.inf, False, None), (0.1, False, True), (np.inf, True, True)],
)
def test_a_robot_that_nothing_would_stop_is_a_question(
    timeout_s: float, watchdog: bool, ok: bool | None
) -> None:
    assert checklist.fallback(replace(INFO, timeout_s=timeout_s), watchdog).ok is ok


def test_a_log_needs_a_folder_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checklist.log_room(tmp_path, CONTRACT).ok
    assert checklist.log_room(tmp_path / "none", CONTRACT).ok is False
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(checklist.shutil, "disk_usage", lambda folder: usage(10_000_000))
    found = checklist.log_room(tmp_path, CONTRACT)
    assert found.ok is False and "10 MB free" in found.note


def test_speed_that_was_not_earned_is_a_question() -> None:
    assert checklist.speed_stage(0.1, True).ok and checklist.speed_stage(0.5, False).ok is None
    assert checklist.velocity_limits(INFO).ok is None
    assert "['b']" in checklist.velocity_limits(replace(INFO, max_rate=(1.0, np.inf))).note
    assert checklist.collision(CONTRACT, INFO).note == "efforts end at 3"
