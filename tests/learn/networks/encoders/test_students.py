"""Students with a pretrained encoder: what is trained, what is seen, and the file that leaves."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
import pytest

from mjx_s2r.api.policy import deployed_algorithm, policy_function
from mjx_s2r.contract import CameraSignal
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import Distillation, DistillState
from mjx_s2r.learn.distill.teachers import TeacherAnswer, teacher_of
from mjx_s2r.learn.networks.encoders.architecture import EncoderError
from mjx_s2r.learn.networks.encoders.backbone import is_trained
from mjx_s2r.learn.networks.encoders.config import EncoderConfig, check_encoder
from mjx_s2r.learn.networks.encoders.convert import folded_weights
from mjx_s2r.learn.networks.encoders.pretrained import (
    load_weights,
    scale_backbone,
    with_checksum,
)
from mjx_s2r.learn.networks.encoders.weights import write_weights
from mjx_s2r.learn.networks.gaussian import gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork
from mjx_s2r.onnx_export import export_onnx
from tests.learn.networks.encoders.torch_networks import random_state
from tests.robot.fakes import contract_for

KIND = "mobilenet_v2"
FRONT = CameraSignal("front", 16, 24, 10.0, frames=2)
SIDE = CameraSignal("side", 8, 8, 10.0)
CONTRACT = replace(contract_for(), cameras=(FRONT, SIDE))
JOINTS = len(CONTRACT.action.joints)
T, B = 2, 4


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EncoderConfig:
    """Settings with a file of weights."""
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    write_weights(path, KIND, folded_weights(KIND, random_state(KIND)))
    return EncoderConfig(KIND, path, stage=4)


def algorithm_of(config: EncoderConfig) -> Distillation:
    """Returns a distillation of a student with two cameras."""
    settings = DistillConfig(
        num_envs=B,
        num_steps=T,
        num_minibatches=2,
        num_epochs=1,
        iterations=2,
        hidden=(8,),
        shift_pixels=1,
        encoder=config,
    )
    student = StudentNetwork((8,), JOINTS, 2, cnn_channels=4, encoder=config)
    teacher = teacher_of(lambda obs: gaussian(jnp.zeros((1, JOINTS)), jnp.zeros(JOINTS)))
    shapes = (FRONT.shape, SIDE.shape)
    return Distillation(
        settings, student, teacher, lambda worlds: worlds, shapes, load_weights(config)
    )


def begun(algorithm: Distillation) -> DistillState:
    """Returns the state before the first update."""
    size = jnp.zeros((1, CONTRACT.size))
    return jax.jit(lambda key: algorithm.init({"state": size}, key=key))(jax.random.key(1))


def pictures(*lead: int) -> tuple[jax.Array, ...]:
    """Returns random pictures of both cameras."""
    rng = np.random.default_rng(4)
    shapes = (FRONT.shape, SIDE.shape)
    return tuple(jnp.asarray(rng.integers(0, 256, (*lead, *s)), jnp.uint8) for s in shapes)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "last", "all"])
def test_an_update_moves_what_is_trained_and_nothing_else(
    config: EncoderConfig, trained: str, key: jax.Array
) -> None:
    config = replace(config, trained=trained)
    algorithm = algorithm_of(config)
    start = begun(algorithm)
    weights = load_weights(config)
    assert weights is not None
    for name, array in start.params["params"]["backbone"].items():
        np.testing.assert_array_equal(array, weights.arrays[name])
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    teacher = TeacherAnswer(gaussian(normal(T, B, JOINTS), normal(T, B, JOINTS)), jnp.zeros((T, B)))
    steps = SimpleNamespace(
        obs={"state": normal(T, B, CONTRACT.size)},
        images=pictures(T, B),
        is_first=jnp.zeros((T, B), bool),
        extras=(teacher, normal(T, B, 2), jnp.zeros((T, B))),
        places=(),
    )
    rollout: Any = SimpleNamespace(transitions=steps)
    nothing = algorithm.zero_rnn_state(B)
    run = jax.jit(lambda state: algorithm.update(state, rollout, nothing, key=key)[0])
    after = run(start)
    moved = {
        name: not np.array_equal(array, start.params["params"]["backbone"][name])
        for name, array in after.params["params"]["backbone"].items()
    }
    assert moved == {name: is_trained(config, name) for name in moved}
    heads = [name for name in after.params["params"] if name.startswith("KeypointHead")]
    assert heads == ["KeypointHead_0", "KeypointHead_1"]  # one backbone, a head for each camera
    before = start.params["params"]["KeypointHead_0"]["Conv_0"]["kernel"]
    assert before.shape == (3, 3, 2 * 24, 4)  # two frames side by side
    assert not np.array_equal(after.params["params"]["KeypointHead_0"]["Conv_0"]["kernel"], before)


def test_the_backbone_learns_at_its_own_rate(config: EncoderConfig) -> None:
    params = {"params": {"backbone": {"a": jnp.ones(2)}, "other": jnp.ones(3)}}
    for trained, expected in (("all", 0.25), ("none", 1.0)):
        step = scale_backbone(replace(config, trained=trained, rate=0.25))
        update, _ = step.update(params, step.init(params))
        np.testing.assert_array_equal(update["params"]["backbone"]["a"], expected)
        np.testing.assert_array_equal(update["params"]["other"], 1.0)
        optax.apply_updates(params, update)


def test_the_file_for_the_robot_is_the_network(config: EncoderConfig, tmp_path: Path) -> None:
    """The exporter compares 16 inputs with the network of training; one file holds it all."""
    algorithm = algorithm_of(config)
    state = begun(algorithm)
    done = export_onnx(
        policy_function(algorithm, state, CONTRACT),
        CONTRACT,
        tmp_path / "policy.onnx",
        inputs=16,
        deployed=policy_function(deployed_algorithm(algorithm), state, CONTRACT),
    )
    assert done.parity < 1e-5
    assert [f.name for f in tmp_path.iterdir()] == ["policy.onnx"]
    operators = [n.op_type for n in onnx.load(done.path).graph.node]
    # Both cameras: the stem, 2 + 3 + 3 layers of three blocks, and a head.
    assert operators.count("Conv") == 2 * (1 + 8 + 1)


def test_a_run_keeps_the_checksum_of_its_weights(config: EncoderConfig, tmp_path: Path) -> None:
    weights = load_weights(config)
    kept = with_checksum(config, weights)
    assert weights is not None and kept.sha256 == weights.sha256
    assert load_weights(kept) is not None
    assert load_weights(EncoderConfig()) is None
    write_weights(tmp_path / "other.npz", KIND, folded_weights(KIND, random_state(KIND, seed=1)))
    with pytest.raises(EncoderError, match=r"other\.npz: its SHA-256 is .* this run is of weights"):
        load_weights(replace(kept, weights=tmp_path / "other.npz"))
    with pytest.raises(EncoderError, match="no file of weights; give --distill"):
        load_weights(EncoderConfig(KIND))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "resnet"}, "kind 'resnet': one of scratch, mobilenet_v2"),
        ({"stage": 5}, "stage 5: one of 4, 8, 16, 32"),
        ({"trained": "some"}, "trained 'some': one of none"),
        ({"rate": 0.0}, "rate 0.0"),
        ({"weights": Path("w.npz")}, "w.npz: an encoder from scratch takes none"),
    ],
)
def test_settings_that_cannot_work_are_named(change: dict, words: str) -> None:
    with pytest.raises(EncoderError, match=words):
        EncoderConfig(**change)


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        (CameraSignal("eye", 8, 64, 10.0), "'eye': pictures of 8x64 .* 16x16 at least"),
        (CameraSignal("eye", 36, 64, 10.0), "'eye': pictures of 36x64 .* multiples of 8 px"),
        (CameraSignal("eye", 64, 64, 10.0, kind="depth", near=0.1, far=2.0), "'eye'.*not depth"),
    ],
)
def test_pictures_that_it_cannot_take_are_named(camera: CameraSignal, words: str) -> None:
    with pytest.raises(EncoderError, match=words):
        check_encoder(EncoderConfig(KIND, Path("w.npz")), [camera])
    check_encoder(EncoderConfig(), [camera])  # from scratch, others decide
    check_encoder(EncoderConfig(KIND, Path("w.npz")), [CameraSignal("eye", 64, 48, 10.0)])
