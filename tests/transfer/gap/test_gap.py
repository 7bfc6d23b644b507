"""The whole measurement on a robot that is known, its page, and what is refused at once."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from mjx_s2r.api.gap import GapConfig, measure_gap
from mjx_s2r.api.robots import EvaluateConfig, evaluate_on_robots, open_policy
from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract, TrainedRange
from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError
from mjx_s2r.render.geometry.scene import SceneError
from mjx_s2r.robot.log import read
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.gap.objects import read_objects
from mjx_s2r.transfer.gap.pictures import action_difference, pair_pictures
from mjx_s2r.transfer.gap.replay import ReplayGap
from mjx_s2r.transfer.readers import read_recordings
from mjx_s2r.transfer.recording import Recording, RecordingError
from tests.robot.fakes import write_onnx
from tests.transfer.gap.calm_arm import CalmArm
from train import gap

TASK = cast(Task, CalmArm())
NAME = "tests.transfer.gap.calm_arm:CalmArm"
RANGES = (
    TrainedRange("kp", "1", 1.0, 0.9, 1.2),
    TrainedRange("delay", "s", 0.0, 0.0, 0.03),
)
CONTRACT = replace(
    TASK.contract, ranges=RANGES, cameras=(CameraSignal("eye", 16, 16, 25.0),), task=NAME
)


def chaser(path: Path, contract: PolicyContract = CONTRACT) -> Path:
    """Writes a policy that lowers the upper arm until tip and ball are level; the rest it holds."""
    matrix = np.zeros((contract.size, 2))
    matrix[4, 0], matrix[7, 0] = 5.0, -5.0  # heights of tip and ball, m
    matrix[1, 1] = -3.0  # the second joint, rad
    return write_onnx(path, contract, matrix=matrix)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Returns the folder and the figures of a robot with weak servos and a late bus."""
    folder = tmp_path_factory.mktemp("gap")
    (folder / "weak.toml").write_text(
        "count = 3\n[rows]\nkp = 0.6\n[effects]\nlatency_ms = 20.0\n"
        "[looks.headlight]\nambient = 0.05\n"
    )
    policy = chaser(folder / "policy.onnx")
    words = ["--reality", str(folder / "weak.toml"), "--episodes", "2", "--pictures", "40"]
    few = ["--rows", "kp", "delay", "mass", "--no-together", "--window-s", "0.25"]
    gap.main([str(policy), *words, *few])
    return folder, json.loads((folder / "gap" / "gap.json").read_text())


@pytest.mark.slow
def test_all_parts_are_measured(measured: tuple[Path, dict[str, Any]]) -> None:
    folder, told = measured
    assert set(told["places"]) == {"robot", "simulation", "nominal world"}
    assert all(figures["episodes"] == 6 for figures in told["places"].values())
    assert told["verdict"]["sentence"].startswith(told["verdict"]["word"])
    blamed = {row["name"]: row for row in told["blame"]["greedy"]}
    assert blamed["kp"]["best"] == pytest.approx(0.6, abs=0.05) and not blamed["kp"]["trained"]
    assert {line["channel"] for line in told["replay"]} >= {"joint_pos a", "joint_vel b"}
    assert len(told["observations"]["signals"]) == CONTRACT.size
    (eye,) = told["pictures"]
    assert eye["camera"] == "eye" and 20 <= eye["pairs"] <= 40
    assert eye["paired"]["accuracy"][0] > 0.7  # the robot's room is dark; 3 flights are few
    assert told["missing"] == []
    page = (folder / "gap" / "gap.html").read_text()
    assert page.count("data:image/png") == 18 and "No data for this section" not in page


@pytest.mark.slow
def test_pairs_show_the_same_moment(measured: tuple[Path, dict[str, Any]]) -> None:
    """Joints and ball are where they were, so bright places agree though the room is darker."""
    folder, _ = measured
    policy, task = open_policy(folder / "policy.onnx")
    flights = [read(path) for path in sorted((folder / "gap" / "flights" / "robot").iterdir())]
    ball = [(*f.signal("ball")[0].tolist(), 1.0, 0.0, 0.0, 0.0) for f in flights]
    right, wrong = (
        pair_pictures(task, CONTRACT, CONTRACT.cameras[0], flights, places, 15)
        for places in ([{"ball": b} for b in ball], [{"ball": (0.0, 0.0, 0.9, 1, 0, 0, 0)}] * 3)
    )
    assert len(right) == 15 and right.flight.tolist() == [0] * 5 + [1] * 5 + [2] * 5

    def agreement(pairs: Any) -> float:
        """Returns the correlation of brightness."""
        one, other = (x.mean(-1).ravel() for x in (pairs.robot, pairs.simulated))
        return float(np.corrcoef(one, other)[0, 1])

    assert agreement(right) > 0.7 and agreement(right) > agreement(wrong) + 0.02
    # tanh(s + m) with m the mean brightness: the difference is that of two tanh
    found = action_difference(policy, right)
    mean = [x.mean((1, 2, 3)) / 255 for x in (right.robot, right.simulated)]
    level = 5 * (right.observation[:, 4] - right.observation[:, 7])
    expected = np.tanh(level + mean[0]) - np.tanh(level + mean[1])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)


@pytest.mark.slow
def test_flights_of_a_robot_are_counted_by_a_person(
    measured: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = measured
    flights = tuple(sorted((folder / "gap" / "flights" / "robot").iterdir()))
    policy = chaser(tmp_path / "p.onnx", replace(CONTRACT, cameras=()))
    config = GapConfig(
        policy, flights=flights, count=2, episodes=1, together=False, rows=("kp",), successes=2
    )
    report = measure_gap(config)
    robot = report.places[0].performance
    assert (robot.episodes, robot.successes) == (3, 2)
    assert robot.to_json()["return"] == [None, None, None]
    assert report.replay is not None and report.observations is not None
    assert report.missing == ("pictures: the policy sees nothing",)
    uncounted = measure_gap(replace(config, successes=None))
    assert uncounted.verdict is None and "--successes" in uncounted.missing[0]


@pytest.mark.slow
def test_what_is_measured_is_kept_when_the_rest_is_not(
    measured: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After Ctrl-C flights, replay and blame stay; a scene that is not drawn costs its pictures."""
    folder, _ = measured
    flights = tuple(sorted((folder / "gap" / "flights" / "robot").iterdir()))
    config = GapConfig(
        chaser(tmp_path / "p.onnx"),
        flights=flights,
        count=1,
        episodes=1,
        rows=("kp",),
        successes=2,
        out=tmp_path / "out",
    )

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    def undrawn(*_: object) -> None:
        raise SceneError("geom 'cable' is of a kind that is not drawn")

    monkeypatch.setattr("mjx_s2r.api.gap.explained_together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_gap(config)
    told = json.loads((tmp_path / "out" / gap.FIGURES_FILE).read_text())
    assert told["places"]["robot"]["successes"] == 2 and told["verdict"] is not None
    assert told["replay"] and told["blame"]["single"][0]["name"] == "kp"
    assert "interrupted after the search for rows to blame" in told["missing"][-1]
    monkeypatch.setattr("mjx_s2r.api.gap.pair_pictures", undrawn)
    report = measure_gap(replace(config, together=False))
    assert report.observations is not None and not report.pictures
    assert "pictures of camera 'eye': geom 'cable' is of a kind" in report.missing[-1]
    written = (tmp_path / "out" / gap.FIGURES_FILE).read_text()
    assert json.loads(written) == json.loads(json.dumps(report.to_json()))


@pytest.mark.slow
def test_further_logs_of_the_robot_are_replayed_beside_its_flights(
    measured: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The same motion told once more, by a table: twice as many windows, and the same error."""
    folder, _ = measured
    flight = next((folder / "gap" / "flights" / "robot").iterdir())
    mapping = _told_as_table(read_recordings([flight], TASK.mj_model).recordings, tmp_path)
    policy = chaser(tmp_path / "p.onnx", replace(CONTRACT, cameras=()))
    alone = GapConfig(
        policy, flights=(flight,), count=1, episodes=1, together=False, rows=("kp",), successes=1
    )
    tables = tuple(sorted(tmp_path.glob("*.csv")))
    both = replace(alone, logs=tables, mapping=mapping)
    once, twice = (cast(ReplayGap, measure_gap(config).replay) for config in (alone, both))
    assert len(twice.windows) == 2 * len(once.windows) > 0
    assert len(twice.windows.recordings) == len(once.windows.recordings) + len(tables)
    np.testing.assert_allclose(twice.error(), once.error(), rtol=1e-6)
    np.testing.assert_allclose(twice.inside(), once.inside(), rtol=1e-6)
    with pytest.raises(RecordingError, match=r"gone\.csv"):
        measure_gap(replace(both, logs=(tmp_path / "gone.csv",)))


def _told_as_table(recordings: Sequence[Recording], folder: Path) -> Path:
    """Writes recordings as CSV files and returns the mapping file that reads them."""
    first = recordings[0]
    commands = [f"command_{joint}" for joint in first.joints]
    readings = [f"{c.kind}_{c.element}" for c in first.channels]
    for number, r in enumerate(recordings):
        table = np.column_stack([r.time_s, r.commands, r.readings])
        header = ",".join(["time", *commands, *readings])
        np.savetxt(folder / f"{number}.csv", table, "%.17g", ",", header=header, comments="")
    lines = ["[time]", 'column = "time"', "[commands]", f'mode = "{first.mode}"']
    lines += [f'joints.{j} = "{name}"' for j, name in zip(first.joints, commands, strict=True)]
    lines += ["[readings]"]
    lines += [
        f'{c.kind}.{c.element} = "{name}"' for c, name in zip(first.channels, readings, strict=True)
    ]
    (folder / "map.toml").write_text("\n".join(lines))
    return folder / "map.toml"


def test_what_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    policy = chaser(tmp_path / "policy.onnx")
    evaluate_on_robots(EvaluateConfig(policy, count=1, episodes=1, logs=tmp_path / "flights"))
    (flight,) = (tmp_path / "flights").iterdir()
    action = replace(CONTRACT.action, joints=("a", "c"))
    other = write_onnx(tmp_path / "other.onnx", replace(CONTRACT, action=action))
    with pytest.raises(ContractError, match=r"'a', 'c'.*name the policy's own task by --task"):
        measure_gap(GapConfig(other))
    with pytest.raises(ContractError, match="name the policy's own task by --task"):
        measure_gap(GapConfig(policy, task="cartpole"))
    cart = write_onnx(tmp_path / "cart.onnx", replace(_cartpole(), ranges=()))
    with pytest.raises(ContractError, match="name flights of this robot"):
        measure_gap(GapConfig(cart, task="cartpole", flights=(flight,)))
    (tmp_path / "no.flight").write_text("nothing")
    with pytest.raises(RecordingError, match="not a flight log"):
        measure_gap(GapConfig(policy, flights=(tmp_path / "no.flight",)))
    with pytest.raises(ParamError, match="give one of them"):
        GapConfig(policy, flights=(flight,), reality=tmp_path)
    with pytest.raises(ParamError, match="successes 2 must lie between 0 and the 1 flights"):
        GapConfig(policy, flights=(flight,), successes=2)
    with pytest.raises(ParamError, match="'kpp'; did you mean 'kp'"):
        measure_gap(GapConfig(policy, rows=("kpp",)))
    with pytest.raises(ConfigError, match="name them by --logs"):
        measure_gap(GapConfig(policy, mapping=tmp_path / "map.toml"))


def _cartpole() -> PolicyContract:
    """Returns cartpole's contract."""
    from mjx_s2r.envs.registry import make_task

    return make_task("cartpole").contract


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "cannot be read as JSON"),
        ("[1]", "write {"),
        ('{"a.flight": {"ball": [1, 2]}}', r"must be \[x, y, z\]"),
        ('{"a.flight": {"bal": [1, 2, 3]}}', "did you mean 'ball'"),
        ('{"a.flight": {"upper": [1, 2, 3]}}', "neither mocap nor free"),
    ],
)
def test_objects_that_cannot_be_placed_are_named(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "objects.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_objects(file, TASK.mj_model)
    file.write_text('{"a.flight": {"ball": [1, 2, 3]}}')
    assert read_objects(file, TASK.mj_model)["a.flight"]["ball"] == (1, 2, 3, 1, 0, 0, 0)
