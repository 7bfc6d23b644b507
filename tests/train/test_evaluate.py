"""Evaluations that are stopped and go on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mjx_s2r.contract import TrainedRange
from mjx_s2r.eval import robot_episodes
from tests.eval.toy_task import ToyArm
from tests.robot.fakes import write_onnx
from train import evaluate

CONTRACT = replace(ToyArm().contract, ranges=(TrainedRange("mass", "1", 1.0, 0.8, 1.5),))


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """An evaluation of a policy in 2 episodes on each of 2 robots, and one in as many worlds."""
    policy = write_onnx(tmp_path / "p.onnx", CONTRACT)
    few = ["--count", "2", "--episodes", "2", "--simulated", "1", "--processes", "1"]
    return ["--policy", str(policy), "--task", "tests.eval.toy_task:ToyArm", *few]


@pytest.fixture
def run_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs an evaluation that is interrupted in an episode; returns how many were begun."""
    played = robot_episodes._episode

    def run(words: list[str], stop_in: int | None = None) -> int:
        begun = 0

        def counted(*given: Any) -> robot_episodes.RobotEpisode:
            nonlocal begun
            begun += 1
            if begun == stop_in:
                raise KeyboardInterrupt
            return played(*given)

        monkeypatch.setattr(robot_episodes, "_episode", counted)
        try:
            evaluate.main(words)
        except KeyboardInterrupt:
            assert begun == stop_in
        return begun

    return run


def figures(folder: Path) -> dict[str, Any]:
    """Returns what an evaluation found, without the time that it took."""
    found = json.loads((folder / "p.evaluation.json").read_text())
    return {name: value for name, value in found.items() if not name.startswith("act_")}


def test_a_stopped_evaluation_goes_on_and_finds_the_same(
    words: list[str],
    run_of: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = tmp_path / "p.evaluation.episodes.jsonl"
    assert run_of(words, stop_in=4) == 4 and kept.exists()
    assert not (tmp_path / "p.evaluation.json").exists()
    with kept.open("a") as file:
        file.write('{"part": "robots", "num')  # as a killed process leaves it
    assert run_of(words, stop_in=3) == 3, "the last robot's last episode, and a world"
    assert len(kept.read_text().splitlines()) == 6
    assert run_of(words) == 1 and not kept.exists()
    resumed = figures(tmp_path)
    assert run_of(words) == 6, "one that is finished begins anew"
    assert figures(tmp_path) == resumed


def test_episodes_of_other_settings_are_not_taken_over(
    words: list[str], run_of: Callable[..., int], tmp_path: Path
) -> None:
    assert run_of(words, stop_in=4) == 4
    assert run_of([*words, "--safety.ramp-s", "0.1"], stop_in=3) == 3
    write_onnx(tmp_path / "p.onnx", CONTRACT, matrix=np.zeros((CONTRACT.size, 2)))
    assert run_of(words, stop_in=5) == 5


def test_several_processes_find_what_one_finds(
    words: list[str], run_of: Callable[..., int], tmp_path: Path
) -> None:
    assert run_of(words, stop_in=3) == 3
    words[words.index("--processes") + 1] = "2"
    evaluate.main(words)
    shared = figures(tmp_path)
    words[words.index("--processes") + 1] = "1"
    evaluate.main(words)
    assert figures(tmp_path) == shared
