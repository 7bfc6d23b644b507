"""Several seeds of one training in one program: every leaf of the state has the seeds in front.

Small networks leave most of a GPU idle; S trainings side by side then take little longer than one
(Lu et al. 2022, PureJaxRL). Each is, but for rounding, the training that its seed gives alone.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from mjx_s2r.learn.compiled_step import CompiledStep
from mjx_s2r.learn.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Seeds:
    """A trainer run from several seeds at once; without cameras."""

    trainer: Trainer

    def init(self, keys: jax.Array) -> Any:
        """Returns the states before the first iteration, for keys (S,)."""
        return jax.vmap(self.trainer.init)(keys)

    def iterate(self, states: Any) -> tuple[Any, Any]:
        """Runs one iteration of each training; metrics are (S,)."""
        states, metrics = self._iteration(states)
        return states, metrics

    @cached_property
    def _iteration(self) -> CompiledStep:
        """The iterations of all, in the parts of the trainer's own."""
        one = self.trainer
        collect, update = jax.vmap(one.collect), jax.vmap(one.update)
        return CompiledStep(jax.vmap(one.prepare), collect, update, aside="curriculum")


@jax.jit
def take_seed(tree: Any, index: int) -> Any:
    """Returns one seed's part of a tree (S, ...); compiled once for all leaves and seeds."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
