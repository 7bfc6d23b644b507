"""An export proves the file before it gets its name, and names what cannot become one."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r import onnx_export as module
from mjx_s2r.io.run import RunError
from mjx_s2r.onnx_export import ExportError, export_onnx
from mjx_s2r.robot.policy import Policy
from tests.robot.fakes import contract_for, first_actions

CONTRACT = contract_for(cameras=True)
WEIGHTS = np.random.default_rng(0).normal(size=(CONTRACT.size, 2)).astype(np.float32)


def policy(obs: jax.Array, image: jax.Array) -> jax.Array:
    """Returns squashed actions (N, 2) of readings (N, P) and pictures (N, H, W, 3)."""
    brightness = image.astype(jnp.float32).mean((1, 2, 3)) / 255
    return jnp.tanh(obs @ WEIGHTS + brightness[:, None])


def test_the_file_computes_what_jax_computes(tmp_path: Path) -> None:
    done = export_onnx(policy, CONTRACT, tmp_path / "out" / "policy.onnx", inputs=16)
    assert done.parity < 1e-5 and done.inputs == 16
    loaded = Policy.load(done.path)
    assert loaded.contract == CONTRACT
    obs = np.random.default_rng(1).normal(size=(3, CONTRACT.size)).astype(np.float32)
    (camera,) = CONTRACT.cameras
    images = np.random.default_rng(2).integers(0, 256, (3, *camera.shape), np.uint8)
    expected = policy(jnp.asarray(obs), jnp.asarray(images)) * np.array(CONTRACT.action.scale)
    action = first_actions(loaded, obs, {camera.name: images})
    np.testing.assert_allclose(action, expected, atol=1e-5)
    assert [f.name for f in done.path.parent.iterdir()] == ["policy.onnx"]


def test_double_precision_is_refused(tmp_path: Path) -> None:
    says = "JAX_ENABLE_X64 is on.*unset it"
    with jax.enable_x64(True), pytest.raises(ExportError, match=says):
        export_onnx(policy, CONTRACT, tmp_path / "out" / "policy.onnx", inputs=8)
    assert not (tmp_path / "out").exists()


def test_an_operation_without_a_counterpart_is_refused(tmp_path: Path) -> None:
    def calling(obs: jax.Array, image: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct(obs.shape, obs.dtype)
        return jax.pure_callback(np.tanh, shape, obs)[:, :2] + policy(obs, image)

    with pytest.raises(ExportError, match=r"does not convert to ONNX \(.*write it with others"):
        export_onnx(calling, CONTRACT, tmp_path / "policy.onnx", inputs=8)
    assert not list(tmp_path.iterdir())


def test_an_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"gs://bucket/policy\.onnx is an address"):
        export_onnx(policy, CONTRACT, Path("gs://bucket/policy.onnx"))
    assert not list(tmp_path.iterdir())


def test_a_graph_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap: Callable[..., float] = lambda *_: 2e-4  # noqa: E731
    monkeypatch.setattr(module, "_parity", gap)
    with pytest.raises(ExportError, match=r"differs from JAX by 0\.0002 on 8 inputs"):
        export_onnx(policy, CONTRACT, tmp_path / "policy.onnx", inputs=8)
    assert not list(tmp_path.iterdir())
