"""What is compiled side by side beforehand is all that a training's first iteration runs."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.runtime import compilation, devices
from mjx_s2r.runtime.compilation import compile_all
from tests.learn.heard import compiled
from tests.learn.probes import Probe, ppo_trainer

OPTIONS = {"xla_llvm_disable_expensive_passes": False}
RESETS = {"reset_envs", "_sample", "_resample", "_init"}
OURS = ("collect", "update", "whole", *RESETS)
SMALL = {"num_envs": 8, "num_steps": 4, "num_minibatches": 2, "num_epochs": 1}


def small_trainer() -> Trainer:
    """Returns a small trainer that has compiled nothing."""
    config = PPOConfig(**SMALL, actor_hidden=(4,), critic_hidden=(4,))
    return ppo_trainer(Probe(2, lambda step, action: action[0]), config)


@pytest.mark.parametrize("options", [None, OPTIONS])
def test_the_first_iteration_compiles_nothing_more(monkeypatch: Any, options: dict | None) -> None:
    monkeypatch.setattr(devices, "gradient_compiler_options", lambda: options)
    trainer, key = small_trainer(), jax.random.key(3)
    with compiled(*OURS) as before:
        compile_all(trainer.programs(key))
    parts = {"whole"} if options is None else {"collect", "update"}
    assert set(before) == RESETS | parts
    with compiled(*OURS) as after:
        state, metrics = trainer.iterate(trainer.init(key))
        trainer.iterate(state)
    assert after == []
    alone = small_trainer()
    with compiled(*OURS) as unprepared:  # shows that what is compiled is heard
        _, expected = alone.iterate(alone.init(key))
    assert unprepared != []
    same = jax.tree.map(jnp.array_equal, metrics, expected)
    assert all(bool(leaf) for leaf in jax.tree.leaves(same))


class Program:
    """Stands for a traced program."""

    def __init__(self, error: Exception | None = None) -> None:
        """Remembers what it shall raise."""
        self.error = error

    def as_text(self) -> str:
        """Returns what tells it from others."""
        return f"program {id(self)}"

    def compile(self) -> None:
        """Compiles, or fails."""
        if self.error:
            raise self.error


def test_it_says_how_far_it_is_and_what_went_wrong() -> None:
    told: list[tuple[int, int]] = []
    programs: Any = [Program(), Program(), Program()]
    compile_all(iter(programs), lambda *count: told.append(count))
    assert told == [(1, 3), (2, 3), (3, 3)]
    broken: Any = [Program(), Program(MemoryError("no room"))]
    with pytest.raises(MemoryError, match="no room"):
        compile_all(broken)


def test_one_compiles_while_the_next_is_traced() -> None:
    begun, traced = Event(), Event()

    class Waits(Program):
        """Compiles until the program after it has been traced."""

        def compile(self) -> None:
            begun.set()
            assert traced.wait(10)

    def programs() -> Iterator[Any]:
        yield Waits()
        assert begun.wait(10)
        traced.set()
        yield Program()

    compile_all(programs())


def test_processes_that_begin_alike_compile_each_program_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another holds the lock of the first program, the second is compiled; then the first.

    By then the other has left it in the folder of compiled programs, where `compile` finds it.
    """
    monkeypatch.setattr(compilation, "_lock_folder", lambda: tmp_path)
    done: list[str] = []

    class Named(Program):
        """Keeps in which order programs are compiled."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def as_text(self) -> str:
            return self.name

        def compile(self) -> None:
            done.append(self.name)

    programs: Any = [Named("long"), Named("short")]
    other = compilation._lock(tmp_path / sha256(b"long").hexdigest())
    assert other.__enter__()

    def told(count: int, total: int) -> None:
        if (count, total) == (1, 2) and done == ["short"]:
            other.__exit__(None, None, None)

    compile_all(programs, told)
    assert done == ["short", "long"]
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_stopped_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "_lock_folder", lambda: tmp_path)
    monkeypatch.setattr(compilation, "LONGEST_S", 0.1)
    program: Any = Program()
    with compilation._lock(tmp_path / sha256(program.as_text().encode()).hexdigest()):
        compile_all([program])


def test_a_folder_without_locks_keeps_nobody_from_compiling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on a disk that is full, or has gone."""
    monkeypatch.setattr(compilation, "_lock_folder", lambda: tmp_path / "gone")
    told: list[tuple[int, int]] = []
    programs: Any = [Program()]
    compile_all(programs, lambda *count: told.append(count))
    assert told == [(1, 1)]


def test_a_state_may_be_made_within_another_program() -> None:
    """As over several devices; a program within another cannot have switches of its own."""
    trainer, key = small_trainer(), jax.random.key(3)
    inside, alone = jax.jit(lambda: trainer.init(key))(), trainer.init(key)
    assert float(inside.env_state.obs["state"].sum()) == pytest.approx(
        float(alone.env_state.obs["state"].sum()), rel=1e-5
    )
