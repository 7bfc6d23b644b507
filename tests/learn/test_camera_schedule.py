"""Cameras slower than the policy and stacks of pictures: whose turn it is, and what is kept."""

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from mjx_s2r.contract import CameraSignal, ContractError
from mjx_s2r.envs.cartpole import CONTRACT, Cartpole
from mjx_s2r.learn.camera_schedule import CameraSchedule, bind_camera_schedule
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.params import ParamError, ParamSpace, set_to
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.sim.effects.frame_timing import bind_frame_timing
from mjx_s2r.sim.env import make as make_env
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.task import Task, seen_by
from tests.learn.distill.students import student_of

WORLDS = 4


@struct.dataclass
class Shown:
    """What a watch reads of worlds: the time that they show (B,), and who has just ended (B,).

    Who ended begins an episode with the next picture.
    """

    time: jax.Array
    done: jax.Array


def _clock(
    every: int, frames: int, space: ParamSpace | None = None, xi: jax.Array | None = None
) -> CameraSchedule:
    """Returns a watch whose pictures (1 px) show the time that a world says it is."""

    def paint(where: Any, xi: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        """Returns pictures of the time."""
        return (jnp.broadcast_to(where[:, None, None, None], (*where.shape, 1, 1, 3)),)

    signal = CameraSignal("front", 1, 1, 50.0 / every, frames)
    timing = bind_frame_timing(space or ParamSpace(()), signal, ["front", "wrist"], 0.02)
    return CameraSchedule(
        signals=(signal,),
        period=(every,),
        locate=lambda worlds: cast(Any, worlds).time,
        draw=paint,
        timing=(timing,),
        params=lambda worlds: XI if xi is None else xi,
        begins=lambda worlds: worlds.done > 0,
    )


def _worlds(time: int, done: tuple[int, ...] = (0,) * WORLDS) -> State:
    """Returns worlds that all show one time."""
    return cast(State, Shown(jnp.full(WORLDS, time, jnp.uint8), jnp.array(done)))


def _greys(images: tuple[jax.Array, ...]) -> list[list[int]]:
    """Returns each world's frames, newest first."""
    return cast(list[list[int]], np.asarray(images[0])[:, 0, 0, ::3].tolist())


def test_a_stack_keeps_the_last_pictures_newest_first() -> None:
    view, film, seen = _clock(1, 3), None, []
    film = view.initial(_worlds(1), XI, KEY)
    for step, time in enumerate((1, 2, 3)):
        film, images = view.observe(film, _worlds(time), XI, step, KEY)
        seen.append(_greys(images)[0])
    assert seen == [[1, 1, 1], [2, 1, 1], [3, 2, 1]]


def test_worlds_take_turns_before_a_slow_camera() -> None:
    view = _clock(2, 1)
    film = view.initial(_worlds(9), XI, KEY)
    seen = []
    for step, time in enumerate((10, 11, 12)):
        film, images = view.observe(film, _worlds(time), XI, step, KEY)
        seen.append([frames[0] for frames in _greys(images)])
    assert seen == [[10, 9, 10, 9], [10, 11, 10, 11], [12, 11, 12, 11]]


@pytest.mark.parametrize(("least", "enough"), [(4, 6), (6, 6), (7, 12)])
def test_enough_worlds_take_turns_before_all_cameras(least: int, enough: int) -> None:
    view = replace(_clock(2, 1), period=(2, 3))
    assert view.enough_worlds(least) == enough


def test_a_new_episode_shows_nothing_of_the_old_one() -> None:
    over = (0, 1, 0, 0)
    prompt, slow = _clock(1, 2), _clock(2, 2)
    _, images = prompt.observe(prompt.initial(_worlds(1), XI, KEY), _worlds(3, over), XI, 0, KEY)
    assert _greys(images) == [[3, 1], [3, 3], [3, 1], [3, 1]]
    fresh = slow.fresh(_worlds(7), XI, KEY)
    frames = slow.auto_reset(slow.initial(_worlds(1), XI, KEY), fresh, _worlds(2, over))
    _, images = slow.observe(frames, _worlds(3), XI, 0, KEY)
    assert _greys(images) == [[3, 1], [7, 7], [3, 1], [1, 1]]


def test_one_picture_per_step_is_not_kept() -> None:
    view = _clock(1, 1)
    assert not view.keeps_frames
    assert view.initial(_worlds(1), XI, KEY) == ()
    film, images = view.observe((), _worlds(5), XI, 0, KEY)
    assert film == ()
    assert _greys(images) == [[5]] * WORLDS


def _teacher(obs: dict[str, jax.Array]) -> Gaussian:
    """Pushes against the cart's position."""
    return gaussian(-0.5 * obs["state"][:, :1], jnp.full((1,), -1.0))


def _task(rate_hz: float, frames: int) -> Task:
    """Returns the cartpole seen by a camera of its model."""
    return seen_by(cast(Task, Cartpole()), [CameraSignal("fixed", 16, 16, rate_hz, frames)])


CONFIG = DistillConfig(
    num_envs=4, num_steps=3, iterations=2, num_minibatches=2, hidden=(8,), cnn_channels=4
)


@pytest.mark.slow
def test_a_student_learns_from_stacks_of_a_slow_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """An iteration is begun without waiting for a number of the one before."""

    def read(array: jax.Array) -> int:
        raise AssertionError("a number was read from the device")

    task = _task(CONTRACT.control_hz / 2, 2)
    trainer = student_of(_teacher, task, CONFIG)
    state = trainer.init(jax.random.key(0))
    assert [x.pictures.shape for x in state.frames] == [(4, 2, 16, 16, 3)]
    kernel = state.learner.params["params"]["ImageEncoder_0"]["Conv_0"]["kernel"]
    assert kernel.shape[-2] == 16 * 6
    with monkeypatch.context() as watch:
        watch.setattr(type(state.iteration), "__int__", read)
        after, metrics = trainer.iterate(state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(metrics)))
    assert after.frames[0].pictures.shape == state.frames[0].pictures.shape
    images = (jnp.zeros((3, 16, 16, 6), jnp.uint8),)
    obs, first = {"state": jnp.zeros((3, CONTRACT.size))}, jnp.zeros(3, bool)
    none = trainer.algorithm.zero_rnn_state(3).actor
    out = trainer.algorithm.policy(after.learner, none, obs, images, first)[1]
    assert out.mean.shape == (3, 1)


LATE = set_to("late", "visual.frame_delay_s", (), (0, 0.1), unit="s")
LOST = set_to("lost", "visual.frame_dropout", ("f*",), (0, 0.9))
SLOW = set_to("slow", "visual.frame_period_s", ("f*",), (0, 0.1), unit="s")


def _shown(view: CameraSchedule, steps: int) -> np.ndarray:
    """Returns (steps, B, F) what worlds see whose clocks run from 0; before that it was 255."""
    frames, seen = view.initial(_worlds(255), XI, KEY), []
    for step in range(steps):
        keys = jax.random.fold_in(KEY, step)
        number = step if step % 2 else jnp.int32(step)  # a number of the host or of the device
        frames, images = view.observe(frames, _worlds(step), XI, number, keys)
        seen.append(_greys(images))
    return np.array(seen)


@pytest.mark.parametrize("every", [1, 2])
def test_a_late_picture_is_the_one_drawn_so_many_steps_before(every: int) -> None:
    """The oracle: what the same cameras without rows delivered that many steps earlier."""
    delays = jnp.array([[0.0], [0.02], [0.045], [0.1]])  # 0, 1, 3 and 5 steps of 0.02 s
    prompt = _shown(_clock(every, 2), 12)
    late = _shown(_clock(every, 2, ParamSpace((LATE,)), delays), 12)
    for world, steps in enumerate((0, 1, 3, 5)):
        np.testing.assert_array_equal(late[steps:, world], prompt[: 12 - steps, world])
        assert (late[:steps, world] == 255).all()


def test_a_lost_picture_repeats_the_one_before_and_does_not_count_in_a_stack() -> None:
    share = jnp.array([[0.0], [0.3], [0.6], [0.9]])
    seen = _shown(_clock(1, 2, ParamSpace((LOST,)), share), 200)
    seen = np.where(seen == 255, -1, seen)
    new = np.diff(seen[:, :, 0], axis=0) > 0
    np.testing.assert_allclose(new.mean(0), 1 - share[:, 0], atol=0.12)  # 3.5 deviations of 200
    moved = seen[1:][new]
    np.testing.assert_array_equal(moved[:, 1], seen[:-1][new][:, 0])  # the one seen before it


def test_the_age_of_a_picture_is_told_by_what_it_shows() -> None:
    """Worlds are as bright as their clock says, so that a picture tells when it was drawn."""
    rows = jnp.array([[0.0, 0.0], [0.045, 0.0], [0.0, 0.6], [0.02, 0.3]])
    view = _clock(1, 1, ParamSpace((LATE, LOST)), rows)
    frames = view.initial(_worlds(0), XI, KEY)
    for step in range(30):
        worlds = _worlds(step, (int(step == 0),) * WORLDS)  # episodes begin
        frames, images = view.observe(frames, worlds, XI, step, jax.random.fold_in(KEY, step))
        age = np.asarray(view.picture_age(frames, worlds))
        if step == 0:  # a late camera's first picture stands in for those before it
            np.testing.assert_array_equal(age == 0, (True, False, True, False))
        if step > 15:  # nobody loses so many in a row here
            np.testing.assert_array_equal(age, step - np.array(_greys(images))[:, 0])
    assert age[0] == 0 and age[1] == 3


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 25), (0.5, 50), (1.0, 100)])
def test_so_many_worlds_keep_their_look_evenly_spread(share: float, count: int) -> None:
    view = replace(_clock(1, 1), look_each_step=True, steady_share=share)
    kept = view.keeps_look(100)
    assert kept.sum() == count
    assert abs(int(kept[:48].sum()) - int(kept[52:].sum())) <= 1, "devices have as many"
    assert replace(view, look_each_step=False).keeps_look(7).all()


def test_a_slower_camera_shows_every_third_picture() -> None:
    seen = _shown(_clock(1, 1, ParamSpace((SLOW,)), jnp.full((WORLDS, 1), 0.055)), 9)
    assert seen[:, 0, 0].tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6]


def test_a_new_episode_sees_no_late_picture_of_the_old_one() -> None:
    view = _clock(1, 1, ParamSpace((LATE,)), jnp.full((WORLDS, 1), 0.1))
    frames = view.initial(_worlds(1), XI, KEY)
    shapes = [(x.shape, x.dtype) for x in jax.tree.leaves(view.frame_shapes(WORLDS))]
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(frames)] == shapes
    frames, _ = view.observe(frames, _worlds(2), XI, 0, KEY)
    seen = []
    for time, done in ((7, (0, 1, 0, 0)), (8, (0,) * 4), (9, (0,) * 4)):
        frames, images = view.observe(frames, _worlds(time, done), XI, time, KEY)
        seen.append([world[0] for world in _greys(images)])
    assert seen == [[1, 7, 1, 1]] * 3


def test_timing_rows_that_cannot_act_are_named() -> None:
    short = set_to("short", "visual.frame_period_s", (), (0, 0.02), unit="s")
    wrong = set_to("wrong", "visual.frame_delay_s", ("frnt",), (0, 0.02), unit="s")
    never = set_to("never", "visual.frame_dropout", (), (0, 1))
    for row, message in (
        (short, "'short': a frame_period_s of at most 0.02 s changes nothing"),
        (wrong, r"'wrong': 'frnt'; did you mean 'front'"),
        (never, "must be below 1"),
    ):
        with pytest.raises(ParamError, match=message):
            _clock(1, 1, ParamSpace((row,)))


@pytest.mark.slow
def test_a_student_of_late_depth_goes_on_bit_by_bit() -> None:
    plain = Cartpole()
    space = ParamSpace((*plain.space.rows, LATE, LOST))
    task = replace(plain, space=space.with_ranges({"late": (0, 0.1), "lost": (0, 0.3)}))
    depth = CameraSignal("fixed", 16, 16, CONTRACT.control_hz, 2, "depth", 0.5, 8.0)
    trainer = student_of(_teacher, seen_by(cast(Task, task), [depth]), CONFIG)
    state = trainer.init(jax.random.key(0))
    (queue,) = state.frames
    kept = 2 + round(0.1 * CONTRACT.control_hz)
    assert queue.pictures.shape == (4, kept, 16, 16, 1) and queue.pictures.dtype == jnp.uint16
    shapes = jax.tree.map(lambda x: (x.shape, str(x.dtype)), trainer.state_shapes().frames)
    assert jax.tree.map(lambda x: (x.shape, str(x.dtype)), state.frames) == shapes
    state, _ = trainer.iterate(state)
    saved = jax.tree.map(jnp.array, state)  # what a checkpoint would hold
    one, metrics = trainer.iterate(state)
    other, _ = trainer.iterate(saved)
    jax.tree.map(np.testing.assert_array_equal, one.frames, other.frames)
    for a, b in zip(*map(jax.tree.leaves, (one.learner, other.learner)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.device_get(metrics)))


def test_rates_that_do_not_fit_are_named() -> None:
    task = _task(CONTRACT.control_hz / 2.5, 1)
    cameras = bind_cameras(task.space, task.mj_model, task.contract)
    with pytest.raises(ContractError, match=r"camera 'fixed': 40\.0 Hz is no whole part"):
        bind_camera_schedule(make_env(task), cameras, task.contract)
    task = _task(CONTRACT.control_hz / 3, 1)
    with pytest.raises(ContractError, match=r"4 worlds cannot take turns of 3 .* of 3, as 6"):
        student_of(_teacher, task, CONFIG)


def test_a_task_is_seen_by_other_cameras_and_else_the_same() -> None:
    task = cast(Task, Cartpole())
    other = seen_by(task, [CameraSignal("fixed", 8, 8, 50.0)])
    assert [c.name for c in other.contract.cameras] == ["fixed"]
    assert replace(other.contract, cameras=task.contract.cameras) == task.contract
    assert other.mj_model is task.mj_model
    assert other.space is task.space
    assert seen_by(task, []) is task


XI, KEY = jnp.zeros((WORLDS, 0)), jax.random.key(0)
