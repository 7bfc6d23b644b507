"""A trained policy replayed: as the evaluation judges it, live in a browser, and as a page."""

import base64
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import mujoco
import numpy as np
import pytest
from PIL import Image

from mjx_s2r.api.teacher import TeacherConfig, teacher_trainer
from mjx_s2r.contract import CameraSignal
from mjx_s2r.io.run import RunError, write_json
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import ParamError
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.report.flight_film import following_camera
from mjx_s2r.report.media import GAP, TITLE_HEIGHT
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.physics import PhysicsState
from tests.learn.untrained import untrained_run, untrained_state
from tests.train.fake_viser import FakeServer
from train import view
from train.viewer import film
from train.viewer.browser import require, show
from train.viewer.film import outcome_rows
from train.viewer.opengl import mujoco_pictures
from train.viewer.pilot import WORLDS, Recording, load_viewer, record_episode
from train.viewer.viser_scene import ViserScene, bounds, led

CONFIG = TeacherConfig(
    task="tests.sim.toy:Toy",
    physics=PhysicsConfig("c"),
    ppo=PPOConfig(
        num_envs=4,
        num_steps=2,
        num_minibatches=1,
        actor_hidden=(4,),
        critic_hidden=(),
        rnn_hidden=3,
    ),
)


@pytest.fixture(scope="module")
def trained() -> tuple[Trainer, TrainState]:
    """A trainer whose actor has a memory, and a state of it: weights at random, all else blank."""
    trainer = teacher_trainer(CONFIG)
    return trainer, untrained_state(trainer, jax.random.key(5))


@pytest.fixture(scope="module")
def folder(trained: tuple[Trainer, TrainState], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its run."""
    path = tmp_path_factory.mktemp("runs") / "toy"
    untrained_run(path, CONFIG, *trained)
    return path


@pytest.fixture(scope="module")
def recording(folder: Path) -> Recording:
    """An episode of it."""
    return record_episode(folder, 7)


@pytest.mark.slow
def test_a_policy_with_a_memory_does_as_the_evaluation_says(
    trained: tuple[Trainer, TrainState], recording: Recording
) -> None:
    trainer, state = trained
    key_params, key_reset = jax.random.split(jax.random.key(7))
    params = recording.viewer.sample_params(WORLDS, key_params)
    scores = trainer.evaluate(state, params, key=key_reset)
    last = recording.states[-1].metrics
    assert np.asarray(last["return"]) == pytest.approx(np.asarray(scores.episode_return), rel=1e-5)
    assert np.asarray(last["length"]).tolist() == np.asarray(scores.length).tolist()
    assert len(recording.states) == 1 + max(np.asarray(scores.length))


@pytest.mark.slow
def test_a_world_whose_episode_is_over_stays_as_it_ended(recording: Recording) -> None:
    viewer, key = recording.viewer, jax.random.key(1)
    now = viewer.begin(viewer.sample_params(WORLDS, key), key)
    over = now.over.at[0].set(True)
    after = viewer.step(replace(now, over=over), 0, key)
    steps = np.asarray(after.worlds.pipeline_state.steps)
    assert steps.tolist() == [0, 1, 1, 1]


@pytest.mark.slow
def test_the_table_tells_what_became_of_each_world(recording: Recording) -> None:
    rows = outcome_rows(recording)
    returns = np.asarray(recording.states[-1].metrics["return"])
    assert [float(row[1]) for row in rows] == pytest.approx(returns, abs=0.051)
    assert {row[2] for row in rows} <= {"yes", "no"}
    mass = recording.task.space.index("mass")
    assert f"mass {float(recording.xi[0, mass]):.3g}" in rows[0][-1]


@pytest.mark.slow
def test_a_page_says_whose_film_it_is_and_shows_every_camera_twice(
    recording: Recording, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ours(_: Recording, states: Sequence[State], name: str, px: int, __: object) -> np.ndarray:
        """Returns grey pictures, each brighter than the one before."""
        asked.append(name)
        shade = 90 + 12 * np.arange(len(states), dtype=np.uint8)[:, None, None, None, None]
        return np.broadcast_to(shade, (len(states), WORLDS, px, px, 3))

    def theirs(_: object, name: str, px: int, cores: Sequence[PhysicsState]) -> np.ndarray:
        """Returns lighter ones."""
        asked.append(f"MuJoCo {name}")
        return np.full((len(cores), px, px, 3), 200, np.uint8)

    monkeypatch.setattr(film, "_ours", ours)
    monkeypatch.setattr(film, "mujoco_pictures", theirs)
    monkeypatch.setattr(film, "following_camera", lambda _: ["track"])
    html = film.film_page(recording, CameraSignal("front", 8, 8, 50.0), 48, RenderConfig())
    assert asked == ["track", "MuJoCo track", "front", "MuJoCo front"], "the robot comes first"
    assert f"The policy of {folder}, iteration 1, acting without noise; seed 7." in html
    moving = re.search(r"data:image/webp;base64,([^\"]+)", html)
    assert moving is not None
    frames = Image.open(io.BytesIO(base64.b64decode(moving[1])))
    assert frames.n_frames == len(recording.states)
    step = TITLE_HEIGHT + 48 + GAP
    assert frames.size == (WORLDS * (48 + GAP) - GAP, 4 * step - GAP)
    first = np.asarray(frames.convert("RGB")).astype(int)
    rows = [first[TITLE_HEIGHT + 24 + i * step, 24, 0] for i in range(4)]
    assert rows == pytest.approx([90, 200, 90, 200], abs=6)


@pytest.mark.slow
def test_sliders_set_the_rows_of_the_first_world(recording: Recording) -> None:
    server, turns = FakeServer(), iter(range(4))
    page = show(recording.viewer, server, 0, goes_on=lambda: next(turns, None) is not None)
    assert server.batches == 1 + 4, "one at the start and one a step"
    assert "look" not in server.controls, "looks are not shown"
    mass = server.controls["mass"]
    assert mass.limits[:2] == (0.25, 4.0)
    assert mass.value == pytest.approx(float(page.draws.xi[0, 0]))
    assert server.controls["delay [s]"].limits[:2] == (0.0, 0.04)
    mass.put(3.0)
    page.turn()
    draw = page.now.worlds.pipeline_state.episode_params.xi
    assert float(draw[0, 0]) == 3.0 and not (np.asarray(draw[1:, 0]) == 3.0).any()
    assert (np.asarray(page.now.worlds.pipeline_state.steps) == 0).all(), "it begins anew"
    assert "| 4 | 0.0 |  |" in server.controls["note"].content
    assert "compiling" not in server.controls["note"].content
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
    page = show(recording.viewer, server, 0, goes_on=lambda: next(turns, None) is not None)
    where = np.asarray(page.now.worlds.pipeline_state.physics_state.qpos)[:, 0]
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
    stage = ViserScene(server, model, 2)
    sizes = np.array([[[0, 0, 1], [0.1, 0, 0]], [[0, 0, 1], [0.4, 0, 0]]])
    stage.build(sizes)
    assert sorted(server.shapes) == ["/world_0/0_floor", "/world_0/1_ball", "/world_1/1_ball"]
    assert list(server.labels.values()) == ["world 1", "world 2"] and not server.grids
    balls = [server.shapes[f"/world_{i}/1_ball"] for i in range(2)]
    radii = [np.linalg.norm(ball.vertices, axis=1).max() for ball in balls]
    assert radii == pytest.approx((0.1, 0.4), rel=1e-6)
    assert balls[0].color == (255, 0, 0) and balls[0].opacity == 0.5
    turned = np.zeros((2, 2, 3, 3))
    turned[:] = ((0, -1, 0), (1, 0, 0), (0, 0, 1))  # a quarter turn about z
    stage.move(np.ones((2, 2, 3)), turned, None)
    half = np.sqrt(0.5)
    assert balls[1].wxyz == pytest.approx((half, 0, 0, half))
    assert balls[1].position == pytest.approx(tuple(1 + stage.places[1]))


WALKER = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><geom name="floor" type="plane" size="0 0 1"/><body name="trunk">'
    '<freejoint/><geom name="box" size="0.1"/><camera name="track" mode="track"/></body>'
    "</worldbody></mujoco>"
)


def test_a_robot_that_walks_off_is_kept_in_its_place_over_a_grid_that_moves() -> None:
    server = FakeServer()
    stage = ViserScene(server, WALKER, 2)
    assert led(WALKER) == stage.body == "trunk"
    stage.build(None)
    where = np.array([[(0, 0, 0), (3.0, -7.0, 0.4)], [(0, 0, 0), (0.2, 0, 0.4)]])
    upright = np.broadcast_to(np.eye(3), (2, 2, 3, 3))
    stage.move(where, upright, where[:, 1])
    for world in range(2):
        box = server.shapes[f"/world_{world}/1_box"].position
        assert box == pytest.approx(tuple(stage.places[world] + (0, 0, 0.4)))
        cell = server.grids[f"/grid/{world}"].vertices[1]
        past = np.array(server.grids[f"/grid/{world}"].position) - stage.places[world]
        lines = (past + where[world, 1])[:2] / cell
        assert lines == pytest.approx(np.round(lines), abs=1e-6), "lines lie still in the world"
        assert np.abs(past[:2]).max() <= cell / 2 + 1e-9
    assert server.shapes["/world_0/0_floor"].position == (0.0, 0.0, 0.0)
    stage.follows = False
    stage.move(where, upright, where[:, 1])
    assert server.shapes["/world_0/1_box"].position == pytest.approx((3.0, -7.0, 0.4))


def test_a_world_is_as_large_as_what_is_shown_in_it() -> None:
    """A box of 2 by 4 by 6 turned onto its side; the floor and what nobody sees do not count."""
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom type="plane" size="50 50 1"/><geom size="9" group="3"/>'
        '<geom type="box" pos="1 0 0" size="1 2 3" euler="90 0 0"/></worldbody></mujoco>'
    )
    assert bounds(model) == pytest.approx(np.array([(0, -3, -2), (2, 3, 2)]), abs=1e-9)


def test_one_begins_where_all_worlds_are_seen() -> None:
    """Every corner of the square lies within viser's 75 degrees around the line of sight."""
    server = FakeServer()
    stage = ViserScene(server, WALKER, 4)
    stage.stand(server.initial_camera)
    eye, aim = (np.array(getattr(server.initial_camera, n)) for n in ("position", "look_at"))
    ahead = (aim - eye) / np.linalg.norm(aim - eye)
    for place in stage.places:
        for corner in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            there = place + stage.middle - eye
            there[:2] += np.array(corner) * stage.side / 4
            assert there @ ahead / np.linalg.norm(there) > np.cos(np.radians(75 / 2))


def test_the_camera_that_follows_a_robot_is_found() -> None:
    xml = (
        '<mujoco><worldbody><camera name="wall"/><body><camera name="on"/>'
        '<camera name="track" mode="trackcom"/><geom size="1"/></body></worldbody></mujoco>'
    )
    assert following_camera(mujoco.MjModel.from_xml_string(xml)) == ["track"]


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
    core = recording.states[0].pipeline_state.physics_state
    cores = [jax.tree.map(lambda x, i=i: x[i], core) for i in range(WORLDS)]
    pictures = mujoco_pictures(recording.task.mj_model, "any", 4, cores)
    assert pictures is not None and len(opened) == 1
    assert pictures[:, 0, 0, 0] == pytest.approx(100 * np.asarray(core.qpos)[:, 0])


def test_what_cannot_be_shown_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="holds no run"):
        load_viewer(tmp_path)
    write_json(tmp_path / "config.json", {"schema": 2, "teacher": {"seed": 0}, "count": 2})
    with pytest.raises(RunError, match="seed_0"):
        load_viewer(tmp_path)
    with pytest.raises(ParamError, match="'brax:ant' is another library's environment"):
        view.main(("--task", "brax:ant"))
    with pytest.raises(ParamError, match="name its run"):
        view.main(("--browser",))
    old = SimpleNamespace(ViserServer=object, __version__="1.0.3")
    monkeypatch.setitem(sys.modules, "viser", old)
    with pytest.raises(ParamError, match=r"viser 1\.0\.3 is too old"):
        require()
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(ParamError, match=r"pip install 'mjx_s2r\[viewer\]'"):
        require()


def test_ctrl_c_closes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer()

    def interrupted(*_: object) -> None:
        """Ends as a user does."""
        raise KeyboardInterrupt

    module = SimpleNamespace(ViserServer=lambda port: server)
    monkeypatch.setattr(view, "require", lambda: module)
    monkeypatch.setattr(view, "load_viewer", lambda run, iteration: run)
    monkeypatch.setattr(view, "show", interrupted)
    view.main(("--browser", "--run", "runs/any"))
    assert server.stopped


@pytest.mark.slow
def test_the_real_server_takes_a_page(recording: Recording) -> None:
    pytest.importorskip("viser")
    server, turns = require().ViserServer(host="127.0.0.1", port=0), iter(range(2))
    try:
        page = show(recording.viewer, server, 0, goes_on=lambda: next(turns, None) is not None)
        page.sliders["mass"].value = 2.0
        page.turn()
        assert float(page.now.worlds.pipeline_state.episode_params.xi[0, 0]) == 2.0
    finally:
        server.stop()
