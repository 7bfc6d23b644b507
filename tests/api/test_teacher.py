"""Which rows a teacher's curriculum schedules: looks only where the actor sees."""

from dataclasses import replace
from functools import partial
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
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.rollout import reset_envs, step_envs
from mjx_s2r.learn.trainer import Trainer, fit
from mjx_s2r.sim import task_calls
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.task import Task
from tests.curriculum.fakes import compiled
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
    return teacher_trainer(config, make(cast(Task, Toy(mj_model=model)), PhysicsConfig("c")))


def looks(curriculum: Curriculum, updates: int = 0) -> np.ndarray:
    """Returns the looks of worlds drawn after so many updates in which every episode succeeds."""
    curriculum = compiled(curriculum)
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


@pytest.mark.slow
def test_an_actor_that_sees_is_judged_by_its_pictures() -> None:
    """The oracle: an episode of two worlds by hand, with the same keys."""
    trainer = trainer_of("none", "pixels")
    key, cameras = jax.random.key(0), trainer.cameras
    assert cameras is not None
    state = jax.jit(trainer.init_without_frames)(key)
    params = trainer.curriculum.sample(trainer.curriculum.init(), 2, key)
    scores = trainer.evaluate(state, params, key=key)
    key_start, _, key_steps = jax.random.split(key, 3)
    worlds, returns = reset_envs(trainer.env, params, key=key_start), np.zeros(2)
    step, none = jax.jit(partial(trainer.apply_policy, state)), jnp.zeros((2, 0))
    over = np.zeros(2, bool)
    for index in range(trainer.env.episode_steps):
        images = cameras.pictures(worlds, params.xi, jax.random.fold_in(key_steps, index))
        worlds = step_envs(trainer.env, worlds, jnp.tanh(step(none, worlds, images)[1].mean))
        returns = np.where(over, returns, worlds.metrics["return"])
        over |= np.asarray(worlds.done) > 0
    assert over.all()
    np.testing.assert_allclose(scores.episode_return, returns, rtol=1e-4)


def test_an_actor_that_sees_is_not_evaluated_while_it_trains(tmp_path: Path) -> None:
    trainer = trainer_of("none", "pixels")
    config = TeacherConfig(run=tmp_path / "run", eval_every=1, devices=1)
    with pytest.raises(ConfigError, match="eval_every 1: an actor that sees"):
        fit(trainer, config, what="teacher", task="toy", iterations=1)
    assert not (tmp_path / "run").exists()


def test_an_inferable_actor_reads_readings_and_the_scene_alone() -> None:
    """The toy's own privileged values stand behind the readings; xi and commands stay hidden."""
    trainer = trainer_of("none", "inferable")
    env, algorithm = trainer.env, trainer.algorithm
    assert isinstance(algorithm, PPO) and isinstance(env, Env)
    world = jax.jit(env.reset)(jax.random.key(0))
    scene = task_calls.privileged(env.task, env.task_data(world))
    assert scene.shape[0] > 0
    expected = np.concatenate((world.obs["state"], scene))
    np.testing.assert_allclose(algorithm.actor_obs(world.obs), expected, atol=1e-6)
    with pytest.raises(ValueError, match="was not told which columns a student"):
        PPO(algorithm.config, 1).actor_obs(world.obs)
