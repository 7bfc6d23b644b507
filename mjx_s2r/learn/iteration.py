"""One iteration of a learner: it acts in its worlds, then learns from what happened.

On an accelerator that is one compiled program. On a CPU physics runs up to 16 times as fast with
compiler switches that slow gradient steps down (`mjx_s2r.devices.light_options`), and a program has
only one set of them; so there the two halves are compiled apart, each with its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from mjx_s2r import devices

ELSEWHERE: Any = ()  # stands where a part of the state has been taken out


@dataclass(frozen=True, eq=False)
class Iteration:
    """Both halves, compiled when they are first called; the state that goes in is given away.

    Attributes:
        act: state -> (what is left of the state, what happened).
        learn: (what is left of the state, what happened) -> (state, metrics).
    """

    act: Callable[[Any], tuple[Any, Any]]
    learn: Callable[[Any, Any], tuple[Any, Any]]

    def __call__(self, state: Any) -> tuple[Any, Any]:
        """Returns the next state and the metrics of the iteration.

        Inside another compiled function, over several devices or seeds, it is part of that one.
        """
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(state))
        if traced or devices.light_options() is None:
            return self._whole(state)
        return self._second(*self._first(state))

    def memory(self, state: Any) -> tuple[int, int]:
        """Returns the bytes that the state takes, and those of the larger program at work."""
        if devices.light_options() is None:
            programs = [self._whole.lower(state).compile()]
        else:
            first = self._first.lower(state)
            programs = [first.compile(), self._second.lower(*first.out_info).compile()]
        held = [program.memory_analysis() for program in programs]
        sizes = [m.argument_size_in_bytes + m.temp_size_in_bytes for m in held]
        return held[0].argument_size_in_bytes, max(sizes)

    @cached_property
    def _whole(self) -> Any:
        """Both halves as one program."""
        return jax.jit(lambda state: self.learn(*self.act(state)), donate_argnums=0)

    @cached_property
    def _first(self) -> Any:
        """The half with physics."""
        return jax.jit(self.act, donate_argnums=0)

    @cached_property
    def _second(self) -> Any:
        """The half without."""
        options = devices.light_options()
        return jax.jit(self.learn, donate_argnums=0, compiler_options=options)
