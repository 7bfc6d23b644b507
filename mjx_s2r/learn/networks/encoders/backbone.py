"""A pretrained backbone as a network: pictures -> feature maps, or -> ImageNet's classes.

Batch normalization is folded into the convolutions when weights are converted, so every layer is a
kernel and a bias, frozen or trained. Parameters have the names of the weights' file
(`mjx_s2r.learn.networks.encoders.weights`).
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.learn.networks.conv import conv
from mjx_s2r.learn.networks.encoders.architecture import (
    CLASSES,
    HEAD,
    STEM,
    Architecture,
    Block,
    architecture,
)
from mjx_s2r.learn.networks.encoders.depthwise import depthwise

Shapes = Mapping[str, tuple[int, ...]]  # name of a parameter -> its shape


def parameter_shapes(kind: str, stage: int | None = None) -> dict[str, tuple[int, ...]]:
    """Returns the parameters of a backbone by name, in the order in which they are used.

    Args:
        kind: name of the backbone.
        stage: only what leads to feature maps of this stride; absent: all, with the classes.
    """
    net = architecture(kind)
    shapes: dict[str, tuple[int, ...]] = {"stem.kernel": (3, 3, 3, STEM), "stem.bias": (STEM,)}
    blocks = net.blocks if stage is None else net.blocks_to(stage)
    for index, b in enumerate(blocks):
        name = f"block{index}"
        if b.wide != b.inputs:
            shapes[f"{name}.widen.kernel"] = (b.inputs, b.wide)
            shapes[f"{name}.widen.bias"] = (b.wide,)
        shapes[f"{name}.filter.kernel"] = (b.size, b.size, b.wide)
        shapes[f"{name}.filter.bias"] = (b.wide,)
        shapes[f"{name}.narrow.kernel"] = (b.wide, b.outputs)
        shapes[f"{name}.narrow.bias"] = (b.outputs,)
    if stage is None:
        shapes["head.kernel"] = (net.blocks[-1].outputs, HEAD)
        shapes["head.bias"] = (HEAD,)
        shapes["classes.kernel"] = (HEAD, CLASSES)
        shapes["classes.bias"] = (CLASSES,)
    return shapes


class Backbone(nn.Module):
    """Pictures (N, H, W, 3) in [-0.5, 0.5] -> feature maps (N, H / stage, W / stage, C).

    Attributes:
        kind: name of the backbone.
        stage: pixels of a picture to one place of the feature maps; absent: to the classes' log
            odds (N, 1000) instead.
        dtype: what it computes in.
        deployed: laid out for ONNX: feature maps are (N, C, H / stage, W / stage).
    """

    kind: str
    stage: int | None
    dtype: jnp.dtype = jnp.float32
    deployed: bool = False

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Applies the layers."""
        net = architecture(self.kind)
        blocks = net.blocks if self.stage is None else net.blocks_to(self.stage)
        mean, std = (np.asarray(x, np.float32) for x in (net.mean, net.std))
        x = ((image + (0.5 - mean)) / std).astype(self.dtype)
        if self.deployed:
            x = x.transpose(0, 3, 1, 2)
        x = _relu6(self._convolve(x, net))
        for index, block in enumerate(blocks):
            x = self._block(x, net, block, f"block{index}")
        if self.stage is not None:
            return x
        x = jnp.mean(_relu6(self._mix(x, "head", HEAD)), (2, 3) if self.deployed else (1, 2))
        kernel, bias = self._weights("classes", (HEAD, CLASSES))
        return x @ kernel + bias

    def _block(self, x: jax.Array, net: Architecture, block: Block, name: str) -> jax.Array:
        """Applies an inverted residual block."""
        y = x if block.wide == block.inputs else _relu6(self._mix(x, f"{name}.widen", block.wide))
        y = _relu6(self._filter(y, net, block, f"{name}.filter"))
        y = self._mix(y, f"{name}.narrow", block.outputs)
        return x + y if block.adds else y

    def _weights(self, name: str, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        """Returns kernel and bias of a layer; pretrained weights take the place of random ones."""
        fan_in = int(np.prod(shape[:-1]))
        first = nn.initializers.normal(np.sqrt(2 / fan_in))
        kernel = self.param(f"{name}.kernel", first, shape)
        bias = self.param(f"{name}.bias", nn.initializers.zeros, shape[-1:])
        return kernel.astype(self.dtype), bias.astype(self.dtype)

    def _convolve(self, x: jax.Array, net: Architecture) -> jax.Array:
        """Applies the stem."""
        kernel, bias = self._weights("stem", (3, 3, 3, STEM))
        edges = [net.pads(3, 2)] * 2
        if not self.deployed:
            return conv(jnp.pad(x, ((0, 0), *edges, (0, 0))), kernel, 2, 0) + bias
        layout = ("NCHW", "OIHW", "NCHW")
        kernel = kernel.transpose(3, 2, 0, 1)
        out = jax.lax.conv_general_dilated(x, kernel, (2, 2), edges, dimension_numbers=layout)
        return out + self._beside(bias)

    def _mix(self, x: jax.Array, name: str, outputs: int) -> jax.Array:
        """Applies a 1x1 convolution."""
        kernel, bias = self._weights(name, (x.shape[1 if self.deployed else -1], outputs))
        if not self.deployed:
            flat = x.reshape(-1, x.shape[-1])  # XLA's gradient of a product of matrices is faster
            return (flat @ kernel + bias).reshape(*x.shape[:-1], outputs)
        layout = ("NCHW", "OIHW", "NCHW")
        kernel = kernel.T[:, :, None, None]
        out = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
        return out + self._beside(bias)

    def _filter(self, x: jax.Array, net: Architecture, block: Block, name: str) -> jax.Array:
        """Applies a depthwise convolution."""
        kernel, bias = self._weights(name, (block.size, block.size, block.wide))
        pads = net.pads(block.size, block.stride)
        if not self.deployed:
            return depthwise(x, kernel, block.stride, pads) + bias
        out = jax.lax.conv_general_dilated(
            x,
            kernel.transpose(2, 0, 1)[:, None],
            (block.stride,) * 2,
            [pads] * 2,
            dimension_numbers=("NCHW", "OIHW", "NCHW"),
            feature_group_count=block.wide,
        )
        return out + self._beside(bias)

    def _beside(self, bias: jax.Array) -> jax.Array:
        """Returns a bias (C,) in the layout of feature maps."""
        return bias[:, None, None] if self.deployed else bias


def _relu6(x: jax.Array) -> jax.Array:
    """Returns x between 0 and 6."""
    return jnp.clip(x, 0.0, 6.0)
