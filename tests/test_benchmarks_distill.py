"""The race of distillations: the stock, that all sides do the same, and the other libraries."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import distill_by_brax, distill_vs_rsl_rl
from benchmarks.distill_by_brax import Brax, BraxStock
from benchmarks.distill_race import CHANNELS, KERNELS, STRIDES, Ours, Race, bare, whole
from benchmarks.distill_vs_rsl_rl import RslRl, TorchStock, recipe, tensors
from benchmarks.head_to_head import STRETCHES
from benchmarks.learning_curve import ERROR, LearningCurve, verdicts
from benchmarks.picture_stock import (
    PictureStock,
    StockEnv,
    blind_error,
    draw_stock,
    error,
    stock_cameras,
)
from benchmarks.rows import Settings
from mjx_s2r.learn.distill.losses import imitation_loss
from mjx_s2r.learn.distill.teachers import TeacherAnswer
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import ImageEncoder, StudentOutput
from mjx_s2r.sim.interface import State

COUNT, WORLDS, JOINTS = 12, 4, 3


def a_stock(count: int = COUNT, seed: int = 0) -> PictureStock:
    """Returns small pictures whose brightness is the teacher's action."""
    rng = np.random.default_rng(seed)
    teacher = rng.uniform(-2, 2, (count, JOINTS)).astype(np.float32)
    light = np.round(127.5 * (1 + np.tanh(teacher))).astype(np.uint8)
    return PictureStock(
        pictures=jnp.broadcast_to(light[:, None, None], (count, 8, 8, JOINTS)),
        readings=jnp.asarray(rng.normal(size=(count, 6)), jnp.float32),
        teacher=jnp.asarray(teacher),
        label=jnp.asarray(rng.normal(size=(count, 3)), jnp.float32),
        places=jnp.asarray(rng.uniform(-1, 1, (count, 2, 2)), jnp.float32),
    )


def a_race(count: int = COUNT) -> Race:
    """Returns a race over a small stock."""
    return Race(a_stock(count), a_stock(40, seed=1), WORLDS, 1)


def the_worlds(env: StockEnv) -> State:
    """Returns worlds at their first pictures."""
    keys = jax.random.split(jax.random.key(0), env.num_envs)
    return env.spread(jax.vmap(lambda key: env.reset(key))(keys))


def test_worlds_see_the_stock_from_its_beginning_and_again() -> None:
    stock = a_stock()
    env, cameras = StockEnv(stock, WORLDS, labelled=True), stock_cameras(stock)
    worlds = the_worlds(env)
    for step in range(5):
        now = (np.arange(WORLDS) + WORLDS * step) % COUNT
        (pictures,) = cameras.pictures(worlds, jnp.zeros((WORLDS, 0)), jax.random.key(step))
        np.testing.assert_array_equal(pictures, np.asarray(stock.pictures)[now])
        np.testing.assert_array_equal(worlds.obs["state"], np.asarray(stock.readings)[now])
        np.testing.assert_array_equal(worlds.obs["privileged"], np.asarray(stock.teacher)[now])
        label = jax.vmap(env.label)(worlds)
        np.testing.assert_array_equal(label, np.asarray(stock.label)[now])
        age = jnp.zeros(WORLDS, int)
        (places,) = cameras.places(worlds, jnp.zeros((WORLDS, 0)), age)
        np.testing.assert_array_equal(places, np.asarray(stock.places)[now])
        worlds = jax.vmap(env.step)(worlds, jnp.ones((WORLDS, JOINTS)))
    assert jax.vmap(StockEnv(stock, WORLDS).label)(worlds).shape == (WORLDS, 0)


def test_the_error_is_of_actions_and_readings_may_not_tell() -> None:
    stock, held_out = a_stock(400), a_stock(400, seed=1)
    actions = np.tanh(np.asarray(stock.teacher))
    assert error(actions + 0.1, stock) == pytest.approx(0.01, rel=1e-4)
    assert blind_error(stock, held_out) == pytest.approx(actions.var(0).mean(), rel=0.1)
    told = stock.replace(readings=stock.actions @ jnp.ones((JOINTS, 1)) * jnp.eye(JOINTS)[0] + 5)
    assert blind_error(told, told) < 0.8 * actions.var(0).mean()
    all_told = stock.replace(readings=2 * stock.actions - 1)
    assert blind_error(all_told, all_told) == pytest.approx(0.0, abs=1e-6)


def test_our_loss_is_the_error_that_is_judged() -> None:
    race = a_race()
    stock = race.stock
    mean = jnp.asarray(np.random.default_rng(2).normal(size=(COUNT, JOINTS)), jnp.float32)
    none = jnp.zeros((COUNT, 0))
    spread = jnp.full((COUNT, JOINTS), -1.0)
    out = StudentOutput(none, Gaussian(mean, spread), none, jnp.zeros(COUNT), none)
    teacher = TeacherAnswer(Gaussian(stock.teacher, spread), jnp.zeros(COUNT))
    loss, _ = imitation_loss(bare(race), out, teacher, none)
    assert float(loss) == pytest.approx(error(jnp.tanh(mean), stock), rel=1e-5)
    both = bare(race), whole(race)
    assert len({(c.num_minibatches, c.num_epochs, c.num_envs, c.num_steps) for c in both}) == 1


def test_all_sides_have_as_many_weights_in_each_convolution() -> None:
    start = jax.eval_shape(
        ImageEncoder(CHANNELS[-1]).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    layers = start["params"].values()
    inputs = (3, *CHANNELS[:-1])
    wanted = [k * k * i * o for k, i, o in zip(KERNELS, inputs, CHANNELS, strict=True)]
    assert [math.prod(layer["kernel"].shape) for layer in layers] == wanted
    assert math.prod(STRIDES) == 8  # pixels to a place of the maps


FALLING = LearningCurve(
    0.0, (1.0,) * 4, (0.5, 0.2, 0.1, 0.12), 10, measure=ERROR, cpu_seconds=(9.0, 9.0, 2.0, 2.0)
)
SLOWER = dataclasses.replace(
    FALLING, seconds=(2.0,) * 4, scores=(0.5, 0.3, 0.2, 0.1), cpu_seconds=(9.0, 1.0, 1.0, 1.0)
)


def test_an_error_is_reached_from_above() -> None:
    assert FALLING.time_to(0.2, compiling=False) == 2.0
    assert "10 pictures/s, compile 0 s, error 0.1200 (best 0.1000)" in FALLING.note()
    got = {r.metric: r.value for r in FALLING.rows("a", "x", 0.2)}
    assert got["x.time_to_error"] == 2.0 and got["curve.x.40.error"] == 0.12
    assert got["x.pictures_per_s"] == 10.0
    assert got["x.pictures_per_cpu_s"] == 5.0  # compiling is not counted


def test_each_of_several_sides_has_its_own_ratios() -> None:
    sides = {"ours": [FALLING, FALLING], "a": [SLOWER, SLOWER], "b": [FALLING, SLOWER]}
    got = {row.metric: row.value for row in verdicts("c", sides, 0.2)}
    assert got["a.speed_ratio"] == 2.0 and got["b.speed_ratio"] == 1.5
    assert got["a.time_to_error_ratio"] == 2.0 / 6.0
    assert got["a.cpu_speed_ratio"] == 0.5 and got["a.pictures_per_cpu_s"] == 10.0
    assert got["b.final_error"] == pytest.approx(0.11) and got["b.worst_final_error"] == 0.12


@pytest.mark.parametrize(
    ("lacking", "said"),
    [(("torch", "rsl_rl"), "torch, rsl-rl-lib"), (("brax",), "brax")],
)
def test_without_the_other_libraries_the_case_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lacking: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(distill_vs_rsl_rl, "find_spec", lambda name: None if name in lacking else 1)
    assert list(distill_vs_rsl_rl.run(Settings())) == []
    assert f"left out: {said} not installed; pip install 'mjx_s2r[rsl_rl]'" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_pictures_are_drawn_with_what_the_teacher_says() -> None:
    stock = draw_stock(8, key=jax.random.key(0))
    assert stock.pictures.shape == (256, 64, 64, 3) and stock.pictures.dtype == jnp.uint8
    assert float(np.std(np.asarray(stock.pictures, float), axis=(1, 2)).min()) > 1.0
    assert float(jnp.abs(stock.teacher).max()) <= 2.0
    radius = jnp.linalg.norm(stock.label[:, :2] - jnp.array((0.0388, 0.0)), axis=1)
    assert float(radius.min()) > 0.149 and float(radius.max()) < 0.271
    assert blind_error(stock, stock) > 0.3 * float(np.var(stock.actions, 0).mean())


def test_ours_can_begin() -> None:
    """All that a training asks of an environment is there; the slow tests and the race train."""
    race = a_race(48)
    for config in (bare(race), whole(race)):
        Ours(race, config).trainer().state_shapes()


@pytest.mark.slow
def test_ours_learns_from_the_stock() -> None:
    race = a_race(48)
    for config in (bare(race), whole(race)):
        course = Ours(race, config).train(0)
        assert course.amount == 4 * WORLDS and len(course.seconds) == STRETCHES
        assert course.scores[-1] < 0.6 * course.scores[0]


@pytest.mark.filterwarnings("ignore")
def test_rsl_rl_sees_the_same_pictures_in_the_same_order() -> None:
    pytest.importorskip("rsl_rl")
    stock = a_stock()
    worlds, seen = TorchStock(tensors(stock), WORLDS), None
    for step in range(5):
        now = (np.arange(WORLDS) + WORLDS * step) % COUNT
        seen = worlds.get_observations() if seen is None else seen
        pictures = np.moveaxis(seen["picture"].numpy(), 1, 3)
        np.testing.assert_allclose(255 * (pictures + 0.5), np.asarray(stock.pictures)[now], 1e-4)
        np.testing.assert_array_equal(seen["state"].numpy(), np.asarray(stock.readings)[now])
        seen, reward, done, extras = worlds.step(None)
        assert not reward.any() and not done.any() and not extras["time_outs"].any()


@pytest.mark.filterwarnings("ignore")
def test_rsl_rl_takes_the_recipe_and_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rsl_rl")
    race = a_race(48)
    monkeypatch.setattr(RslRl, "threads", 1)
    side = RslRl(race, 6e-3)
    runner = side.runner(0)
    asked, learner = recipe(JOINTS, 6e-3)["algorithm"], runner.alg
    assert learner.num_learning_epochs == asked["num_learning_epochs"]
    assert learner.optimizer.param_groups[0]["lr"] == 6e-3
    assert learner.gradient_length == 1 and learner.max_grad_norm == 1.0
    obs = runner.env.get_observations()
    np.testing.assert_array_equal(learner.teacher(obs).detach().numpy(), obs["teacher"].numpy())
    convolutions = [x for x in learner.student.cnns["picture"] if hasattr(x, "stride")]
    assert [(x.out_channels, x.kernel_size[0], x.stride[0]) for x in convolutions] == list(
        zip(CHANNELS, KERNELS, STRIDES, strict=True)
    )
    course = side.train(0)
    assert course.amount == 4 * WORLDS and len(course.seconds) == STRETCHES
    assert course.scores[-1] < 0.6 * course.scores[0]
    assert sum(course.shares.values()) == pytest.approx(1.0)


@pytest.mark.filterwarnings("ignore")
def test_brax_sees_the_same_pictures_in_the_same_order() -> None:
    pytest.importorskip("brax")
    stock = a_stock()
    worlds = BraxStock(stock, WORLDS)
    state: Any = worlds.reset(jax.random.split(jax.random.key(0), WORLDS))
    for step in range(5):
        now = (np.arange(WORLDS) + WORLDS * step) % COUNT
        pictures = 255 * (state.obs[distill_by_brax.VIEW] + 0.5)
        np.testing.assert_allclose(pictures, np.asarray(stock.pictures)[now], 1e-4)
        np.testing.assert_array_equal(state.obs["state"], np.asarray(stock.readings)[now])
        np.testing.assert_array_equal(state.obs["teacher"], np.asarray(stock.teacher)[now])
        state = worlds.step(state, jnp.zeros((WORLDS, JOINTS)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_brax_learns_from_the_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("brax")
    monkeypatch.setattr(distill_by_brax, "STRETCHES", 20)
    course = Brax(a_race(48)).train(0)
    assert course.amount == 4 * WORLDS and len(course.seconds) == 20
    assert course.scores[-1] < 0.6 * course.scores[0]
