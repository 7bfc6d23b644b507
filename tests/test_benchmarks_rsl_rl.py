"""The comparison with rsl_rl: what it needs of torch is tested only where torch is installed."""

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ppo_vs_rsl_rl, torch_worlds
from benchmarks.head_to_head import run_both, shared
from benchmarks.learning_curve import LearningCurve, verdicts
from benchmarks.ppo_vs_rsl_rl import Copy, TimedStep, agree, answer, copy, recipe, shares
from benchmarks.rows import BenchmarkError, Settings
from benchmarks.timing import Timing
from benchmarks.torch_worlds import TorchWorlds
from mjx_s2r.learn.ppo.config import PPOConfig
from tests.learn.probes import Probe

LENGTH = 5
TINY = Settings(num_envs=4, seeds=1, peer_steps=1)  # one iteration per stretch


def reward(step: jax.Array, action: jax.Array) -> jax.Array:
    """Pays most for 0.5."""
    return 1.0 + step - (action[0] - 0.5) ** 2


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the entries of nested dicts as dotted names."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize(
    ("ours", "value", "theirs"),
    [
        ("num_steps", 7, {"num_steps_per_env": 7}),
        ("num_minibatches", 8, {"algorithm.num_mini_batches": 8}),
        ("num_epochs", 3, {"algorithm.num_learning_epochs": 3}),
        ("gamma", 0.9, {"algorithm.gamma": 0.9}),
        ("gae_lambda", 0.8, {"algorithm.lam": 0.8}),
        ("clip_epsilon", 0.3, {"algorithm.clip_param": 0.3}),
        ("value_coef", 2.0, {"algorithm.value_loss_coef": 1.0}),  # ours has a half in front
        ("entropy_coef", 0.5, {"algorithm.entropy_coef": 0.5}),
        ("learning_rate", 0.1, {"algorithm.learning_rate": 0.1}),
        ("target_kl", 0.02, {"algorithm.desired_kl": 0.02}),
        ("target_kl", 0.0, {"algorithm.desired_kl": 0.0, "algorithm.schedule": "fixed"}),
        ("value_clip", 0.2, {"algorithm.use_clipped_value_loss": True}),
        ("max_grad_norm", 3.0, {"algorithm.max_grad_norm": 3.0}),
        ("actor_hidden", (3, 4), {"actor.hidden_dims": [3, 4]}),
        ("critic_hidden", (5,), {"critic.hidden_dims": [5]}),
        ("actor_obs", "privileged", {"obs_groups.actor": ["privileged"]}),
        ("critic_obs", "privileged", {"obs_groups.critic": ["privileged"]}),
    ],
)
def test_a_setting_changes_what_means_the_same_in_rsl_rl(
    ours: str, value: Any, theirs: dict[str, Any]
) -> None:
    config = shared(Settings())
    before = dict(flat(recipe(config)))
    after = dict(flat(recipe(dataclasses.replace(config, **{ours: value}))))
    assert before.keys() == after.keys()
    assert {name: x for name, x in after.items() if x != before[name]} == theirs


def test_the_time_is_split_between_environment_networks_and_gradient_steps() -> None:
    compiling = [[100.0, 90.0, 5.0]] * 2
    got = shares(np.array([*compiling, [4.0, 1.0, 2.0], [6.0, 2.0, 3.0]]))
    assert got == pytest.approx({"env": 0.3, "policy": 0.2, "update": 0.5})


def test_a_watched_function_remembers_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([1.0, 3.0, 10.0, 15.0])
    monkeypatch.setattr(ppo_vs_rsl_rl.time, "perf_counter", lambda: next(now))
    watched = TimedStep(lambda a, b: a + b)
    assert (watched(1, 2), watched(3, 4)) == (3, 7)
    assert watched.seconds == 2.0 + 5.0


def test_shares_are_told_of_each_training_and_of_all() -> None:
    course = LearningCurve(1.0, (1.0,) * 3, (5.0,) * 3, 10, {"env": 0.25})
    other = dataclasses.replace(course, shares={"env": 0.75})
    plain = dataclasses.replace(course, shares={})
    told = {row.metric: row.value for row in course.rows("a", "x", 1.0)}
    assert told["x.env_share"] == 0.25
    both = {"ours": [plain] * 2, "x": [course, other]}
    all_of_them = {row.metric: row.value for row in verdicts("a", both, 1.0)}
    assert all_of_them["x.env_share"] == 0.5
    assert "ours.env_share" not in all_of_them


@dataclasses.dataclass
class Racer:
    """A side whose stretches take ``seconds``; it notes when it was asked."""

    name: str
    seconds: float
    order: list[tuple[str, int]]

    def train(self, seed: int) -> LearningCurve:
        """Returns a course of three stretches."""
        self.order.append((self.name, seed))
        return LearningCurve(0.0, (self.seconds,) * 3, (0.0, 9.0, 9.0), 100)


def test_the_sides_take_turns_at_going_first(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[tuple[str, int]] = []
    sides = Racer("ours", 1.0, order), Racer("zoo", 4.0, order)
    rows = run_both("c", *sides, "zoo", Settings(seeds=2, peer_return=5.0))
    got = {row.metric: row.value for row in rows}
    assert order == [("ours", 0), ("zoo", 0), ("zoo", 1), ("ours", 1)]
    assert got["speed_ratio"] == 4.0 and got["time_to_return_ratio"] == 0.25
    assert got["zoo.seed1.final_return"] == 9.0
    assert "c zoo seed 1: 25 steps/s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lacking", "said"),
    [(("torch", "rsl_rl"), "torch, rsl-rl-lib"), (("mujoco_playground",), "playground")],
)
def test_without_the_other_library_the_case_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lacking: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(ppo_vs_rsl_rl, "find_spec", lambda name: None if name in lacking else 1)
    assert list(ppo_vs_rsl_rl.run(Settings())) == []
    assert f"left out: {said} not installed; pip install 'mjx_s2r[rsl_rl]'" in (
        capsys.readouterr().err
    )


def test_the_copied_actor_is_a_chain_of_layers_with_swish_between() -> None:
    rng = np.random.default_rng(0)
    actor = Copy(
        mean=rng.normal(size=3),
        std=rng.uniform(1, 2, 3),
        layers=tuple((rng.normal(size=(n, m)), rng.normal(size=n)) for m, n in ((3, 4), (4, 2))),
    )
    obs = rng.normal(size=(6, 3))
    (w, b), (v, c) = actor.layers
    hidden = ((obs - actor.mean) / actor.std) @ w.T + b
    wanted = (hidden / (1 + np.exp(-hidden))) @ v.T + c
    np.testing.assert_allclose(answer(actor, jnp.asarray(obs)), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("terminates", [False, True])
def test_worlds_step_tell_and_renew(monkeypatch: pytest.MonkeyPatch, terminates: bool) -> None:
    monkeypatch.setattr(torch_worlds, "_torch", lambda x: x)
    plain = SimpleNamespace(TensorDict=lambda seen, batch_size: seen)
    monkeypatch.setattr(torch_worlds, "require", lambda name: plain)
    config = PPOConfig(num_envs=8, num_steps=3, reward_scale=2.0, actor_obs="state")
    worlds = TorchWorlds(Probe(LENGTH, reward, terminates), config, key=jax.random.key(0))
    clock = np.argmax(worlds.step(np.zeros((8, 1), np.float32))[0]["state"], -1)
    assert len(set(clock.tolist())) > 1  # they do not all end at once
    for i in range(2 * LENGTH):
        action = np.full((8, 1), 0.1 * i, np.float32)
        obs, paid, done, extras = worlds.step(action)
        np.testing.assert_allclose(paid, 2 * (1 + clock - (0.1 * i - 0.5) ** 2), rtol=1e-5)
        over = clock + 1 == LENGTH
        np.testing.assert_array_equal(done, over)
        np.testing.assert_array_equal(extras["time_outs"], over & (not terminates))
        clock = np.where(over, 0, clock + 1)
        np.testing.assert_array_equal(np.argmax(obs["state"], -1), clock)


@pytest.fixture(scope="module")
def side() -> Any:
    """rsl_rl's side on a probe."""
    pytest.importorskip("rsl_rl")
    return ppo_vs_rsl_rl._RslRl(Probe(LENGTH, reward), TINY)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_copied_on_the_way_to_torch_and_back() -> None:
    pytest.importorskip("torch")
    x = jnp.arange(64.0)
    there = torch_worlds._torch(x)
    assert there.data_ptr() == x.unsafe_buffer_pointer()
    assert jnp.from_dlpack(there).unsafe_buffer_pointer() == x.unsafe_buffer_pointer()


@pytest.mark.filterwarnings("ignore")
def test_rsl_rl_takes_the_recipe_and_its_actor_is_copied(side: Any) -> None:
    runner, config = side._runner(0), shared(TINY)
    learner = runner.alg
    taken = (learner.gamma, learner.lam, learner.desired_kl, learner.num_mini_batches)
    assert taken == (config.gamma, config.gae_lambda, config.target_kl, config.num_minibatches)
    assert learner.value_loss_coef == 0.25 and not learner.use_clipped_value_loss
    runner.learn(2)  # so that the moments of what it sees are not 0 and 1
    actor, policy = copy(learner.get_policy()), learner.get_policy()
    assert actor.mean.any() and len(actor.layers) == 3
    agree(actor, policy, runner.env.get_observations())
    with pytest.raises(BenchmarkError, match="answers otherwise than its copy"):
        agree(actor.replace(std=2 * actor.std), policy, runner.env.get_observations())


@pytest.mark.filterwarnings("ignore")
def test_rsl_rl_learns_through_the_worlds(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(calls: dict[str, Any], repeat: int) -> dict[str, Timing]:
        calls["1"]()
        return {threads: Timing(0.0, (float(threads),) * repeat) for threads in calls}

    monkeypatch.setattr(ppo_vs_rsl_rl, "measure", timed)
    assert side.threads == 1  # the quicker
    course = side.train(0)
    assert course.amount == 4 * 30 and len(course.seconds) == 20
    assert sum(course.shares.values()) == pytest.approx(1.0)
    assert min(course.shares.values()) > 0
    best = LENGTH + sum(range(LENGTH))
    assert course.scores[0] < course.scores[-1] == pytest.approx(best, abs=0.1)
