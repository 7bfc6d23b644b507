"""A trained policy replayed: as the evaluation judges it, live in a browser, and as a page."""

import re
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.checkpoints import Checkpoints
from mjx_s2r.learn import normalizer
from mjx_s2r.learn.evaluation import evaluate
from mjx_s2r.learn.ppo import Ppo, TrainState
from mjx_s2r.learn.settings import PpoConfig
from mjx_s2r.params import ParamError
from mjx_s2r.runs import Run, RunError, write_json
from tests.train.fake_viser import FakeServer
from train import view
from train.browser import Stage, require, show
from train.film import animation, following, mujoco_pictures, told
from train.record import WORLDS, Recording, load_pilot, record
from train.teacher import TeacherConfig, learner

CONFIG = TeacherConfig(
    task="tests.sim.toy:Toy",
    ppo=PpoConfig(worlds=4, unroll=2, minibatches=1, actor_hidden=(4,), critic_hidden=(), units=3),
)


@pytest.fixture(scope="module")
def trained() -> tuple[Ppo, TrainState]:
    """A learner with a memory and a state of it: weights drawn at random, all else blank."""
    ppo = learner(CONFIG)
    like = jax.eval_shape(ppo.init, jax.random.key(0))

    def blank(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        """Returns zeros, or random keys."""
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.broadcast_to(jax.random.key(0), leaf.shape)
        return jnp.zeros(leaf.shape, leaf.dtype)

    sizes = [like.actor_norm.mean.shape[0], like.critic_norm.mean.shape[0]]
    actor, critic = ppo.nets.init(*sizes, key=jax.random.key(5))
    norms = {"actor_norm": normalizer.init(sizes[0]), "critic_norm": normalizer.init(sizes[1])}
    state = replace(jax.tree.map(blank, like), actor=actor, critic=critic, **norms)
    return ppo, replace(state, curriculum=ppo.curriculum.init())


@pytest.fixture(scope="module")
def folder(
    trained: tuple[Ppo, TrainState], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Its run."""
    path = tmp_path_factory.mktemp("runs") / "toy"
    with Run.create(path, CONFIG) as run:
        names = trained[0].env.space.names
        with closing(Checkpoints(run.checkpoints, task=CONFIG.task, rows=names)) as kept:
            kept.save(1, trained[1], wait=True)
    yield path


@pytest.fixture(scope="module")
def recording(folder: Path) -> Recording:
    """An episode of it."""
    return record(folder, 7)


@pytest.mark.slow
def test_a_policy_with_a_memory_does_as_the_evaluation_says(
    trained: tuple[Ppo, TrainState], recording: Recording
) -> None:
    scores = evaluate(*trained, WORLDS, key=jax.random.key(7))
    last = recording.states[-1].metrics
    assert np.asarray(last["return"]) == pytest.approx(np.asarray(scores.total), rel=1e-5)
    assert np.asarray(last["length"]).tolist() == np.asarray(scores.length).tolist()
    assert len(recording.states) == 1 + max(np.asarray(scores.length))


@pytest.mark.slow
def test_a_world_whose_episode_is_over_stays_as_it_ended(recording: Recording) -> None:
    pilot, key = recording.pilot, jax.random.key(1)
    now = pilot.begin(pilot.draws(WORLDS, key), key)
    over = now.over.at[0].set(True)
    after = pilot.step(replace(now, over=over), 0, key)
    steps = np.asarray(after.worlds.pipeline_state.steps)
    assert steps.tolist() == [0, 1, 1, 1]


@pytest.mark.slow
def test_the_table_tells_what_became_of_each_world(recording: Recording) -> None:
    html = told(recording)
    found = re.findall(r'<td class="n">(-?[0-9.]+)</td><td>(yes|no)</td>', html)
    returns = np.asarray(recording.states[-1].metrics["return"])
    assert [float(x) for x, _ in found] == pytest.approx(returns, abs=0.051)
    mass = recording.task.space.index("mass")
    assert f"mass {float(recording.xi[0, mass]):.3g}" in html


@pytest.mark.slow
def test_sliders_set_the_rows_of_the_first_world(recording: Recording) -> None:
    server, turns = FakeServer(), iter(range(4))
    page = show(recording.pilot, server, 0, goes_on=lambda: next(turns, None) is not None)
    assert server.batches == 1 + 4, "one at the start and one a step"
    assert "look" not in server.controls, "looks are not shown"
    mass = server.controls["mass"]
    assert mass.limits[:2] == (0.25, 4.0)
    assert mass.value == pytest.approx(float(page.draws.xi[0, 0]))
    assert server.controls["delay [s]"].limits[:2] == (0.0, 0.04)
    mass.put(3.0)
    page.turn()
    draw = page.now.worlds.pipeline_state.draw.xi
    assert float(draw[0, 0]) == 3.0 and not (np.asarray(draw[1:, 0]) == 3.0).any()
    assert (np.asarray(page.now.worlds.pipeline_state.steps) == 0).all(), "it begins anew"
    server.controls["nominal"].put()
    page.turn()
    assert float(page.draws.xi[0, 0]) == 1.0
    server.controls["play"].put(False)
    assert page.waits()
    server.controls["again"].put()
    assert not page.waits()


@pytest.mark.slow
def test_shapes_stand_where_the_worlds_are(recording: Recording) -> None:
    server, turns = FakeServer(), iter(range(3))
    page = show(recording.pilot, server, 0, goes_on=lambda: next(turns, None) is not None)
    where = np.asarray(page.now.worlds.pipeline_state.core.qpos)[:, 0]
    for world in range(WORLDS):
        (shape,) = [s for name, s in server.shapes.items() if name.startswith(f"/world_{world}/")]
        apart = np.array(shape.position) - page.stage.places[world]
        assert apart == pytest.approx((where[world], 0, 0), abs=1e-6)
    assert len({tuple(p) for p in page.stage.places}) == WORLDS


def test_a_stage_shows_sizes_turns_and_one_floor() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom name="floor" type="plane" size="0 0 1"/>'
        '<geom name="ball" size="0.1" rgba="1 0 0 0.5"/></worldbody></mujoco>'
    )
    server = FakeServer()
    stage = Stage(server, model, 2)
    sizes = np.array([[[0, 0, 1], [0.1, 0, 0]], [[0, 0, 1], [0.4, 0, 0]]])
    stage.build(sizes)
    assert sorted(server.shapes) == ["/world_0/0_floor", "/world_0/1_ball", "/world_1/1_ball"]
    balls = [server.shapes[f"/world_{i}/1_ball"] for i in range(2)]
    radii = [np.linalg.norm(ball.vertices, axis=1).max() for ball in balls]
    assert radii == pytest.approx((0.1, 0.4), rel=1e-6)
    assert balls[0].color == (255, 0, 0) and balls[0].opacity == 0.5
    turned = np.zeros((2, 2, 3, 3))
    turned[:] = ((0, -1, 0), (1, 0, 0), (0, 0, 1))  # a quarter turn about z
    stage.move(np.ones((2, 2, 3)), turned)
    half = np.sqrt(0.5)
    assert balls[1].wxyz == pytest.approx((half, 0, 0, half))
    assert balls[1].position == pytest.approx(tuple(1 + stage.places[1]))


def test_a_film_keeps_its_frames_and_their_pace() -> None:
    import base64
    import io

    from PIL import Image

    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1] = 255
    address = animation(frames, 0.05)
    film = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    assert film.n_frames == 3
    film.seek(1)
    assert np.asarray(film.convert("RGB")).mean() > 240


def test_the_camera_that_follows_a_robot_is_found() -> None:
    xml = (
        '<mujoco><worldbody><camera name="wall"/><body><camera name="on"/>'
        '<camera name="track" mode="trackcom"/><geom size="1"/></body></worldbody></mujoco>'
    )
    assert following(mujoco.MjModel.from_xml_string(xml)) == ["track"]


@pytest.mark.slow
def test_opengl_is_opened_once_for_all_pictures(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Counted:
        """Counts itself, and draws the time."""

        def __init__(self, *_: object) -> None:
            """Counts."""
            opened.append(1)

        def __enter__(self) -> None:
            """Does nothing."""

        def __exit__(self, *_: object) -> None:
            """Does nothing."""

        def update_scene(self, data: mujoco.MjData, name: str) -> None:
            """Remembers where the block is."""
            self.seen = data.qpos[0]

        def render(self) -> np.ndarray:
            """Returns a picture of it."""
            return np.full((4, 4, 3), 100 * self.seen)

    monkeypatch.setattr(mujoco, "Renderer", Counted)
    core = recording.states[0].pipeline_state.core
    cores = [jax.tree.map(lambda x, i=i: x[i], core) for i in range(WORLDS)]
    pictures = mujoco_pictures(recording.task.mj_model, "any", 4, cores)
    assert pictures is not None and len(opened) == 1
    assert pictures[:, 0, 0, 0] == pytest.approx(100 * np.asarray(core.qpos)[:, 0])


def test_what_cannot_be_shown_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="holds no run"):
        load_pilot(tmp_path)
    write_json(tmp_path / "config.json", {"teacher": {"seed": 0}, "count": 2})
    with pytest.raises(RunError, match="seed_0"):
        load_pilot(tmp_path)
    with pytest.raises(ParamError, match="name its run"):
        view.main(("--browser",))
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ParamError, match=r"pip install 'mjx_s2r\[viewer\]'"):
        require()


@pytest.mark.slow
def test_the_real_server_takes_a_page(recording: Recording) -> None:
    pytest.importorskip("viser")
    server, turns = require().ViserServer(host="127.0.0.1", port=0), iter(range(2))
    try:
        page = show(recording.pilot, server, 0, goes_on=lambda: next(turns, None) is not None)
        page.sliders["mass"].value = 2.0
        page.turn()
        assert float(page.now.worlds.pipeline_state.draw.xi[0, 0]) == 2.0
    finally:
        server.stop()
