"""An iteration, compiled: as one program, or as programs with the compiler switches that suit each.

On an accelerator an iteration is one compiled program. On a CPU physics runs up to 16 times as fast
with compiler switches that slow gradient steps down (`devices.gradient_compiler_options`), and a
program has only one set of them; so there collecting and updating are compiled apart, each with its
own. Fresh worlds are made by the program that made the first ones: compiled once more, as a part of
collecting, it made the wait before reach's first update a sixth longer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
from jax.stages import Lowered

from mjx_s2r.io.checkpoint_leaves import is_key
from mjx_s2r.runtime import devices


@dataclass(frozen=True, eq=False)
class CompiledStep:
    """The parts of an iteration, compiled when first called; the state that goes in is donated.

    Attributes:
        prepare: state -> fresh worlds and random keys; calls functions that are compiled already.
        collect: (state, what was prepared) -> (state, (batch, key)).
        update: (state, (batch, key)) -> (state, metrics).
        aside: the field of the state that collecting neither reads nor changes, if it has one. It
            is kept out of the program, which then serves whatever is in that field.
    """

    prepare: Callable[[Any], Any]
    collect: Callable[[Any, Any], tuple[Any, Any]]
    update: Callable[[Any, Any], tuple[Any, Any]]
    aside: str = ""

    def __call__(self, state: Any) -> tuple[Any, Any]:
        """Returns the next state and the metrics of the iteration.

        Inside another compiled function, over several devices or seeds, it is part of that one.
        """
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(state))
        if traced or devices.gradient_compiler_options() is None:
            return self._whole(state)
        carried, aside = self._split(state)
        carried, collected = self._collect(carried, self.prepare(state))
        return self._update(self._whole_again(carried, aside), collected)

    def programs(self, state: Any) -> Iterator[Lowered]:
        """Yields the programs that a call with ``state``, or its shapes, runs; traced, not run.

        Of these parts only: what `prepare` calls is compiled elsewhere.
        """
        if devices.gradient_compiler_options() is None:
            yield self._whole.lower(state)
        else:
            ready = jax.eval_shape(self.prepare, state)
            carried, aside = self._split(state)
            yield self._collect.lower(carried, ready)
            carried, collected = jax.eval_shape(self._collect, carried, ready)
            yield self._update.lower(self._whole_again(carried, aside), collected)

    def memory(self, state: Any) -> tuple[int, int]:
        """Returns the bytes that the state takes, and those of the largest program at work."""
        held: list[Any] = [program.compile().memory_analysis() for program in self.programs(state)]
        sizes = [m.argument_size_in_bytes + m.temp_size_in_bytes for m in held]
        return sum(_nbytes(leaf) for leaf in jax.tree.leaves(state)), max(sizes)

    def _split(self, state: Any) -> tuple[Any, Any]:
        """Returns the state without what is put aside, and that."""
        if not self.aside:
            return state, None
        return replace(state, **{self.aside: None}), getattr(state, self.aside)

    def _whole_again(self, carried: Any, aside: Any) -> Any:
        """Returns the state with what was put aside."""
        return replace(carried, **{self.aside: aside}) if self.aside else carried

    @cached_property
    def _whole(self) -> Any:
        def whole(state: Any) -> tuple[Any, Any]:
            return self.update(*self.collect(state, self.prepare(state)))

        return jax.jit(whole, donate_argnums=0)

    @cached_property
    def _collect(self) -> Any:
        return jax.jit(self.collect, donate_argnums=0)

    @cached_property
    def _update(self) -> Any:
        options = devices.gradient_compiler_options()
        return jax.jit(self.update, donate_argnums=0, compiler_options=options)


def _nbytes(leaf: jax.Array) -> int:
    return int((jax.random.key_data(leaf) if is_key(leaf) else leaf).nbytes)
