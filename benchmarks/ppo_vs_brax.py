"""PPO here against Brax's PPO: one environment, networks, batches, budget and evaluator for both.

MuJoCo Playground's CartpoleSwingup on MJX-JAX, without randomization. Each library keeps what is
its own: Brax resets to a world's first state and holds its step size; here finished worlds get
fresh ones and the step size follows the KL. Brax's standard deviation depends on the observation.
Both run under the compiler switches of mjx_s2r.devices, without which MJX is slower on a CPU.

A training is cut into stretches of equal work. The first two contain compiling; without it they
count as much as the median of the others. Policies are judged afterwards, from copies made between
stretches, by their mean action in 64 worlds over whole episodes, so judging costs neither side. Of
a pair, the side that goes first changes with the seed.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.course import Course, verdicts
from benchmarks.rows import Row, Settings
from mjx_s2r.bridge.foreign import Foreign
from mjx_s2r.bridge.peers import playground, require
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.ppo import Ppo
from mjx_s2r.learn.settings import PpoConfig

CASE, TASK = "ppo_vs_brax", "CartpoleSwingup"
UNROLL, STRETCHES, JUDGED = 30, 20, 64
HIDDEN = (64, 64)
Judge = Callable[[Any], jax.Array]


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures of each seed as soon as it is done, then those of all."""
    if why := _unfit():
        print(f"{CASE} is left out: {why}", file=sys.stderr)
        return
    env = playground(TASK)
    sides: dict[str, _Ours | _Brax] = {
        "ours": _Ours(env, settings),
        "brax": _Brax(env, settings),
    }
    courses: dict[str, list[Course]] = {name: [] for name in sides}
    for seed in range(settings.seeds):
        for name in sorted(sides, reverse=seed % 2 == 0):
            course = sides[name].train(seed)
            courses[name].append(course)
            print(f"{CASE} {name} seed {seed}: {course.note()}", file=sys.stderr, flush=True)
            yield from course.rows(CASE, f"{name}.seed{seed}", settings.peer_return)
    yield Row(CASE, "return_asked", settings.peer_return, "1")
    yield from verdicts(CASE, courses["ours"], courses["brax"], "brax", settings.peer_return)


def _unfit() -> str:
    """Returns why the case cannot run here; empty if it can."""
    for module, package in (("brax", "brax"), ("mujoco_playground", "playground")):
        if find_spec(module) is None:
            return f"{package} is not installed; pip install 'mjx_s2r[peers]'"
    if jax.__version_info__ >= (0, 10):
        return f"brax 0.14.2 trains on jax below 0.10, and this is {jax.__version__}"
    return ""


def shared(settings: Settings) -> PpoConfig:
    """Returns the settings that both sides train with."""
    return PpoConfig(
        worlds=settings.worlds,
        unroll=UNROLL,
        minibatches=4,
        epochs=4,
        discount=0.995,
        trace=0.95,
        clip=0.2,
        value_weight=0.5,
        entropy_weight=0.01,
        learning_rate=1e-3,
        max_grad_norm=1.0,
        reward_scale=1.0,
        actor_hidden=HIDDEN,
        critic_hidden=HIDDEN,
        actor_obs="state",
        critic_obs="state",
    )


def iterations(settings: Settings) -> int:
    """Returns the iterations of one stretch: the budget split evenly, rounded up."""
    return -(-settings.peer_steps // (settings.worlds * UNROLL * STRETCHES))


def judge(env: Foreign, act: Callable[[Any, dict[str, jax.Array]], jax.Array]) -> Judge:
    """Returns the compiled function parameters -> () mean return over whole episodes.

    ``act`` is (parameters, observations of B worlds) -> actions (B, J) in [-1, 1].
    """

    @jax.jit
    def go(params: Any) -> jax.Array:
        worlds = jax.vmap(env.reset)(jax.random.split(jax.random.key(1_000_003), JUDGED))
        return _whole(env, partial(act, params), worlds)

    return go


def _whole(env: Foreign, act: Callable[[dict[str, jax.Array]], jax.Array], worlds: Any) -> Any:
    """Returns () the mean return of worlds until each one's first end."""

    def one(carry: tuple, _: None) -> tuple[tuple, None]:
        worlds, total, alive = carry
        worlds = jax.vmap(env.step)(worlds, act(worlds.obs))
        return (worlds, total + alive * worlds.reward, alive * (1 - worlds.done)), None

    carry = (worlds, jnp.zeros(JUDGED), jnp.ones(JUDGED))
    return jax.lax.scan(one, carry, length=env.episode_steps)[0][1].mean()


def _copied(tree: Any) -> Any:
    """Returns a copy on the host that no later step can overwrite."""
    return jax.tree.map(lambda x: np.array(x, copy=True), tree)


@dataclass(frozen=True, eq=False)
class _Ours:
    """This project's side."""

    env: Foreign
    settings: Settings

    def train(self, seed: int) -> Course:
        """Trains once, compiling included, and judges every stretch."""
        ppo, many = self._learner(), iterations(self.settings)
        start = time.perf_counter()
        state = jax.block_until_ready(ppo.init(jax.random.key(seed)))
        begun = time.perf_counter() - start
        seconds, kept = [], []
        for _ in range(STRETCHES):
            start = time.perf_counter()
            for _ in range(many):
                state, _ = ppo.iterate(state)
            jax.block_until_ready(state)
            seconds.append(time.perf_counter() - start)
            kept.append(_copied((state.actor, state.actor_norm)))
        return Course(begun, tuple(seconds), self._judged(kept), many * ppo.config.worlds * UNROLL)

    def _learner(self) -> Ppo:
        """Returns a learner that has compiled nothing."""
        return Ppo(self.env, uniform(self.env.space), shared(self.settings))

    def _judged(self, kept: list[Any]) -> tuple[float, ...]:
        """Returns the return of each kept policy."""
        ppo = self._learner()
        blank = jax.eval_shape(ppo.init, jax.random.key(0))

        def act(params: Any, obs: dict[str, jax.Array]) -> jax.Array:
            state = replace(blank, actor=params[0], actor_norm=params[1])
            return jnp.tanh(ppo.answer(state, obs).mean)

        score = judge(self.env, act)
        return tuple(float(score(params)) for params in kept)


@dataclass(frozen=True, eq=False)
class _Brax:
    """Brax's side, on the same environment in Playground's own wrappers."""

    env: Foreign
    settings: Settings

    def train(self, seed: int) -> Course:
        """Trains once, compiling included, and judges every stretch."""
        config, many = shared(self.settings), iterations(self.settings)
        marks: list[float] = []
        kept: list[Any] = []

        def between(step: int, maker: Any, params: Any) -> None:
            marks.append(time.perf_counter())
            kept.append(_copied(params))
            marks.append(time.perf_counter())

        start = time.perf_counter()
        require("brax.training.agents.ppo.train").train(
            environment=self.env.env,
            wrap_env_fn=require("mujoco_playground").wrapper.wrap_for_brax_training,
            num_timesteps=STRETCHES * many * config.worlds * UNROLL,
            num_evals=STRETCHES + 1,
            run_evals=False,
            policy_params_fn=between,
            episode_length=self.env.episode_steps,
            num_envs=config.worlds,
            unroll_length=UNROLL,
            batch_size=config.worlds // config.minibatches,
            num_minibatches=config.minibatches,
            num_updates_per_batch=config.epochs,
            discounting=config.discount,
            gae_lambda=config.trace,
            clipping_epsilon=config.clip,
            vf_loss_coefficient=config.value_weight,
            entropy_cost=config.entropy_weight,
            learning_rate=config.learning_rate,
            max_grad_norm=config.max_grad_norm,
            reward_scaling=config.reward_scale,
            normalize_observations=True,
            network_factory=_networks,
            seed=seed,
            max_devices_per_host=1,
        )
        seconds = tuple(np.subtract(marks[2::2], marks[1:-1:2]).tolist())
        judged = self._judged(kept[1:])
        return Course(marks[0] - start, seconds, judged, many * config.worlds * UNROLL)

    def _judged(self, kept: list[Any]) -> tuple[float, ...]:
        """Returns the return of each kept policy."""
        normalize = require("brax.training.acme.running_statistics").normalize
        size = self.env.shape.obs.shape
        networks = _networks(size, self.env.action_size, preprocess_observations_fn=normalize)
        make = require("brax.training.agents.ppo.networks").make_inference_fn(networks)

        def act(params: Any, obs: dict[str, jax.Array]) -> jax.Array:
            return make(params, deterministic=True)(obs["state"], jax.random.PRNGKey(0))[0]

        score = judge(self.env, act)
        return tuple(float(score(params)) for params in kept)


def _networks(*args: Any, **options: Any) -> Any:
    """Returns Brax's networks in the sizes of ours; both have swish between layers."""
    make = require("brax.training.agents.ppo.networks").make_ppo_networks
    sizes = {"policy_hidden_layer_sizes": HIDDEN, "value_hidden_layer_sizes": HIDDEN}
    return make(*args, **sizes, **options)
