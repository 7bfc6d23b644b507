"""The gap of a run's policy: none to a robot like its training, and a weak motor's is blamed."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy.optimize import brentq

from mjx_s2r.api.gap import GapConfig, measure_gap
from mjx_s2r.api.policy import export_policy, exported_difference, load_policy
from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.io.run import POLICY, RunError
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.onnx_export import ExportError
from mjx_s2r.params import ParamError
from mjx_s2r.robot.policy import Policy
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.transfer.gap.held_pole import GOAL, KP, START, TORQUE
from train import gap

pytestmark = pytest.mark.slow

TASK = "tests.transfer.gap.held_pole:HeldPole"
ROBOTS, EPISODES = 8, 3


def trained(folder: Path, actor_obs: str = "state", seed: int = 0) -> Path:
    """Returns the run of a policy that has all but learned nothing, so that it holds still."""
    small = PPOConfig(
        num_envs=4,
        num_steps=2,
        num_minibatches=2,
        actor_hidden=(4,),
        critic_hidden=(4,),
        actor_obs=actor_obs,
    )
    config = TeacherConfig(
        TASK,
        folder,
        seed=seed,
        iterations=1,
        curriculum="none",
        ppo=small,
        devices=1,
        physics=PhysicsConfig("c"),
    )
    train_teacher(config)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run with its policy, exported."""
    folder = trained(tmp_path_factory.mktemp("gap_of_run") / "run")
    export_policy(load_policy(folder), folder / POLICY, inputs=16)
    return folder


def told(run: Path, reality: str) -> dict[str, Any]:
    """Returns the figures of `train gap --run RUN` on stand-ins of a reality."""
    file = run / "reality.toml"
    file.write_text(f"count = {ROBOTS}\n{reality}")
    words = ["--run", str(run), "--reality", str(file), "--episodes", str(EPISODES)]
    gap.main([*words, "--out", str(run / "out"), "--no-together"])
    return dict(json.loads((run / "out" / gap.FIGURES_FILE).read_text()))


def test_a_robot_like_the_training_has_no_gap(run: Path) -> None:
    """The same numbers, the same starts: every episode ends alike, in whatever plays it."""
    found = told(run, "")
    places = found["places"]
    assert set(places) == {"robot", "simulation", "nominal world", "training's engine"}
    here, there = places["robot"], places["simulation"]
    assert here["episodes"] == there["episodes"] == ROBOTS * EPISODES
    assert 0 < here["successes"] == there["successes"] < here["episodes"]
    assert here["return"][0] == pytest.approx(there["return"][0], rel=1e-6)
    value, low, high = found["verdict"]["gap"]
    assert value == pytest.approx(0.0, abs=1e-12) and low < 0 < high
    # It holds where it starts, less what it sags: uniform starts, so the share that is near level.
    sag = TORQUE / KP
    expected = (min(START, GOAL - sag) + min(START, GOAL + sag)) / (2 * START)
    own = places["training's engine"]
    assert own["episodes"] == 256
    for side in (own, there):
        assert side["success"][1] - 0.02 <= expected <= side["success"][2] + 0.02
    errors = {line["channel"]: line["share"] for line in found["replay"]}
    assert errors["joint_pos hinge"] < 0.01 and errors["joint_vel hinge"] < 0.2
    assert found["blame"] is None and "nothing to explain" in found["missing"][0]
    page = (run / "out" / gap.PAGE).read_text()
    assert page.count("No data for this section") == 2  # whom to blame, and pictures


def test_a_motor_at_a_tenth_is_blamed(run: Path) -> None:
    found = told(run, "[rows]\nkp = 0.1\n")
    # It sags past the goal from wherever it starts: where it rests, KP / 10 (x - start) = weight.
    rest = brentq(lambda x: KP / 10 * (x + START) - TORQUE * math.cos(x), 0.0, 1.5)
    assert rest > 2 * GOAL
    assert found["places"]["robot"]["successes"] == 0
    assert found["places"]["simulation"]["successes"] > 0
    assert found["verdict"]["gap"][0] == 1.0 and found["verdict"]["word"] == "poor"
    single, greedy = found["blame"]["single"], found["blame"]["greedy"]
    assert single[0]["name"] == greedy[0]["name"] == "kp" and not greedy[0]["trained"]
    assert greedy[0]["best"] == pytest.approx(0.1, abs=0.01) and greedy[0]["share"] > 0.99
    assert single[1]["share"] < single[0]["share"] - 0.1


def test_a_run_is_looked_at_before_anything_flies(run: Path, tmp_path: Path) -> None:
    file = Policy.load(run / POLICY)
    assert exported_difference(load_policy(run), file) < 1e-4
    with pytest.raises(ParamError, match=r"no policy: name its file, .* or its --run"):
        GapConfig()
    with pytest.raises(RunError, match="holds no run"):
        measure_gap(GapConfig(run=tmp_path / "none"))
    with pytest.raises(RunError, match="holds no run"):
        measure_gap(GapConfig(run / POLICY, run=tmp_path / "none"))
    other = trained(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match=r"holds no policy.onnx; write it: python -m train export"):
        measure_gap(GapConfig(run=other))
    with pytest.raises(RunError, match=r"holds another policy than .* export it anew"):
        measure_gap(GapConfig(run / POLICY, run=other))
    told_all = trained(tmp_path / "told", actor_obs="privileged")
    with pytest.raises(ExportError, match="reads 'privileged', which no robot knows"):
        measure_gap(GapConfig(run / POLICY, run=told_all))
