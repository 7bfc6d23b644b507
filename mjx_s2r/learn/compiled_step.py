"""One iteration of a learner: it makes fresh worlds, acts in its own, learns from what happened.

On an accelerator that is one compiled program. On a CPU physics runs up to 16 times as fast with
compiler switches that slow gradient steps down (`devices.gradient_compiler_options`), and a
program has only one set of them; so there acting and learning are compiled apart, each with its
own. Fresh worlds are made by the program that made the first ones: compiled once more, as a part
of acting, it made the wait before reach's first update a sixth longer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from jax.stages import Lowered

from mjx_s2r.io.checkpoint_leaves import is_key
from mjx_s2r.runtime import devices

ELSEWHERE: Any = ()  # stands where a part of the state has been taken out


@dataclass(frozen=True, eq=False)
class CompiledStep:
    """Its parts, compiled when they are first called; the state that goes in is given away.

    Attributes:
        prepare: state -> fresh worlds and random keys; calls functions that are compiled already.
        act: (state, what was prepared) -> (what is left of the state, what happened).
        learn: (what is left of the state, what happened) -> (state, metrics).
    """

    prepare: Callable[[Any], Any]
    act: Callable[[Any, Any], tuple[Any, Any]]
    learn: Callable[[Any, Any], tuple[Any, Any]]

    def __call__(self, state: Any) -> tuple[Any, Any]:
        """Returns the next state and the metrics of the iteration.

        Inside another compiled function, over several devices or seeds, it is part of that one.
        """
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(state))
        if traced or devices.gradient_compiler_options() is None:
            return self._whole(state)
        return self._second(*self._first(state, self.prepare(state)))

    def programs(self, state: Any) -> Iterator[Lowered]:
        """Yields the programs that a call with ``state``, or its shapes, runs; traced, not run.

        Of these parts only: what `prepare` calls is compiled elsewhere.
        """
        if devices.gradient_compiler_options() is None:
            yield self._whole.lower(state)
        else:
            ready = jax.eval_shape(self.prepare, state)
            yield self._first.lower(state, ready)
            yield self._second.lower(*jax.eval_shape(self._first, state, ready))

    def memory(self, state: Any) -> tuple[int, int]:
        """Returns the bytes that the state takes, and those of the largest program at work."""
        held: list[Any] = [program.compile().memory_analysis() for program in self.programs(state)]
        sizes = [m.argument_size_in_bytes + m.temp_size_in_bytes for m in held]
        return sum(_nbytes(leaf) for leaf in jax.tree.leaves(state)), max(sizes)

    @cached_property
    def _whole(self) -> Any:
        """All parts as one program."""

        def whole(state: Any) -> tuple[Any, Any]:
            """Runs one after the other."""
            return self.learn(*self.act(state, self.prepare(state)))

        return jax.jit(whole, donate_argnums=0)

    @cached_property
    def _first(self) -> Any:
        """The part with physics."""
        return jax.jit(self.act, donate_argnums=0)

    @cached_property
    def _second(self) -> Any:
        """The part without."""
        options = devices.gradient_compiler_options()
        return jax.jit(self.learn, donate_argnums=0, compiler_options=options)


def _nbytes(leaf: jax.Array) -> int:
    """Returns the bytes that a leaf takes."""
    return int((jax.random.key_data(leaf) if is_key(leaf) else leaf).nbytes)
