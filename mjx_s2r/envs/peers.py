"""Recipes of other libraries' environments that have been tuned here."""

from dataclasses import replace
from functools import partial

from mjx_s2r.bridge.registry import make_peer
from mjx_s2r.envs.registry import register, task_spec

# Cartpole's settings on the same task in MuJoCo Playground; benchmarks/ppo_vs_brax.py measures it
# with these.
register(
    "playground:CartpoleSwingup",
    partial(make_peer, "playground:CartpoleSwingup"),
    ppo=replace(task_spec("cartpole").ppo, num_steps=30, actor_obs="state"),
)
