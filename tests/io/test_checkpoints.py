"""Checkpoints: to the bit, whole or passed over, refused by name when they do not fit."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mjx_s2r.io import checkpoints as module
from mjx_s2r.io.checkpoint_leaves import is_key
from mjx_s2r.io.checkpoints import CheckpointError, Checkpoints
from mjx_s2r.runtime.sharding import WORLDS, device_mesh


@flax.struct.dataclass
class State:
    """A small state with a leaf of every kind."""

    params: dict[str, Any]
    image: jax.Array
    done: jax.Array
    count: jax.Array
    key: jax.Array
    half: jax.Array
    empty: jax.Array
    host: np.ndarray
    step: int
    rate: float


def state(seed: int = 0) -> State:
    """Returns a state filled from ``seed``."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, 4)).astype(np.float32)
    weights[0, :3] = np.nan, -0.0, np.float32(1e-42)
    return State(
        params={"Dense/0": {"kernel.1": jnp.asarray(weights)}, "b": [jnp.float32(seed), None]},
        image=jnp.asarray(rng.integers(0, 256, (2, 4, 4, 3), np.uint8)),
        done=jnp.asarray([True, False]),
        count=jnp.int32(-7 + seed),
        key=jax.random.split(jax.random.key(seed), 4),
        half=jnp.asarray([1.5, seed], jnp.bfloat16),
        empty=jnp.zeros((0, 3)),
        host=np.array([2**40 + seed, -1]),
        step=5 + seed,
        rate=0.1,
    )


def bits(tree: Any) -> list[tuple[type, str, tuple[int, ...], bytes]]:
    """Returns type, dtype, shape and bytes of every leaf."""
    out = []
    for leaf in jax.tree.leaves(tree):
        raw = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        out.append((type(leaf), str(getattr(leaf, "dtype", "")), raw.shape, raw.tobytes()))
    return out


def store(folder: Path, task: str = "reach", rows: tuple[str, ...] = ("mass",)) -> Checkpoints:
    """Returns the checkpoints of ``folder``."""
    return Checkpoints(folder, task=task, rows=rows, max_to_keep=2)


@pytest.fixture
def saved(tmp_path: Path) -> Checkpoints:
    """Two steps on disk, 1 and 2, of `state(1)` and `state(2)`."""
    made = store(tmp_path)
    made.save(1, state(1))
    made.save(2, state(2))
    return made


def test_restores_every_bit(saved: Checkpoints) -> None:
    tree, step = store(saved.folder).restore(state(0))
    assert step == 2
    assert bits(tree) == bits(state(2))
    assert jax.tree.structure(tree) == jax.tree.structure(state(2))
    np.testing.assert_array_equal(
        jax.random.uniform(tree.key[0], (3,)), jax.random.uniform(state(2).key[0], (3,))
    )


def test_restores_a_given_step_and_into_shapes(saved: Checkpoints) -> None:
    like = jax.eval_shape(lambda: {"q": jnp.zeros((2, 2)), "k": jax.random.key(0)})
    saved.save(3, {"q": jnp.eye(2), "k": jax.random.key(9)})
    tree, step = saved.restore(like)
    assert step == 3
    np.testing.assert_array_equal(tree["q"], np.eye(2))
    assert tree["k"] == jax.random.key(9)
    assert saved.restore(state(), step=2)[0].step == 7


def test_keeps_the_newest(saved: Checkpoints) -> None:
    saved.save(10, state(3))
    assert saved.steps() == [2, 10]
    assert saved.latest_step() == 10
    assert store(saved.folder / "none").latest_step() is None


def test_at_least_one_stays(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="0 steps are to stay; keep 1 or more"):
        Checkpoints(tmp_path, task="reach", rows=("mass",), max_to_keep=0)


def test_restores_placement(tmp_path: Path) -> None:
    split = NamedSharding(device_mesh(), PartitionSpec(WORLDS))
    tree = {"q": jnp.arange(4.0), "key": jax.random.split(jax.random.key(0), 4)}
    tree = jax.device_put(tree, split)
    store(tmp_path).save(1, tree)
    back, _ = store(tmp_path).restore(tree)
    assert bits(back) == bits(tree)
    assert back["q"].sharding == tree["q"].sharding
    assert back["key"].sharding.is_equivalent_to(tree["key"].sharding, 1)


def damage_nothing_left(step: Path) -> None:
    """Removes every file of the arrays."""
    shutil.rmtree(step / module.ARRAYS)


def damage_about(step: Path) -> None:
    """Cuts the description short."""
    file = step / module.ABOUT / "metadata"
    file.write_bytes(file.read_bytes()[:40])


def damage_data(step: Path) -> None:
    """Cuts the largest data file short."""
    file = max((f for f in step.rglob("d/*") if f.is_file()), key=lambda f: f.stat().st_size)
    os.truncate(file, file.stat().st_size // 2)


def damage_manifest(step: Path) -> None:
    """Empties the table of contents of the arrays."""
    for file in (step / module.ARRAYS).rglob("manifest.ocdbt"):
        os.truncate(file, 0)


def damage_bit(step: Path) -> None:
    """Flips one bit in the middle of the largest data file."""
    file = max((f for f in step.rglob("d/*") if f.is_file()), key=lambda f: f.stat().st_size)
    body = bytearray(file.read_bytes())
    body[len(body) // 2] ^= 1
    file.write_bytes(bytes(body))


@pytest.mark.parametrize(
    "damage", [damage_nothing_left, damage_about, damage_data, damage_manifest, damage_bit]
)
def test_a_damaged_step_is_passed_over_and_replaced(saved: Checkpoints, damage: Any) -> None:
    damage(saved.folder / "2")
    again = store(saved.folder)
    with pytest.warns(RuntimeWarning, match="checkpoint 2 .* is damaged and passed over"):
        tree, step = again.restore(state())
    assert step == 1
    assert bits(tree) == bits(state(1))
    again.save(2, state(7))
    assert bits(again.restore(state())[0]) == bits(state(7))


def test_damage_found_while_saving_goes_on(saved: Checkpoints) -> None:
    damage_about(saved.folder / "2")
    with pytest.warns(RuntimeWarning, match="damaged"):
        saved.restore(state())
    saved.save(2, state(7))
    assert saved.steps() == [1, 2]


def test_no_whole_step_is_an_error(saved: Checkpoints) -> None:
    for step in (1, 2):
        damage_about(saved.folder / str(step))
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(CheckpointError, match=r"none of steps \[1, 2\]"),
    ):
        saved.restore(state())
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        store(saved.folder / "none").restore(state())


def test_another_task_or_table_is_named(saved: Checkpoints) -> None:
    with pytest.raises(CheckpointError, match="task 'reach', expected 'cartpole'"):
        store(saved.folder, task="cartpole").restore(state())
    with pytest.raises(CheckpointError, match=r"rows only there \['mass'\], only here \['delay'\]"):
        store(saved.folder, rows=("delay",)).restore(state())


def test_other_leaves_are_named(saved: Checkpoints) -> None:
    wrong = state().replace(image=jnp.zeros((1, 4, 4, 3), jnp.uint8), count=jnp.float32(0))
    with pytest.raises(CheckpointError) as caught:
        saved.restore(wrong)
    assert ".image: saved ((2, 4, 4, 3), 'uint8'), expected ((1, 4, 4, 3), 'uint8')" in str(
        caught.value
    )
    assert ".count: saved ((), 'int32'), expected ((), 'float32')" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"\['extra'\]: saved nothing, expected"):
        saved.restore({"extra": jnp.zeros(1)})


def test_a_step_that_is_there_is_not_overwritten(saved: Checkpoints) -> None:
    with pytest.raises(CheckpointError, match=r"holds steps \[2\] already; cannot save 2"):
        saved.save(2, state(5))
    assert bits(saved.restore(state())[0]) == bits(state(2))


def test_a_leaf_that_is_no_array_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"leaf \['f'\] is function"):
        store(tmp_path).save(1, {"f": test_keeps_the_newest})


def test_a_full_disk_keeps_the_older_steps(
    saved: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        """Leaves half a step and fails as a full disk does."""
        (saved.folder / "3.orbax-checkpoint-tmp").mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved._manager, "save", fail)
    with pytest.raises(CheckpointError, match=r"disk is full, step 3 .* steps \[1, 2\] are kept"):
        saved.save(3, state(3))
    assert [f.name for f in sorted(saved.folder.iterdir())] == ["1", "2"]
    usage = shutil.disk_usage(saved.folder)._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match="disk is full"):
        saved.save(3, state(3))
    assert bits(saved.restore(state())[0]) == bits(state(2))


KILLED = """
import sys, jax.numpy as jnp
from mjx_s2r.io.checkpoints import Checkpoints
store = Checkpoints(sys.argv[1], task="reach", rows=("mass",))
for step in range(1, 10_000):
    store.save(step, {"step": jnp.int32(step), "w": jnp.full(20_000, step, jnp.float32)})
    print(step, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_step(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        time.sleep(0.013)
        process.kill()
    done = int(lines[-1])
    like = {"step": jnp.int32(0), "w": jnp.zeros(20_000)}
    again = store(tmp_path)
    tree, step = again.restore(like)
    assert step >= done
    assert int(tree["step"]) == step
    np.testing.assert_array_equal(tree["w"], np.full(20_000, step, np.float32))
    again.save(step + 1, tree)
    assert not list(tmp_path.glob("*tmp*"))
