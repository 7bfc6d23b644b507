"""Which rows a teacher's curriculum schedules: looks only where the actor sees."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, make_curriculum, teacher_trainer
from mjx_s2r.curriculum.adr import ADRConfig
from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.io.config import ConfigError
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer, fit
from mjx_s2r.sim.env import make
from mjx_s2r.sim.task import Task
from tests.sim.toy import SPACE, XML, Toy

CAMERA = '<camera name="front" pos="0 -2 0" xyaxes="1 0 0 0 0 1"/></worldbody>'
LOOK = SPACE.index("look")
WORLDS = 400


def trainer_of(curriculum: str, actor_obs: str, rows: tuple[str, ...] = ()) -> Trainer:
    """Returns the trainer of a teacher on a rail with a camera beside it."""
    config = TeacherConfig(
        curriculum=curriculum,
        rows=rows,
        cameras=("front:4x4@50",) if actor_obs == "pixels" else (),
        ppo=PPOConfig(num_envs=4, num_steps=2, actor_obs=actor_obs),
        adr=ADRConfig(boundary_share=1.0, window=4, step=0.25),
    )
    model = mujoco.MjModel.from_xml_string(XML.replace("</worldbody>", CAMERA))
    return teacher_trainer(config, make(cast(Task, Toy(mj_model=model))))


def looks(curriculum: Curriculum, updates: int = 0) -> np.ndarray:
    """Returns the looks of worlds drawn after so many updates in which every episode succeeds."""
    state, key = curriculum.init(), jax.random.key(0)
    for _ in range(updates):
        params = curriculum.sample(state, WORLDS, key)
        every = jax.tree.map(lambda x: x[None], params)
        ended, score = jnp.ones((1, WORLDS), bool), jnp.ones((1, WORLDS))
        episodes = Episodes(ended, score, every.kind, every.version, every.xi)
        state = curriculum.update(state, episodes)
    return np.asarray(curriculum.sample(state, WORLDS, key).xi[:, LOOK])


def test_an_actor_that_sees_meets_every_look() -> None:
    """A uniform curriculum draws them over their limits, 0.5 to 2."""
    trainer = trainer_of("uniform", "pixels")
    assert trainer.cameras is not None
    drawn = looks(trainer.curriculum)
    assert 0.5 <= drawn.min() < 0.55 and 1.95 < drawn.max() <= 2.0
    report = trainer.curriculum.report(trainer.curriculum.init())
    assert (float(report.low[LOOK]), float(report.high[LOOK])) == (0.5, 2.0)


def test_adr_widens_looks_for_an_actor_that_sees() -> None:
    """One step, a quarter of the limits' width, either way from the nominal look."""
    curriculum = trainer_of("adr", "pixels").curriculum
    assert np.ptp(looks(curriculum)) == 0
    drawn = looks(curriculum, updates=1)
    assert drawn.min() == pytest.approx(1 - 0.375, abs=0.01)
    assert drawn.max() == pytest.approx(1 + 0.375, abs=0.01)


def test_looks_stay_nominal_without_a_curriculum_and_for_an_actor_that_does_not_see() -> None:
    assert set(looks(trainer_of("none", "pixels").curriculum)) == {1.0}
    for curriculum, updates in (("uniform", 0), ("adr", 2)):
        trainer = trainer_of(curriculum, "state")
        assert trainer.cameras is None
        assert set(looks(trainer.curriculum, updates)) == {1.0}


def test_rows_that_are_named_go_before_what_the_actor_sees() -> None:
    seeing = trainer_of("uniform", "pixels", ("~visual.*",)).curriculum
    assert set(looks(seeing)) == {1.0}
    config = replace(TeacherConfig(), curriculum="uniform", rows=("*",))
    assert np.ptp(looks(make_curriculum(config, SPACE, sees=False))) > 1


def test_an_actor_that_sees_is_not_evaluated_in_simulation(tmp_path: Path) -> None:
    trainer = trainer_of("none", "pixels")
    state, key = trainer.state_shapes(), jax.random.key(0)
    params = trainer.curriculum.sample(trainer.curriculum.init(), 2, key)
    with pytest.raises(ConfigError, match="evaluated on robots: export it"):
        trainer.evaluate(state, params, key=key)
    config = TeacherConfig(run=tmp_path / "run", eval_every=1, devices=1)
    with pytest.raises(ConfigError, match="eval_every 1: an actor that sees"):
        fit(trainer, config, what="teacher", task="toy", iterations=1)
    assert not (tmp_path / "run").exists()
