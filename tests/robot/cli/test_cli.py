"""The command of the robot side, as one meets it: help, words, questions, records, exit codes."""

import json
import os
import pty
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mjx_s2r.robot import log
from mjx_s2r.robot.cli import flying, session
from mjx_s2r.robot.cli.main import VERBS, main
from mjx_s2r.robot.cli.parser import INTERRUPTED, LATCHED, OK, REFUSED, STOPPED, WRONG
from mjx_s2r.robot.collect.motion_file import MotionFile, write_motion
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.drivers.bench import BenchRobot
from mjx_s2r.robot.drivers.named import DriverOrder
from mjx_s2r.robot.latch import set_latch
from mjx_s2r.robot.log.facts import inspect_log
from mjx_s2r.robot.state_folder import latch_path, only_one, state_folder
from tests.robot.cli import arms
from tests.robot.fakes import CAMERA, FakeDriver, contract_for, write_onnx

ARM = "tests.robot.cli.arms:"
CONTRACT = replace(contract_for(), control_hz=50.0)
SHORT = ("--seconds", "0.4")
BARE = ("--no-watchdog", "--no-home")
AS_ADA = ("--yes", "--by", "Ada", *BARE)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small policy for two joints."""
    return str(write_onnx(tmp_path_factory.mktemp("policy") / "policy.onnx", CONTRACT))


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flights and the state of robots go into the test's folder; nobody is at a terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MJX_S2R_ROBOTS", str(tmp_path / "robots"))
    monkeypatch.setattr(session, "somebody_there", lambda: False)


def flight(tmp_path: Path, robot: str = "fake") -> Path:
    """Returns the folder of the newest run."""
    folders = (tmp_path / "flights" / robot).iterdir()
    return max(folders, key=lambda p: int(p.name.rpartition("-")[2]))


def read(path: Path) -> Any:
    """Returns a JSON file."""
    return json.loads(path.read_text())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and "examples:" in out and f"mjx-s2r-robot {verb}" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_help_names_verbs_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == OK
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out for verb in VERBS)
    assert all(f"\n  {code} " in out for code in (OK, STOPPED, WRONG, REFUSED, INTERRUPTED))
    assert main([]) == WRONG


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rnu"], "unknown verb 'rnu'; did you mean 'run'"),
        (["run", "p.onnx", "--driver", "x", "--epsiodes", "3"], "did you mean '--episodes'"),
        (["run", "p.onnx"], "required: --driver"),
        (["run", "p.onnx", "--driver", "x", "--seconds", "-1"], "'-1' must be a positive number"),
        (["run", "p.onnx", "--driver", "x", "--episodes", "0"], "whole number, at least 1"),
        (["run", "p.onnx", "--driver", "x"], "p.onnx does not exist"),
        (["run", "POLICY", "--driver", "bnech"], "did you mean 'bench'"),
        (["run", "POLICY", "--driver", "x", "--option", "a"], "must read KEY=VALUE"),
        (["run", "POLICY", "--driver", f"{ARM}arm", "--virtual"], "leave it out"),
        (["check", "POLICY", "--driver", f"{ARM}none"], "unknown factory in"),
        (["stage", "none.onnx", "--robot", "fake"], "none.onnx cannot be read"),
        (["reset", "fkae"], "unknown robot 'fkae'"),
        (["stage", "POLICY", "--robot", "fkae"], "unknown robot 'fkae'"),
        (["run", "POLICY", "--driver", "bench", "--flights", "/proc/x"], "/proc/x"),
        (["run", "POLICY", "--driver", "bench", "--estop", "keyboard"], "needs a terminal"),
        (["inspect", "POLICY", "--html", "x.html"], "is no flight log"),
        (["run", "POLICY", "--driver", "bench", "--virtual", "--inner-hz", "33"], "multiple of"),
        (["inspect", "."], "holds no flight logs"),
        (["export", "POLICY", "--mcap", "x.mcap"], "is not a flight log"),
        (["bench", "POLICY", "--seconds", "nan"], "must be a positive number"),
        (["collect", "chrip", "--driver", "x"], "chirp"),
        (["collect", "policy", "--driver", "x"], "--policy POLICY"),
        (["collect", "teleop", "--driver", "x"], "must read MODULE:FACTORY"),
        (["collect", "plan", "--driver", "x"], "collect plan FILE"),
        (["collect", "plan", "none.json", "--driver", "x"], "motion none.json cannot be read"),
        (["collect", "steps", "a.json", "--driver", "x"], "steps takes no file"),
    ],
)
def test_wrong_words_end_in_one_sentence(
    words: list[str], said: str, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([policy if word == "POLICY" else word for word in words]) == WRONG
    err = capsys.readouterr().err
    assert said in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_robot_that_moves_needs_a_person(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", policy, "--driver", f"{ARM}arm", *SHORT, *BARE]
    assert main(words) == REFUSED
    assert "no terminal to ask at" in capsys.readouterr().err
    assert main([*words, "--yes"]) == REFUSED
    assert "--by NAME" in capsys.readouterr().err
    assert not (tmp_path / "flights").exists()


def test_an_override_flies_and_is_kept_in_the_record(policy: str, tmp_path: Path) -> None:
    assert main(["run", policy, "--driver", f"{ARM}noisy", *SHORT, *AS_ADA]) == OK
    folder = flight(tmp_path)
    answers = read(folder / "checklist.json")["answers"]
    asked = [a for a in answers if a["by"] == "Ada"]
    assert len(answers) >= 8 and asked and all(a["overridden"] for a in asked)
    assert {a["item"] for a in answers} >= {"e-stop tested", "perimeter clear", "log"}
    body = read(folder / "summary.json")
    assert body["overridden"] and body["speed_fraction"] == pytest.approx(0.05)
    assert body["episodes"][0]["reason"] == "duration" and len(body["sha256"]) == 64
    held = log.read(folder / "episode-1.log")
    moves = abs(held.commands[1:] - held.commands[:-1]).max()
    assert 0 < moves <= 0.05 * 2.0 / 50 + 1e-6, "5 % of 2 rad/s at 50 Hz"


def test_a_person_is_asked_before_each_episode_and_a_no_ends_it(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    def answer(question: str) -> bool:
        questions.append(question)
        return not question.startswith("start episode 2")

    monkeypatch.setattr(session, "somebody_there", lambda: True)
    monkeypatch.setattr(session, "ask", answer)
    words = ["run", policy, "--driver", f"{ARM}noisy", *SHORT, "--by", "Ada", "--episodes", "3"]
    assert main([*words, *BARE]) == OK
    assert [q for q in questions if q.startswith("start")] == [
        "start episode 1 of 3?",
        "start episode 2 of 3?",
    ]
    assert len(read(flight(tmp_path) / "summary.json")["episodes"]) == 1


def test_a_no_in_the_checklist_moves_nothing(
    policy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(session, "somebody_there", lambda: True)
    monkeypatch.setattr(session, "ask", lambda q: "reach" not in q)
    words = ["run", policy, "--driver", f"{ARM}arm", *SHORT, "--by", "Ada", *BARE]
    assert main(words) == REFUSED
    assert "perimeter clear" in capsys.readouterr().err
    folder = flight(tmp_path)
    assert not read(folder / "checklist.json")["ok"]
    assert not list(folder.glob("*.log"))


def test_a_driver_that_breaks_ends_in_a_sentence_and_leads_a_stage_down(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = ("--robot", "fake")
    state_folder("fake")  # as if it had been driven before
    assert main(["stage", policy, *robot, "--up", "--by", "Ada", "--anyway", "a test"]) == OK
    words = ["run", policy, "--driver", f"{ARM}breaks", *SHORT, *AS_ADA]
    assert main(words) == STOPPED
    out = capsys.readouterr().out
    assert "no answer from motor 3" in out and "inspect" in out
    assert main(["stage", policy, *robot]) == OK
    assert "25 % -> 10 % by rule: stopped" in capsys.readouterr().out
    steps = log.read(flight(tmp_path) / "episode-1.log").steps
    assert steps[-1].command is None and "motor 3" in steps[-1].events[-1].name


def test_more_speed_than_was_reached_needs_a_reason(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", policy, "--driver", f"{ARM}noisy", *SHORT, *AS_ADA, "--stage", "50"]
    assert main(words) == REFUSED
    assert "has reached 10 %" in capsys.readouterr().err
    assert main([*words, "--anyway", "measured on a twin"]) == OK
    body = read(flight(tmp_path) / "summary.json")
    assert (body["anyway"], body["speed_fraction"]) == ("measured on a twin", 0.5)
    capsys.readouterr()
    words[words.index("--stage") + 1] = "auto"
    assert main([*words, "--anyway", "a habit"]) == OK
    assert "more than was reached" not in capsys.readouterr().out
    assert read(flight(tmp_path) / "summary.json")["anyway"] == "", "nothing more is flown"


def test_an_emergency_stop_is_latched_until_a_person_clears_it(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = tmp_path / "stop"
    words = ["run", policy, "--driver", f"{ARM}presses", *SHORT, *AS_ADA]
    words += ["--estop", f"file:{stop}"]
    assert main(words) == LATCHED
    assert f"e-stop: file {stop}" in capsys.readouterr().out
    stop.unlink()
    assert main(words) == LATCHED, "the latch outlives the process"
    assert "mjx-s2r-robot reset 'fake'" in capsys.readouterr().err
    assert main(["reset", "fake"]) == REFUSED
    assert main(["reset", "fake", "--yes"]) == REFUSED
    assert main(["reset", "fake", "--yes", "--by", "Ada"]) == OK
    line = json.loads((tmp_path / "robots" / "fake" / "resets.jsonl").read_text())
    assert line["by"] == "Ada" and not line["asked"] and str(stop) in line["latched"]
    assert main(["reset", "fake"]) == OK
    assert "no emergency stop" in capsys.readouterr().out
    steady = [w.replace("presses", "noisy") for w in words]
    assert main(steady) == OK


def test_an_emergency_stop_counts_though_the_driver_cannot_stop(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", policy, "--driver", f"{ARM}presses_and_fails", *SHORT, *AS_ADA]
    assert main([*words, "--estop", "file:stop"]) == LATCHED
    assert "next: find the cause, then: mjx-s2r-robot reset" in capsys.readouterr().out
    assert "file stop" in read(tmp_path / "robots" / "fake" / "estop.json")["why"]


def test_rules_are_not_tried_on_a_robot_whose_stop_is_latched(
    policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[FakeDriver] = []

    def make(order: DriverOrder) -> FakeDriver:
        made.append(arms.arm(order))
        return made[-1]

    monkeypatch.setattr(arms, "arm_made", make, raising=False)
    set_latch(latch_path(state_folder("fake")), "fake", "a test")
    for words in (["check"], ["check", policy, "--rules", *SHORT]):
        assert main([*words, "--driver", f"{ARM}arm_made"]) == LATCHED
        assert "mjx-s2r-robot reset 'fake'" in capsys.readouterr().err
    assert made and all("write" not in robot.calls for robot in made)


def test_a_stop_that_the_watchdog_feels_is_latched_too(policy: str, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    presser = threading.Timer(2.0, stop.touch)
    presser.start()
    words = ["run", policy, "--driver", "bench", "--seconds", "30", "--estop", f"file:{stop}"]
    assert main(words) == LATCHED
    presser.join()
    (latch,) = (tmp_path / "robots").glob("*/estop.json")
    assert str(stop) in read(latch)["why"]
    assert main(words) == LATCHED


def test_the_rule_raises_a_stage_that_was_flown_long_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = str(write_onnx(tmp_path / "policy.onnx", contract_for()))
    words = ["run", slow, "--driver", "bench", "--virtual", "--as-real", "--yes", "--by", "Ada"]
    words += ["--seconds", "13", "--promote", "rule", "--estop", "signal", "--no-home"]
    assert main([*words, "--episodes", "3", "--seconds", "1"]) == OK
    assert "stay at 10 %: 0 s of 60 s" in capsys.readouterr().out, "flown at half of it"
    assert main([*words, "--episodes", "4"]) == OK
    assert "stay at 10 %: 52 s of 60 s" in capsys.readouterr().out
    assert main(words) == OK
    assert "raised to stage 25 % by rule" in capsys.readouterr().out
    assert read(flight(tmp_path, "bench-moves-joints-shows-no-scene") / "summary.json")[
        "stage"
    ] == ("25 %")
    assert main(words) == OK
    out = capsys.readouterr().out
    assert "25 %, stage 25 %" in out and "13 s of 600 s flown at 25 %" in out


@pytest.mark.parametrize("watchdog", [True, False])
def test_a_stand_in_that_knows_its_task_says_what_became_of_it(
    watchdog: bool, policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", policy, "--driver", f"{ARM}knowing", "--yes", "--by", "Ada", "--episodes", "2"]
    words += ["--stage", "100", "--anyway", "test", "--estop", "signal", "--watchdog-ms", "500"]
    assert main([*words, *(() if watchdog else BARE)]) == OK
    out = capsys.readouterr().out
    assert "2 episodes until the task is decided, at most its 1 s" in out
    assert "  task: success after 0." in out and "  task: task failed after 0." in out
    assert "task: 1 of 2 episodes succeeded, task failed 1\n" in out
    again = "1 1 1 2 2 " if watchdog else "1 1 2 "  # made, then before and after each way home
    assert Path("begun").read_text() == again
    summary = read(flight(tmp_path) / "summary.json")
    assert summary["task_results"] == {"success": 1, "task failed": 1}
    first, second = (e["task"] for e in summary["episodes"])
    assert first["result"] == "success" and second["result"] == "task failed"
    assert first["rules"] == {"episode_s": 1.0, "hold_s": 0.1}
    for number, said in enumerate((first, second), 1):
        facts = inspect_log(log.read(flight(tmp_path) / f"episode-{number}.log"))
        assert facts.verdict is not None and facts.verdict.to_json() == said
        assert facts.duration_s < 0.5


def test_seconds_that_are_named_win_over_the_task(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", policy, "--driver", f"{ARM}knowing", *AS_ADA, "--seconds"]
    assert main([*words, "0.6"]) == OK
    out = capsys.readouterr().out
    assert "1 episode of 0.6 s; the task is judged by its own 1 s" in out
    assert "episode-1: 0.6 s" in out and "the time was over\n  task: success after 0." in out
    assert main([*words, "0.1"]) == OK
    out = capsys.readouterr().out
    assert "  task: not decided: it ended after 0.0" in out
    assert "task: 0 of 1 episodes succeeded, not decided 1" in out


def test_nothing_is_claimed_of_a_robot_that_cannot_know(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", policy, "--driver", f"{ARM}arm", *SHORT, *AS_ADA]) == OK
    assert "task:" not in capsys.readouterr().out
    summary = read(flight(tmp_path) / "summary.json")
    assert "task_results" not in summary and "task" not in summary["episodes"][0]
    facts = inspect_log(log.read(flight(tmp_path) / "episode-1.log"))
    assert facts.verdict is None and "verdict" not in facts.describe()


@pytest.mark.parametrize("verb", ["run", "collect"])
def test_a_robot_that_does_not_come_home_flies_no_further(
    verb: str,
    policy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(flying, "NEAR", -1.0)  # of nothing is it near
    motion = MotionFile("", "a test", 50.0, ("a", "b"), "rad", np.zeros((20, 2)))
    write_motion(motion, "m.json")
    words = {"run": ["run", policy], "collect": ["collect", "plan", "m.json", "--policy", policy]}
    assert main([*words[verb], "--driver", "bench", "--virtual", "--flights", "f"]) == STOPPED
    out = capsys.readouterr().out
    assert "did not come home" in out and "next: look at the log" in out
    (summary,) = (tmp_path / "f").glob("*/*/summary.json")
    assert [e["log"] for e in read(summary)["episodes"]] == ["home-1"]


def test_a_joint_that_sags_is_as_near_home_as_it_gets(
    policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Joint b stands 0.2 rad below where it is sent to, 10 % of its range."""
    plain = BenchRobot.read

    def read(robot: BenchRobot) -> Reading:
        """Reads the encoders of a robot under load."""
        seen = plain(robot)
        low = seen.signals["joint_pos"] - np.array([0.0, 0.2])
        return replace(seen, signals=dict(seen.signals) | {"joint_pos": low})

    monkeypatch.setattr(BenchRobot, "read", read)
    assert main(["run", policy, "--driver", "bench", "--virtual", "--seconds", "0.5"]) == OK
    out = capsys.readouterr().out
    assert "home, but for 10 % of a joint's range under its load" in out and "episode-1: " in out


def test_a_home_at_the_end_of_a_range_is_gone_to_as_near_as_the_guard_allows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gripper whose home is closed, on a robot whose ends are the contract's: -2 and 2 rad."""
    action = replace(CONTRACT.action, low=(-2.0, -2.0), high=(2.0, 2.0), home=(-2.0, 0.0))
    path = str(write_onnx(tmp_path / "closed.onnx", replace(CONTRACT, action=action)))
    words = [path, "--driver", f"{ARM}arm"]
    assert main(["check", *words, *SHORT]) == OK
    said = "home: joint 'a' goes to -1.9 rad and not to its home at -2"
    assert said in capsys.readouterr().out
    more = ["--yes", "--by", "Ada", "--no-watchdog", "--stage", "100", "--anyway", "test", *SHORT]
    assert main(["run", *words, *more]) == OK
    out = capsys.readouterr().out
    assert said.partition(": ")[2] in out and "episode-1: 0.4 s" in out and "load" not in out
    way = log.read(flight(tmp_path) / "home-1.log")
    assert way.commands[-1][0] == pytest.approx(-1.9, abs=0.081)
    assert not any(e.code == "position" for step in way.steps for e in step.events)


def test_nobody_takes_a_robot_that_is_still_being_closed(policy: str, tmp_path: Path) -> None:
    assert main(["run", policy, "--driver", f"{ARM}closing", *SHORT, *AS_ADA]) == OK
    assert (tmp_path / "closed").read_text() == "held"
    with only_one(state_folder("fake")):
        pass  # and afterwards it is free


def test_check_finds_degrees_and_moves_nothing(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", policy, "--driver", f"{ARM}noisy", *SHORT]) == OK
    assert main(["check", policy, "--driver", f"{ARM}in_degrees", *SHORT]) == STOPPED
    assert "looks like degrees" in capsys.readouterr().out


def test_a_motion_is_planned_shown_and_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "steps", "--driver", f"{ARM}arm", "--rate", "20", "--joints", "b"]
    words += ["--seconds", "2", "--hold-s", "0.4", "--amplitude", "0.1", *AS_ADA]
    assert main(words) == OK
    out = capsys.readouterr().out
    assert "steps: 2.0 s at 20 Hz" in out and "made smaller from 0.1 for the limit of speed" in out
    held = log.read(flight(tmp_path) / "motion-1.log")
    assert {"joint_pos", "joint_vel"} <= set(held.steps[0].reading.signals)  # type: ignore[union-attr]
    assert abs(held.commands[:, 0] - 0.3).max() < 1e-6, "joint a stays"
    assert abs(held.commands[:, 1] + 0.2).max() > 0.002, "joint b moves"
    kept = read(flight(tmp_path) / "summary.json")["motion"]
    assert kept["joints"][0]["joint"] == "b" and kept["kind"] == "steps"


def test_a_motion_from_a_file_begins_where_it_says(tmp_path: Path) -> None:
    way = np.array([0.25, -0.2]) + np.hanning(41)[:, None] * (0.1, -0.05)
    motion = MotionFile("", "a test", 20.0, ("a", "b"), "rad", way)
    write_motion(motion, tmp_path / "motion.json")
    words = ["collect", "plan", "motion.json", "--driver", f"{ARM}arm", *AS_ADA]
    assert main(words) != OK, "the first stage is too slow for it"
    assert main([*words, "--stage", "100", "--anyway", "test"]) == OK
    held = log.read(flight(tmp_path) / "motion-1.log")
    assert held.contract.control_hz == 20
    assert np.max(np.abs(held.commands[-len(way) :] - way)) < 1e-3
    kept = read(flight(tmp_path) / "summary.json")["motion"]
    assert kept["file"] == "motion.json" and kept["made_by"] == "a test"


def test_a_hand_leads_the_robot(policy: str, tmp_path: Path) -> None:
    words = ["collect", "teleop", "--driver", f"{ARM}arm", "--policy", policy, *SHORT, *AS_ADA]
    assert (
        main(
            [
                *words,
                "--teleop",
                f"{ARM}Leader",
                "--seconds",
                "1.5",
                "--stage",
                "50",
                "--anyway",
                "test",
            ]
        )
        == OK
    )
    held = log.read(flight(tmp_path) / "episode-1.log")
    assert held.commands[-1, 0] > 0.35 and held.commands[-1, 1] < -0.25


def test_a_lerobot_leader_needs_its_calibration(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["collect", "teleop", "--driver", f"{ARM}arm", "--policy", policy, *SHORT, *AS_ADA]
    words += ["--teleop", f"{ARM}LeRobotLeader", "--seconds", "1", "--stage", "50"]
    words += ["--anyway", "test"]
    assert main(words) == WRONG
    assert "--teleop-calibration FILE" in capsys.readouterr().err
    assert not list((tmp_path / "flights").rglob("*.log")), "nothing has moved"
    (tmp_path / "leader.toml").write_text(
        '[joints.a]\nmotor = "left"\nspan = 2.0\n[joints.b]\nmotor = "right"\nspan = 2.0\n'
    )
    assert main([*words, "--teleop-calibration", "leader.toml"]) == OK
    held = log.read(flight(tmp_path) / "episode-1.log")
    np.testing.assert_allclose(held.commands[-1], [0.352, -0.12], atol=1e-6)


def answer_until(terminal: int, words: bytes) -> bytes:
    """Returns what a terminal shows until ``words`` or its end; says yes and presses when asked."""
    seen, new, end = b"", b"", time.monotonic() + 60
    while words not in seen and time.monotonic() < end:
        try:
            new += os.read(terminal, 4096)
        except OSError:  # closed at the other end
            return seen + new
        for asked, answer in ((b"[y/N] ", b"y\n"), (b"press the space bar", b" ")):
            if asked in new:
                os.write(terminal, answer)
                seen, new = seen + new, b""
        if b"\x1b[2K" in new:
            seen, new = seen + new, b""
    return seen


def test_at_a_terminal_the_status_stays_on_one_line(policy: str, tmp_path: Path) -> None:
    """A pseudo-terminal, a person who types y, and Ctrl-C, which stops the robot first."""
    ours, theirs = pty.openpty()
    words = ["run", policy, "--driver", f"{ARM}noisy", "--seconds", "30", "--no-watchdog"]
    done = subprocess.Popen(
        [sys.executable, "-m", "mjx_s2r.robot", *words, "--by", "Ada", "--no-home"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    os.close(theirs)
    seen = answer_until(ours, b"\x1b[2Krun")
    done.send_signal(2)
    seen += answer_until(ours, b"nothing more")
    assert done.wait(30) == INTERRUPTED
    assert b"ended by Ctrl-C, the robot was stopped" in seen
    assert read(flight(tmp_path) / "checklist.json")["ok"]


def test_a_flight_with_pictures_is_replayed_to_the_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = replace(CAMERA, rate_hz=20.0)
    seeing = replace(contract_for(cameras=True), control_hz=50.0, cameras=(camera,))
    policy = str(write_onnx(tmp_path / "policy.onnx", seeing))
    assert main(["run", policy, "--driver", "bench", "--virtual", "--seconds", "3"]) == OK
    log_path = str(flight(tmp_path, "bench-moves-joints-shows-no-scene") / "episode-1.log")
    assert main(["replay", log_path, policy]) == OK
    assert "every bit is the same" in capsys.readouterr().out
    assert main(["inspect", log_path, "--html", "page.html"]) == OK
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert main(["inspect", policy]) == OK
    assert "camera" in capsys.readouterr().out
