"""The search for a teacher's hardest worlds: a run in, a table and a file of worlds out."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, teacher_trainer
from mjx_s2r.curriculum.adversarial import Hardest, SearchConfig
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamError
from mjx_s2r.params.ranges import changed_space, read_ranges
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.learn.untrained import untrained_run, untrained_state
from tests.sim.toy import Toy
from train import adversary
from train.adversary import AdversaryConfig, blame_table

CONFIG = TeacherConfig(
    task="tests.sim.toy:Toy",
    iterations=1,
    log_every=1,
    devices=1,
    physics=PhysicsConfig("c"),
    ppo=PPOConfig(
        num_envs=4, num_steps=2, num_minibatches=2, actor_hidden=(4,), critic_hidden=(4,)
    ),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt nothing."""
    folder, trainer = tmp_path_factory.mktemp("adversary") / "run", teacher_trainer(CONFIG)
    untrained_run(folder, CONFIG, trainer, untrained_state(trainer, jax.random.key(0)))
    return folder


@pytest.mark.slow
def test_the_hardest_worlds_are_written_with_the_rows_to_blame(run: Path) -> None:
    words = ["--run", str(run), "--by", "return", "--episodes", "2", "--rows", "~noise", "~look"]
    small = ["--search.worlds", "16", "--search.generations", "2", "--search.hardest", "3"]
    adversary.main([*words, *small])
    told = json.loads((run / adversary.RESULT).read_text())
    assert {row["name"] for row in told["rows"]} == {"mass", "delay"}
    assert told["episodes"] == 2 * (16 * 2 + 3 * (1 + 2)) and told["by"] == "return"
    scores = [world["score"] for world in told["worlds"]]
    assert len(scores) == 3 and scores == sorted(scores)
    for world in told["worlds"]:
        assert 0.25 <= world["params"]["mass"] <= 4 and world["params"]["noise"] == 0


@pytest.mark.slow
def test_a_search_stays_within_given_ranges(run: Path, tmp_path: Path) -> None:
    within = tmp_path / "posterior.json"
    within.write_text(json.dumps({"mass": [1.5, 2.0], "delay": 0.01}))
    small = SearchConfig(worlds=16, generations=2, hardest=3)
    config = AdversaryConfig(run=run, within=within, by="return", rows=("mass",), search=small)
    space, found = adversary.find_hardest(config)
    mass, delay = (found.xi[:, space.index(name)] for name in ("mass", "delay"))
    assert mass.min() >= 1.5 and mass.max() <= 2.0 and found.ranking == ("mass",)
    np.testing.assert_allclose(delay, 0.01)


def test_a_training_can_begin_with_the_hardest_worlds(tmp_path: Path) -> None:
    space = Toy().space
    nominal = space.nominal
    found = Hardest(
        xi=np.stack([nominal, nominal]) + np.array([[2.0, 0, 0, 0], [1.0, 0, 0, 0]]),
        score=np.zeros(2),
        recovery=np.array((0.5, 0.0, 0.0, 0.0)),
        share=np.zeros(4),
        ranking=("mass", "delay"),
        evaluations=10,
    )
    file = tmp_path / "hard_ranges.json"
    file.write_text(json.dumps(adversary.hard_ranges(space, found)))
    begun = changed_space(space, read_ranges(file))
    assert begun.rows[begun.index("mass")].initial == (1.0, 3.0)
    assert begun.rows[begun.index("mass")].limits == (0.25, 4.0)
    assert begun.rows[begun.index("delay")] == space.rows[space.index("delay")]


def test_the_table_begins_with_the_row_to_blame() -> None:
    found = Hardest(
        xi=np.array([(3.0, 0.02, 0.0, 1.0), (2.0, 0.0, 0.0, 1.0)]),
        score=np.array((0.25, 0.5)),
        recovery=np.array((0.1, 0.5, 0.0, 0.0)),
        share=np.array((0.75, 0.2, 0.0, 0.0)),
        ranking=("delay", "mass"),
        evaluations=10,
    )
    shown = blame_table(Toy().space, found, "success")
    cells = [list(column.cells) for column in shown.columns]
    assert list(zip(*cells, strict=True)) == [
        ("delay", "0 s", "0 to 0.04", "0.02", "+0.5", "20%"),
        ("mass", "1", "0.25 to 4", "3", "+0.1", "75%"),
    ]
    assert "success in the 2 hardest worlds 0.375" in str(shown.title)


def test_a_search_without_episodes_or_rows_is_refused(run: Path) -> None:
    with pytest.raises(ParamError, match="episodes 0 must be at least 1"):
        AdversaryConfig(episodes=0)
    with pytest.raises(ParamError, match="'mas'; did you mean 'mass'"):
        adversary.find_hardest(AdversaryConfig(run=run, rows=("mas",)))
