"""Stages of speed: what leads up and down, and a file that cannot be mistaken for another."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from mjx_s2r.params import ParamError
from mjx_s2r.robot import stages, state_folder
from mjx_s2r.robot.cli.main import main
from mjx_s2r.robot.cli.parser import OK
from mjx_s2r.robot.stages import STAGES, EpisodeTally, StageError, StageFile, StageState

NOW = "2026-01-01T00:00:00+00:00"
GOOD = EpisodeTally(seconds=600.0, steps=6000, held=0, fraction=1.0)


def flown(state: StageState, *episodes: EpisodeTally) -> StageState:
    """Returns the state after some episodes."""
    for episode in episodes:
        state = stages.after_episode(state, episode, NOW)
    return state


def new() -> StageState:
    """Returns a policy that never flew."""
    return StageState("arm", "ab" * 32)


def test_the_fractions_are_those_of_the_plan() -> None:
    assert [s.fraction for s in STAGES] == [0.10, 0.25, 0.50, 0.75, 1.00]
    assert STAGES[1].least_s >= 600 and STAGES[2].least_s >= 1800


def test_the_first_episodes_are_flown_at_half_the_speed() -> None:
    assert new().speed_fraction == pytest.approx(0.05)
    assert flown(new(), GOOD, GOOD).speed_fraction == pytest.approx(0.05)
    assert flown(new(), GOOD, GOOD, GOOD).speed_fraction == pytest.approx(0.10)


def test_every_stage_is_reached_by_the_rule_and_no_sooner() -> None:
    state = new()
    for index in range(len(STAGES) - 1):
        assert stages.still_wanted(state), "just entered"
        short = replace(GOOD, seconds=(STAGES[index].least_s - 1) / STAGES[index].least_episodes)
        almost = flown(state, *[short] * STAGES[index].least_episodes)
        with pytest.raises(StageError, match="not yet past"):
            stages.promote(almost, "rule", NOW)
        state = stages.promote(flown(almost, GOOD), "rule", NOW)
        assert state.stage == index + 1 and state.seconds == 0
    with pytest.raises(StageError, match="last stage"):
        stages.promote(state, "Ada", NOW, anyway="more")
    assert [c.end for c in state.history] == [1, 2, 3, 4]


@pytest.mark.parametrize("index", range(len(STAGES) - 1))
def test_what_was_flown_slower_does_not_count(index: int) -> None:
    stage = STAGES[index]
    start = replace(new(), stage=index)
    slow = EpisodeTally(9000.0, 90000, 90000, 0.5 * stage.fraction)
    state = flown(start, *[slow] * 9)
    assert state == replace(start, total_episodes=9)
    assert flown(start, replace(slow, stop="a press")).stage == max(0, index - 1)
    at_speed = EpisodeTally(9000.0, 90000, 0, round(100 * stage.fraction) / 100)
    assert not stages.still_wanted(flown(state, *[at_speed] * stage.least_episodes))


def test_a_person_may_go_ahead_with_a_reason_that_is_kept() -> None:
    state = stages.promote(new(), "Ada", NOW, anyway="same weights, new file")
    assert state.stage == 1
    assert (state.history[-1].by, state.history[-1].reason) == ("Ada", "same weights, new file")


@pytest.mark.parametrize("start", [0, 1, 4])
def test_a_stop_leads_down_and_starts_the_count_again(start: int) -> None:
    state = flown(replace(new(), stage=start), GOOD, replace(GOOD, stop="velocity of elbow"))
    assert state.stage == max(0, start - 1)
    assert (state.seconds, state.episodes, state.total_episodes) == (0, 0, 2)
    assert "velocity of elbow" in state.history[-1].reason


def test_many_held_steps_keep_the_rule_from_promoting() -> None:
    at_ease = flown(new(), *[GOOD] * 5)
    assert not stages.still_wanted(at_ease)
    assert any("held" in x for x in stages.still_wanted(replace(at_ease, held=at_ease.steps // 50)))


def test_the_file_brings_back_what_was_saved(tmp_path: Path) -> None:
    file = StageFile.of(tmp_path, "arm", "ab" * 32)
    assert file.load() == new()
    state = stages.promote(flown(new(), *[GOOD] * 5), "rule", NOW)
    file.save(state)
    assert file.load() == state
    assert [p.name for p in tmp_path.iterdir()] == [file.path.name], "no draft is left"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace('"stage": 0', '"stage": 4'),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}),
    ],
)
def test_a_damaged_file_is_refused_with_the_remedy(tmp_path: Path, damage: object) -> None:
    file = StageFile.of(tmp_path, "arm", "ab" * 32)
    file.save(new())
    file.path.write_text(damage(file.path.read_text()))  # type: ignore[operator]
    with pytest.raises(StageError, match=r"move .* away"):
        file.load()


def test_a_file_of_another_robot_or_policy_is_refused(tmp_path: Path) -> None:
    file = StageFile.of(tmp_path, "arm", "ab" * 32)
    file.save(new())
    with pytest.raises(StageError, match="is of robot 'arm', not of 'leg'"):
        replace(file, robot="leg").load()
    with pytest.raises(StageError, match="is of policy"):
        replace(file, policy="cd" * 32).load()


def test_a_crash_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StageFile.of(tmp_path, "arm", "ab" * 32)
    file.save(new())

    def fail(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(stages.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        file.save(replace(new(), stage=3))
    assert file.load() == new()
    assert len(list(tmp_path.iterdir())) == 1


def _hold(folder: Path, ready: object, go_on: object) -> None:
    """Holds a robot's lock in another process."""
    with state_folder.only_one(folder):
        ready.set()  # type: ignore[attr-defined]
        go_on.wait(30)  # type: ignore[attr-defined]


def test_two_processes_cannot_drive_one_robot(tmp_path: Path) -> None:
    with state_folder.only_one(tmp_path):
        pass
    context = multiprocessing.get_context("spawn")
    ready, go_on = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, go_on))
    other.start()
    try:
        assert ready.wait(30)
        with (
            pytest.raises(state_folder.BusyError, match=f"process {other.pid}"),
            state_folder.only_one(tmp_path),
        ):
            pass
    finally:
        go_on.set()
        other.join(30)
    with state_folder.only_one(tmp_path):
        pass


def test_the_folder_of_a_robot_does_not_depend_on_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MJX_S2R_ROBOTS", str(tmp_path))
    assert state_folder.state_folder("../my arm/1") == tmp_path / "my-arm-1"
    assert state_folder.state_folder("..") == tmp_path / "robot"


def test_a_robot_is_known_by_its_name_and_by_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MJX_S2R_ROBOTS", str(tmp_path))
    folder = state_folder.state_folder("my robot")
    for name in ("my robot", "my-robot"):
        assert state_folder.known_robot(name) == (folder, "my robot")
    for name in ("my_robot", "my  robot"):
        with pytest.raises(ParamError, match="did you mean 'my robot'"):
            state_folder.known_robot(name)
    assert state_folder.state_folder("my  robot") != folder, "another robot, another latch"
    assert state_folder.known_robot("my  robot")[1] == "my  robot"
    assert state_folder.state_folder("my robot") == folder
    (tmp_path / "older").mkdir()  # of a version that kept no name
    assert state_folder.known_robot("older") == (tmp_path / "older", "older")


def test_a_stage_that_was_raised_by_the_folders_name_is_the_robots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MJX_S2R_ROBOTS", str(tmp_path))
    policy = tmp_path / "policy.onnx"
    policy.write_bytes(b"a policy")
    folder = state_folder.state_folder("other arm")
    words = ["stage", str(policy), "--robot", "other-arm", "--up", "--by", "Ada", "--anyway", "x"]
    assert main(words) == OK
    file = StageFile.of(folder, "other arm", stages.policy_digest(policy))
    assert file.load().stage == 1, "the next run flies at what was raised"


def test_an_episode_without_a_step_does_not_count() -> None:
    """Three impatient Ctrl-Cs would have used up the episodes at half speed."""
    before = new()
    assert stages.after_episode(before, EpisodeTally(0.0, 0, 0, 1.0), "now") == before
    assert stages.after_episode(before, EpisodeTally(1.0, 50, 0, 1.0), "now").total_episodes == 1


def test_starts_that_send_nothing_leave_the_first_episodes_at_half_the_speed() -> None:
    """Whatever refused them: a joint out of range, an old reading, a picture that never came."""
    state = replace(new(), stage=2)
    refused = EpisodeTally(5.0, 0, 0, state.speed_fraction, "range of elbow (3.2, limit 1.6)")
    for _ in range(3):
        state = stages.after_episode(state, refused, "now")
    assert (state.stage, state.total_episodes) == (0, 0), "each leads down all the same"
    assert state.speed_fraction == stages.FIRST_FACTOR * STAGES[0].fraction
