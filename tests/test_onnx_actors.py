"""Actors that remember and that see leave as ONNX, and as variants whose error is known."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from mjx_s2r.api.policy import deployed_algorithm, policy_function
from mjx_s2r.contract import METADATA_KEY, CameraSignal, ContractError, to_json
from mjx_s2r.learn import normalizer
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.onnx_export import Exported, ExportError, export_onnx
from mjx_s2r.onnx_variants import SAMPLES, check_names, export_variants
from mjx_s2r.robot.onnx_file import read_onnx
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.runtime import runtime_needed
from tests.robot.fakes import contract_for, first_actions

MEMORY = 5
CAMERA = CameraSignal("front", 8, 12, 10.0)
CONTRACT = replace(contract_for(), cameras=(CAMERA,), memory=MEMORY)
CONFIG = PPOConfig(
    actor_obs="pixels", rnn_hidden=MEMORY, cnn_channels=4, actor_hidden=(6,), critic_hidden=(6,)
)
ALGORITHM = PPO(CONFIG, 2, (CAMERA.shape,))


@pytest.fixture(scope="module")
def learner() -> object:
    """Weights at random, and a normalizer that has seen something."""
    obs = {name: jnp.zeros((1, CONTRACT.size)) for name in ("state", "privileged")}
    shapes = jax.eval_shape(partial(ALGORITHM.init, obs), key=jax.random.key(0))
    rng = np.random.default_rng(0)
    actor = jax.tree.map(
        lambda x: rng.normal(0, 0.5, x.shape).astype(np.float32), shapes.actor
    )  # actions far from zero
    mean = np.linspace(-1, 1, CONTRACT.size, dtype=np.float32)
    norm = Normalizer(jnp.float32(10), mean, np.full(CONTRACT.size, 40, np.float32))
    return replace(shapes, actor=actor, actor_norm=norm)


@pytest.fixture(scope="module")
def exported(learner: object, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The file of an actor that sees and remembers."""
    return export_onnx(
        policy_function(ALGORITHM, learner, CONTRACT),
        CONTRACT,
        tmp_path_factory.mktemp("file") / "policy.onnx",
        inputs=48,
        deployed=policy_function(deployed_algorithm(ALGORITHM), learner, CONTRACT),
    )


def flight(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns readings (T, P) and pictures (T, H, W, 3) of one flight."""
    rng = np.random.default_rng(3)
    obs = rng.normal(size=(steps, CONTRACT.size)).astype(np.float32)
    return obs, rng.integers(0, 256, (steps, *CAMERA.shape), np.uint8)


def test_a_flight_is_what_the_trained_network_does(learner: object, exported: Exported) -> None:
    """The oracle is the network that training runs, over the whole flight at once."""
    obs, pictures = flight(12)
    x = normalizer.apply(learner.actor_norm, jnp.asarray(obs))  # type: ignore[attr-defined]
    first = jnp.zeros((12, 1), bool).at[0].set(True)
    _, out = ALGORITHM.nets.policy(
        learner.actor,  # type: ignore[attr-defined]
        jnp.ones((1, MEMORY)),  # forgotten at the first step
        x[:, None],
        (jnp.asarray(pictures)[:, None],),
        first,
    )
    expected = np.tanh(np.asarray(out.mean[:, 0])) * np.array(CONTRACT.action.scale)
    policy = Policy.load(exported.path)
    for _ in range(2):
        policy.reset()
        actions = [policy.act(o, {"front": p}) for o, p in zip(obs, pictures, strict=True)]
        np.testing.assert_allclose(actions, expected, atol=1e-6)
    forgetful = [
        first_actions(policy, o[None], {"front": p[None]})[0]
        for o, p in zip(obs, pictures, strict=True)
    ]
    assert np.abs(np.array(forgetful)[1:] - expected[1:]).max() > 1e-4
    assert np.abs(expected).max() > 0.01 and exported.parity < 1e-6


def test_the_file_serves_old_runtimes(exported: Exported) -> None:
    """ONNX Runtime 1.15 reads opset 17 and format 8; found out by installing it."""
    file = read_onnx(exported.path)
    assert (file.opset, file.ir_version) == (17, 8)
    assert runtime_needed(file.opset, file.ir_version) == "1.15"
    model = onnx.load(exported.path)  # the onnx package is the oracle of our own reader
    assert (file.opset, file.ir_version) == (model.opset_import[0].version, model.ir_version)
    assert file.metadata == {p.key: p.value for p in model.metadata_props}
    assert file.nodes == len(model.graph.node)
    assert not {"Einsum", "Loop", "Scan", "Shape"} & {n.op_type for n in model.graph.node}


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Inputs of variants: readings (N, P), pictures (N, H, W, 3)."""
    obs, pictures = flight(SAMPLES // 2)
    return obs, {"front": pictures}


def test_variants_tell_their_error(
    exported: Exported, inputs: tuple[np.ndarray, dict[str, np.ndarray]]
) -> None:
    made = export_variants(exported.path, ["float16", "int8"], inputs, limit=1.0)
    assert [x.path.name for x in made] == ["policy.float16.onnx", "policy.int8.onnx"]
    exact = Policy.load(exported.path)
    obs, pictures = inputs[0], inputs[1]["front"]
    none = np.zeros((len(obs), MEMORY), np.float32)
    expected = exact.step_batch(obs, {"front": pictures}, none)[0]
    for x in made:
        policy = Policy.load(x.path)
        assert policy.contract == CONTRACT and policy.variant == x.variant
        assert 0 < x.variant.error_p99 <= x.variant.error_max < 0.1
        gap = np.abs(policy.step_batch(obs, {"front": pictures}, none)[0] - expected).max()
        assert 0 < gap < 3 * x.variant.error_max
    assert made[0].variant.error_max < made[1].variant.error_max
    assert len(list(exported.path.parent.iterdir())) == 3


def test_a_variant_that_is_too_far_is_refused(
    exported: Exported, inputs: tuple[np.ndarray, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    path = tmp_path / "policy.onnx"
    path.write_bytes(exported.path.read_bytes())
    with pytest.raises(
        ExportError, match=r"'float16' differs from float32 by .*more than 0\.0001 %"
    ):
        export_variants(path, ["float16"], inputs, limit=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["policy.onnx"]
    with pytest.raises(
        ExportError, match=r"'int4' must be one of \['float32', 'float16', 'int8'\]"
    ):
        check_names(["float32", "int4"])


def test_changed_weights_are_refused(exported: Exported, tmp_path: Path) -> None:
    model = onnx.load(exported.path)
    kernel = next(x for x in model.graph.initializer if len(x.raw_data) > 200)
    kernel.raw_data = kernel.raw_data[:-4] + b"\0\0\0\0"
    onnx.save(model, tmp_path / "p.onnx")
    with pytest.raises(ContractError, match="the graph was changed after export"):
        Policy.load(tmp_path / "p.onnx")
    kept = {p.key: p.value for p in model.metadata_props}
    assert json.loads(kept[METADATA_KEY]) == json.loads(to_json(CONTRACT))
