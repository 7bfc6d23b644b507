"""Pretrained weights in a student's parameters: where they go, and how fast they are trained."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mjx_s2r.learn.networks.encoders.architecture import EncoderError
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.networks.encoders.weights import Weights, read_weights

BACKBONE = "backbone"  # name of the backbone among a network's parameters


def load_weights(config: EncoderConfig) -> Weights | None:
    """Returns the weights that settings name, or nothing for an encoder from scratch.

    Raises:
        EncoderError: no file named, another one than the run began with, or not what it must hold.
    """
    if not config.pretrained:
        return None
    if config.weights is None:
        raise EncoderError(
            f"encoder.kind {config.kind}: no file of weights; give --distill.encoder.weights, or "
            "take encoder.kind scratch (docs/encoders.md says where weights come from)"
        )
    weights = read_weights(config.weights, config.kind, config.stage)
    if config.sha256 not in ("", weights.sha256):
        raise EncoderError(
            f"encoder.weights {config.weights}: its SHA-256 is {weights.sha256}, and this run is "
            f"of weights with {config.sha256}; give the file that it began with"
        )
    return weights


def with_checksum(config: EncoderConfig, weights: Weights | None) -> EncoderConfig:
    """Returns settings that keep the checksum of their weights."""
    return config if weights is None else replace(config, sha256=weights.sha256)


def put_weights(params: Any, weights: Weights | None) -> Any:
    """Returns the parameters of a network, with pretrained weights in place of random ones."""
    if weights is None:
        return params
    own = params["params"]
    loaded = {name: jnp.asarray(weights.arrays[name]) for name in own[BACKBONE]}
    return {**params, "params": {**own, BACKBONE: loaded}}


def scale_backbone(config: EncoderConfig) -> optax.GradientTransformation:
    """Returns the step that makes updates of the backbone smaller than others, by ``rate``."""
    if not config.pretrained or config.trained == "none":
        return optax.identity()

    def update(
        updates: Mapping[str, Any], state: optax.OptState, params: Any = None
    ) -> tuple[Mapping[str, Any], optax.OptState]:
        """Scales the updates of the backbone."""
        own = updates["params"]
        slow = jax.tree.map(lambda x: config.rate * x, own[BACKBONE])
        return {**updates, "params": {**own, BACKBONE: slow}}, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
