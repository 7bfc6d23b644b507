"""The two learners of this project, PPO and REPPO, on one task with one budget and evaluator.

What is measured, and how, says benchmarks/contest.py. Each has the settings that suit it: PPO those
of the comparisons with other libraries, REPPO the best that were found for a cartpole (see
mjx_s2r.learn.reppo_settings).
"""

import sys
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.contest import TASK, UNROLL, Ours, play
from benchmarks.rows import Row, Settings
from mjx_s2r.bridge.peers import playground
from mjx_s2r.learn.reppo_settings import ReppoConfig

CASE = "ppo_vs_reppo"


def run(settings: Settings) -> Iterator[Row]:
    """Yields the figures of each seed as soon as it is done, then those of all."""
    if find_spec("mujoco_playground") is None:
        why = "playground is not installed; pip install 'mjx_s2r[peers]'"
        print(f"{CASE} is left out: {why}", file=sys.stderr)
        return
    env = playground(TASK)
    yield from play(
        CASE, Ours(env, settings), Ours(env, settings, reppo(settings)), "reppo", settings
    )


def reppo(settings: Settings) -> ReppoConfig:
    """Returns the settings of REPPO."""
    return ReppoConfig(
        worlds=settings.worlds,
        unroll=UNROLL,
        reward_low=-0.2,
        actor_obs="state",
        critic_obs="state",
    )
