"""Flying a policy to look at it: episodes as those of an evaluation, and their film and page."""

import re
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest
from PIL import Image

from mjx_s2r.api.fly import show_flight
from mjx_s2r.api.gallery import gallery, gallery_policy
from mjx_s2r.api.robots import EvaluateConfig, evaluate_on_robots
from mjx_s2r.params import ParamError
from mjx_s2r.report.flight_film import (
    BAD,
    FRAME_PX,
    GOOD,
    StateRecorder,
    draw_states,
    thinned,
    with_eye,
    with_outcome,
)
from mjx_s2r.robot.drivers.sim_robot import can_render
from train import fly
from train.viewer.window import MujocoWindow

BALL = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <geom type="plane" size="1 1 0.1" rgba="0.2 0.2 0.2 1"/>
    <body name="ball" pos="0 0 1"><freejoint/><geom type="sphere" size="0.2" rgba="1 0 0 1"/></body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that flying the cartpole of the gallery leaves, and what was printed."""
    out, shown = tmp_path_factory.mktemp("fly"), []
    words = ("cartpole", "--episodes", "1", "--robots", "rehearsal", "--no-browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda text, **_: shown.append(str(text)))
        fly.main((*words, "--out", str(out)))
    return out / "cartpole", "\n".join(shown)


def test_a_policy_of_the_gallery_flies(flown: tuple[Path, str]) -> None:
    folder, told = flown
    assert "1 of 1 episodes reached the goal" in told and f"page: {folder / 'flight.html'}" in told
    page = (folder / "flight.html").read_text()
    card = gallery()["cartpole"].card
    assert "1 of 1 episodes reached the goal" in page and card.commands[0] in page
    assert card.outcomes[0].words in page
    assert "<script" not in page and 'src="http' not in page and 'href="http' not in page


@pytest.mark.skipif(not can_render(), reason="MuJoCo has no OpenGL here")
def test_the_film_lasts_as_long_as_the_episode(flown: tuple[Path, str]) -> None:
    """As long as the page says, and then a rest on its last frame."""
    told = re.search(r">([\d.]+) s</td>", (flown[0] / "flight.html").read_text())
    film = Image.open(flown[0] / "flight.webp")
    pauses = []
    for index in range(film.n_frames):
        film.seek(index)
        film.load()
        pauses.append(film.info["duration"])
    assert told is not None and sum(pauses[:-1]) == pytest.approx(1000 * float(told[1]), rel=0.02)
    assert len({film_frame(flown[0], i).tobytes() for i in (0, film.n_frames // 2)}) == 2


def film_frame(folder: Path, index: int) -> np.ndarray:
    """Returns a frame of a film."""
    film = Image.open(BytesIO((folder / "flight.webp").read_bytes()))
    film.seek(index)
    return np.asarray(film.convert("RGB"))


def test_looking_on_changes_nothing(tmp_path: Path) -> None:
    """The episode is that of an evaluation on the same robot, to the step and the reward."""
    config = EvaluateConfig(
        policy=gallery_policy("cartpole").path, robots="rehearsal", count=1, episodes=1, films=0
    )
    seen: list[float] = []
    watched = show_flight(config, tmp_path, watch=lambda _, data: seen.append(data.time))
    (alone,) = evaluate_on_robots(config)
    (one,) = watched.episodes
    assert (one.steps, one.reason, one.events) == (alone.steps, alone.reason, alone.events)
    assert one.episode_return == pytest.approx(alone.episode_return, rel=1e-9)
    assert "The policy's card" not in watched.page.read_text(), "a file of one's own has none"
    assert len(seen) == one.steps + 1 and np.diff(seen) == pytest.approx(0.01)


def test_bad_input_is_refused_before_anything_flies(tmp_path: Path) -> None:
    for words, says in (
        (("cartpole", "--episodes", "0"), "episodes 0 must be at least 1"),
        (("cartpole", "--policy", "mine.onnx"), "leave one of the two out"),
        (("reorient",), "no policy of 'reorient' has been trained"),
    ):
        with pytest.raises(ParamError, match=says):
            fly.main((*words, "--out", str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_the_gallery_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    fly.main(())
    told = capsys.readouterr().out
    assert all(name in told for name in gallery()) and "untrained: " in told
    fly.main(("cartpole", "--card"))
    assert capsys.readouterr().out == f"{gallery()['cartpole']}\n"


def test_a_recorder_keeps_where_everything_was() -> None:
    model = mujoco.MjModel.from_xml_string(BALL)
    data = mujoco.MjData(model)
    inner = SimpleNamespace(sizes={}, courses=False, loads=False, read=lambda *_: {"x": 1})
    recorder = StateRecorder(inner)  # type: ignore[arg-type]
    heights = []
    for _ in range(3):
        mujoco.mj_step(model, data, 20)
        assert recorder.read(model, data, data.qpos, data.qvel) == {"x": 1}
        heights.append(data.qpos[2])
    assert [state[2] for state in recorder.states] == heights and heights[2] < heights[0] < 1.0


@pytest.mark.skipif(not can_render(), reason="MuJoCo has no OpenGL here")
def test_states_are_drawn_where_they_were() -> None:
    """A red ball above, and the same on the floor: its rows of the picture go down."""
    model = mujoco.MjModel.from_xml_string(BALL)
    up = np.array((0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0))
    shots = draw_states(model, [up, up - [0, 0, 0.8, 0, 0, 0, 0]], (60, 80))
    red = (shots[..., 0].astype(int) - shots[..., 1]) > 60
    rows = [np.argwhere(picture)[:, 0].mean() for picture in red]
    assert shots.shape == (2, 60, 80, 3) and rows[1] > rows[0] + 10


def test_what_the_policy_sees_is_in_the_corner_in_squares() -> None:
    shots = np.zeros((2, 100, 120, 3), np.uint8)
    seen = np.full((2, 12, 12, 3), 77, np.uint8)
    out = with_eye(shots, seen)
    side = 3 * 12 + 2 * FRAME_PX  # 0.36 of 100 rows are three rows for each of 12
    assert (out[:, -FRAME_PX - 1, -FRAME_PX - 1] == 77).all() and (out[:, -1, -1] == 255).all()
    assert (out[:, :-side] == 0).all() and (out[:, :, :-side] == 0).all()
    assert with_eye(shots, None) is shots


def test_an_episode_that_is_over_stays_in_its_colour() -> None:
    shots = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 20, 20, 3), np.uint8)
    good, bad = with_outcome(shots, 5, True), with_outcome(shots, 5, False)
    assert good.shape == (5, 20, 20, 3) and (good[:, 10, 10, 0] == (0, 1, 2, 2, 2)).all()
    assert (good[2:, 0, 0] == GOOD).all() and (bad[2:, 0, 0] == BAD).all()
    assert (good[:2, 0, 0, 0] == (0, 1)).all()


def test_a_film_is_thinned_to_a_rate_and_a_number() -> None:
    assert list(thinned(5, 10.0, 12.5, 90)) == [0, 1, 2, 3, 4]
    assert len(thinned(100, 25.0, 12.5, 90)) == 50 and len(thinned(1000, 100.0, 12.5, 90)) == 90
    assert thinned(1000, 100.0, 12.5, 90)[-1] == 999


def fake_viewer(opened: list[Any]) -> Callable[..., Any]:
    """Returns what opens a window that counts what it is shown."""

    def launch(model: Any, data: Any, **_: Any) -> SimpleNamespace:
        """Opens one."""
        window = SimpleNamespace(model=model, shown=0, open=True)
        window.sync = lambda: setattr(window, "shown", window.shown + 1)
        window.close = lambda: setattr(window, "open", False)
        window.is_running = lambda: window.open
        opened.append(window)
        return window

    return launch


def test_a_window_shows_every_state_and_opens_anew_for_another_robot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("mujoco.viewer")
    opened: list[Any] = []
    module.launch_passive = fake_viewer(opened)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mujoco.viewer", module)
    monkeypatch.setattr(mujoco, "viewer", module, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    models = [mujoco.MjModel.from_xml_string(BALL) for _ in range(2)]
    with MujocoWindow(1000.0) as window:
        for model, states in zip(models, (3, 2), strict=True):
            for _ in range(states):
                window(model, mujoco.MjData(model))
        opened[1].open = False  # the user closed it
        window(models[1], mujoco.MjData(models[1]))
    assert [w.shown for w in opened] == [3, 2] and [w.model for w in opened] == models
    assert not opened[0].open


def test_a_window_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ParamError, match="--window needs a display"):
        MujocoWindow(25.0)
