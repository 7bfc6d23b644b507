"""Distillation of a camera student here against rsl_rl's, and for a moment Brax's: one stock.

Pictures, labels and their order are those of benchmarks/picture_stock.py, and getting the next ones
costs next to nothing, so what is timed is the learner: asking the student, storing, gradient steps.
All sides run T steps in B worlds, then the same number of gradient steps, each on B pictures; all
minimize the squared difference of the action, in [-1, 1], from the teacher's, by Adam, gradients
clipped to a norm of 1 here and in rsl_rl; the student acts. All have the same convolutions
(`CHANNELS`, `KERNELS`, `STRIDES`) and the same layers behind them.

Each library keeps what is its own. Ours ends in the expected place of each feature map, as Brax's
can; rsl_rl has no such layer and hands all maps on, 2,048 numbers instead of 64. Ours takes bytes;
rsl_rl and Brax get floats, made beforehand for rsl_rl. Ours and Brax shuffle a rollout's pictures,
rsl_rl takes those of a step together. Our step size falls, theirs stay: rsl_rl has `--peer-rate`,
ours the one that `train student` has. rsl_rl's student learns the action itself, ours its
inverse tanh. Torch gets one thread or as many as there are cores, whichever a trial finds faster.

"whole" is ours with what it has besides, as `train student` uses it: pictures are shifted, the
student is told where the cube is and where the picture shows it, the divergence counts too, and the
teacher acts along.

A student is judged by the mean squared difference of its mean action from the teacher's, on
pictures of the same kind that nobody learned from, from copies made between stretches.
Processor time stands beside duration: other programs on a machine change it less.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from benchmarks.distill_by_brax import Brax
from benchmarks.distill_race import (
    CHANNELS,
    EPOCHS,
    HIDDEN,
    KERNELS,
    NOISE,
    STRIDES,
    UNROLL,
    Ours,
    Race,
    bare,
    stocked,
    whole,
)
from benchmarks.head_to_head import STRETCHES, Side, run_all
from benchmarks.learning_curve import ERROR, LearningCurve
from benchmarks.picture_stock import PictureStock, blind_error, error
from benchmarks.ppo_vs_rsl_rl import TimedStep, faster_threads, shares
from benchmarks.rows import Row, Settings
from mjx_s2r.bridge.registry import require
from mjx_s2r.learn.networks.augment import to_float

CASE = "distill_vs_rsl_rl"
TRIAL = 2  # iterations
HELD_OUT, STOCK = 2048, 16384  # pictures
NEEDED = {"torch": "torch", "rsl_rl": "rsl-rl-lib", "brax": "brax"}


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures of each seed as soon as it is done, then those of all."""
    if why := _unfit():
        print(f"{CASE} is left out: {why}", file=sys.stderr)
        return
    race = stocked(settings, STOCK, HELD_OUT)
    yield Row(CASE, "blind_error", blind_error(race.stock, race.held_out), "1")
    theirs = RslRl(race, settings.peer_rate)
    yield Row(CASE, "rsl_rl.threads", theirs.threads, "1")
    sides: dict[str, Side] = {
        "ours": Ours(race, bare(race)),
        "rsl_rl": theirs,
        "whole": Ours(race, whole(race)),
    }
    yield from run_all(CASE, sides, settings.seeds, ERROR, settings.peer_error)
    yield from Brax(race).train(0).rows(CASE, "brax.seed0", settings.peer_error)


def _unfit() -> str:
    """Returns why the case cannot run here; empty if it can."""
    lacking = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed; pip install 'mjx_s2r[rsl_rl]'"
    return ""


def recipe(joints: int, rate: float) -> dict[str, Any]:
    """Returns the settings of rsl_rl's runner (5.5) that come nearest to ours.

    Its teacher is a network too: one that returns what it is given.
    """
    return {
        "num_steps_per_env": UNROLL,
        "check_for_nan": False,
        "obs_groups": {"student": ["state", "picture"], "teacher": ["teacher"]},
        "student": {
            "class_name": "CNNModel",
            "hidden_dims": list(HIDDEN),
            "activation": "swish",
            "obs_normalization": True,
            "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": NOISE},
            "cnn_cfg": {
                "output_channels": list(CHANNELS),
                "kernel_size": list(KERNELS),
                "stride": list(STRIDES),
                "padding": "zeros",
                "activation": "relu",
            },
        },
        "teacher": {"class_name": "MLPModel", "hidden_dims": [joints], "activation": "identity"},
        "algorithm": {
            "class_name": "Distillation",
            "num_learning_epochs": EPOCHS,
            "gradient_length": 1,
            "learning_rate": rate,
            "max_grad_norm": 1.0,
            "loss_type": "mse",
        },
    }


@dataclass(frozen=True, eq=False)
class RslRl:
    """rsl_rl's side: its runner and its algorithm, untouched."""

    race: Race
    rate: float

    def train(self, seed: int) -> LearningCurve:
        """Trains once and judges every stretch."""
        require("torch").set_num_threads(self.threads)
        start = time.perf_counter()
        runner = self.runner(seed)
        begun = time.perf_counter() - start
        env, alg = runner.env, runner.alg
        env.step, alg.update = TimedStep(env.step), TimedStep(alg.update)
        marks, kept = [], []
        for _ in range(STRETCHES):
            before = _now(env, alg)
            runner.learn(self.race.iterations)
            marks.append(np.subtract(_now(env, alg), before))
            kept.append(deepcopy(alg.get_policy()).eval())
        seconds = np.array(marks)
        return LearningCurve(
            begun,
            tuple(seconds[:, 0].tolist()),
            tuple(map(self._error, kept)),
            self.race.amount,
            shares(seconds[:, :3]),
            ERROR,
            tuple(seconds[:, 3].tolist()),
        )

    @cached_property
    def threads(self) -> int:
        """How many threads make torch faster here: one, or one per core."""
        return faster_threads(self.runner(0), TRIAL)

    def runner(self, seed: int) -> Any:
        """Returns rsl_rl's runner with its networks and worlds."""
        torch = require("torch")
        torch.manual_seed(seed)
        worlds = TorchStock(self._seen, self.race.worlds)
        make = require("rsl_rl.runners").DistillationRunner
        joints = worlds.num_actions
        with redirect_stdout(None):  # it prints its networks
            runner = make(worlds, recipe(joints, self.rate), device=worlds.device)
        same, none = torch.eye(joints), torch.zeros(joints)
        weights = {"mlp.0.weight": same, "mlp.0.bias": none}
        weights |= {"mlp.2.weight": same, "mlp.2.bias": none}
        runner.alg.load({"teacher_state_dict": weights}, {"teacher": True}, True)
        return runner

    @cached_property
    def _seen(self) -> dict[str, Any]:
        """The stock as torch sees it."""
        return tensors(self.race.stock)

    def _error(self, policy: Any) -> float:
        """Returns the error of a student."""
        seen = tensors(self.race.held_out)
        with require("torch").inference_mode():
            actions = policy(seen).clamp(-1.0, 1.0).cpu().numpy()
        return error(actions, self.race.held_out)


def _now(env: Any, alg: Any) -> tuple[float, ...]:
    """Returns the time, that in the environment, that in updates, and the processor time, s."""
    return time.perf_counter(), env.step.seconds, alg.update.seconds, time.process_time()


def tensors(stock: PictureStock) -> dict[str, Any]:
    """Returns readings (N, P), pictures (N, 3, H, W) in [-0.5, 0.5] and the teacher's actions."""
    floats = jax.jit(lambda x: to_float(x).transpose(0, 3, 1, 2))
    given = {
        "state": stock.readings,
        "picture": floats(stock.pictures),
        "teacher": stock.actions,
    }
    lend = require("torch").from_dlpack
    return {name: lend(jax.block_until_ready(x)) for name, x in given.items()}


class TorchStock:
    """B worlds that see the stock, with the names that rsl_rl's VecEnv gives to things."""

    def __init__(self, seen: dict[str, Any], num_envs: int) -> None:
        """Takes what there is to see, {name: (N, ...)}."""
        self.num_envs, self.num_actions = num_envs, seen["teacher"].shape[1]
        self.max_episode_length = 1_000_000_000
        self.cfg: dict[str, Any] = {}
        self.device = str(seen["state"].device)
        self._seen = seen
        self._first = 0
        nothing = require("torch").zeros(num_envs, device=self.device)
        self._rest = (nothing, nothing, {"time_outs": nothing})

    def get_observations(self) -> Any:
        """Returns what is seen now, a TensorDict of (B, ...); nothing is copied."""
        now = slice(self._first, self._first + self.num_envs)
        seen = {name: x[now] for name, x in self._seen.items()}
        return require("tensordict").TensorDict(seen, batch_size=[self.num_envs])

    def step(self, actions: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Returns the next pictures, whatever the ``actions``; reward (B,), done (B,), extras."""
        del actions
        self._first = (self._first + self.num_envs) % len(self._seen["state"])
        return self.get_observations(), *self._rest
