"""A pretrained backbone as a function: pictures -> feature maps.

Batch normalization is folded into the convolutions when weights are converted, so every layer is a
kernel and a bias, frozen or trained. Parameters have the names of the weights' file
(`mjx_s2r.learn.networks.encoders.weights`).

On a CPU few pictures are taken at a time: a picture of 64x64 becomes 400 kB in the second block, so
that a large batch streams through memory at every layer, and eight stay in the cache.
"""

from collections.abc import Callable, Mapping

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
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.networks.encoders.depthwise import depthwise

Params = Mapping[str, jax.Array]
AT_ONCE = 8  # pictures that a CPU takes at a time
_PLANES_FIRST = ("NCHW", "OIHW", "NCHW")


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


def feature_maps(
    kind: str, stage: int, params: Params, images: jax.Array, *, deployed: bool = False
) -> jax.Array:
    """Returns the feature maps (N, H / stage, W / stage, C) of pictures.

    Args:
        kind: name of the backbone.
        stage: pixels of a picture to one place of the feature maps.
        params: of `parameter_shapes`; they may hold more.
        images: (N, H, W, 3) in [-0.5, 0.5].
        deployed: laid out for ONNX: the result is (N, C, H / stage, W / stage).
    """
    net = architecture(kind)
    layout = _Deployed(params) if deployed else _Training(params)
    return _blocks(layout, net, net.blocks_to(stage), images)


class Backbone(nn.Module):
    """Pictures (N, H, W, 3) in [-0.5, 0.5] -> feature maps (N, H / stage, W / stage, C) float32.

    Attributes:
        config: which backbone, where it is cut, and what of it is trained; the rest has no
            gradient.
        dtype: what it computes in.
        deployed: laid out for ONNX: feature maps are (N, C, H / stage, W / stage).
    """

    config: EncoderConfig
    dtype: jnp.dtype = jnp.float32
    deployed: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Applies the layers."""
        config = self.config
        params = {
            name: self.param(name, _random, shape)
            for name, shape in parameter_shapes(config.kind, config.stage).items()
        }
        params = {
            name: x.astype(self.dtype) if is_trained(config, name) else _held(x, self.dtype)
            for name, x in params.items()
        }
        images = images.astype(self.dtype)
        if self.deployed:
            return feature_maps(config.kind, config.stage, params, images, deployed=True)

        def maps(images: jax.Array) -> jax.Array:
            """Returns the feature maps of some pictures."""
            return feature_maps(config.kind, config.stage, params, images)

        return in_parts(maps, images).astype(jnp.float32)


def is_trained(config: EncoderConfig, name: str) -> bool:
    """Returns whether a parameter of the backbone is trained."""
    block = int(name.partition(".")[0].removeprefix("block")) if name.startswith("block") else 0
    return block >= config.first_trained


def in_parts(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Returns a function of pictures (N, ...), of all of them; on a CPU of `AT_ONCE` at a time.

    There the function is computed again for the gradient, which is faster than to keep its layers.
    One of each of so many equal stretches is taken, so that worlds stay on their devices.
    """
    count = images.shape[0]
    if jax.default_backend() != "cpu" or count % AT_ONCE or count == AT_ONCE:
        return function(images)
    parts = images.reshape(AT_ONCE, count // AT_ONCE, *images.shape[1:]).swapaxes(0, 1)
    out = jax.lax.map(jax.checkpoint(function), parts)
    return out.swapaxes(0, 1).reshape(count, *out.shape[2:])


def _random(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns weights that keep the size of features; pretrained ones take their place."""
    if len(shape) == 1:
        return jnp.zeros(shape)
    fan_in = int(np.prod(shape[:2] if len(shape) == 3 else shape[:-1]))
    return jnp.sqrt(2 / fan_in) * jax.random.normal(key, shape)


def _held(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Returns a parameter that is not trained."""
    return jax.lax.stop_gradient(x).astype(dtype)


def _blocks(
    layout: "_Training | _Deployed",
    net: Architecture,
    blocks: tuple[Block, ...],
    images: jax.Array,
) -> jax.Array:
    """Returns what comes out of the stem and some inverted residual blocks."""
    mean, std = (np.asarray(x, np.float32) for x in (net.mean, net.std))
    x = ((images + (0.5 - mean)) / std).astype(images.dtype)
    x = _relu6(layout.stem(x, net.pads(3, 2)))
    for index, block in enumerate(blocks):
        name = f"block{index}"
        y = x if block.wide == block.inputs else _relu6(layout.mix(x, f"{name}.widen"))
        pads = net.pads(block.size, block.stride)
        y = _relu6(layout.filter(y, f"{name}.filter", block.stride, pads))
        y = layout.mix(y, f"{name}.narrow")
        x = x + y if block.adds else y
    return x


class _Training:
    """The layers on (N, H, W, C), with gradients that are fast on a CPU."""

    def __init__(self, params: Params) -> None:
        """Keeps the parameters."""
        self.params = params

    def stem(self, x: jax.Array, pads: tuple[int, int]) -> jax.Array:
        """Applies the stem to pictures."""
        padded = jnp.pad(x, ((0, 0), pads, pads, (0, 0)))
        return conv(padded, self.params["stem.kernel"], 2, 0) + self.params["stem.bias"]

    def mix(self, x: jax.Array, name: str) -> jax.Array:
        """Applies a 1x1 convolution; XLA's gradient of a product of two matrices is faster."""
        kernel, bias = self.params[f"{name}.kernel"], self.params[f"{name}.bias"]
        flat = x.reshape(-1, x.shape[-1]) @ kernel + bias
        return flat.reshape(*x.shape[:-1], bias.shape[0])

    def filter(self, x: jax.Array, name: str, stride: int, pads: tuple[int, int]) -> jax.Array:
        """Applies a depthwise convolution."""
        kernel, bias = self.params[f"{name}.kernel"], self.params[f"{name}.bias"]
        return depthwise(x, kernel, stride, pads) + bias


class _Deployed:
    """The layers on (N, C, H, W), each one operator of ONNX."""

    def __init__(self, params: Params) -> None:
        """Keeps the parameters."""
        self.params = params

    def stem(self, x: jax.Array, pads: tuple[int, int]) -> jax.Array:
        """Applies the stem to pictures (N, H, W, 3)."""
        kernel = self.params["stem.kernel"].transpose(3, 2, 0, 1)
        return self._convolve(x.transpose(0, 3, 1, 2), kernel, "stem", 2, pads)

    def mix(self, x: jax.Array, name: str) -> jax.Array:
        """Applies a 1x1 convolution."""
        kernel = self.params[f"{name}.kernel"].T[:, :, None, None]
        return self._convolve(x, kernel, name, 1, (0, 0))

    def filter(self, x: jax.Array, name: str, stride: int, pads: tuple[int, int]) -> jax.Array:
        """Applies a depthwise convolution."""
        kernel = self.params[f"{name}.kernel"].transpose(2, 0, 1)[:, None]
        return self._convolve(x, kernel, name, stride, pads, groups=x.shape[1])

    def _convolve(
        self,
        x: jax.Array,
        kernel: jax.Array,
        name: str,
        stride: int,
        pads: tuple[int, int],
        groups: int = 1,
    ) -> jax.Array:
        """Applies a convolution and its bias."""
        out = jax.lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [pads, pads],
            dimension_numbers=_PLANES_FIRST,
            feature_group_count=groups,
        )
        return out + self.params[f"{name}.bias"][:, None, None]


def _relu6(x: jax.Array) -> jax.Array:
    """Returns x between 0 and 6."""
    return jnp.clip(x, 0.0, 6.0)
