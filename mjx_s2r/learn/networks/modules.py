"""Networks: an actor and a critic, what stands before them, and a camera student.

A `Trunk` turns what a policy is given, readings and perhaps pictures, over a stretch of time into
features; one with a memory is a gated recurrent unit (Cho et al. 2014) behind the image encoders.

The student finds things in an image the way visuomotor policies of Levine et al. 2016 do: a few
convolutions, then the expected pixel position of each feature map (spatial soft-argmax), so that a
position in the picture is a number early on.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.contract import CameraSignal, ContractError
from mjx_s2r.learn.networks.augment import to_float
from mjx_s2r.learn.networks.conv import Conv
from mjx_s2r.learn.networks.encoders.backbone import Backbone
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.networks.encoders.pretrained import BACKBONE
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.learn.networks.swish import swish

BLOCK = 4  # pixels of a picture to one place of an image encoder's feature maps, at least
COARSE = 64  # px from which on a picture's places are twice as large
ESTIMATE = (128, 128)  # layers of a student's estimate


def check_pictures(cameras: Sequence[CameraSignal]) -> None:
    """Checks, before anything is built, that image encoders can take the pictures of cameras.

    Raises:
        ContractError: a height or width that is no multiple of `BLOCK`; names the nearest that is.
    """
    for c in cameras:
        if c.height % BLOCK or c.width % BLOCK:
            height, width = (max(BLOCK, BLOCK * round(x / BLOCK)) for x in (c.height, c.width))
            raise ContractError(
                f"camera {c.name!r}: the network cannot take pictures of {c.height}x{c.width}, "
                f"only of multiples of {BLOCK} px, {BLOCK}x{BLOCK} at least; take {height}x{width}"
            )


def block_of(height: int, width: int) -> int:
    """Returns the pixels, along a side, of a place of the feature maps of pictures of a size."""
    coarse = min(height, width) >= COARSE and height % (2 * BLOCK) == width % (2 * BLOCK) == 0
    return 2 * BLOCK if coarse else BLOCK


class Mlp(nn.Module):
    """Dense layers with swish in between: (..., P) -> (..., last size) float32.

    Hidden layers compute in ``dtype``; parameters and the last layer stay float32.
    """

    sizes: Sequence[int]
    last_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layers."""
        first = nn.initializers.lecun_normal()
        for size in self.sizes[:-1]:
            x = swish(nn.Dense(size, kernel_init=first, dtype=self.dtype)(x))
        scale = nn.initializers.variance_scaling(self.last_scale, "fan_in", "truncated_normal")
        return nn.Dense(self.sizes[-1], kernel_init=scale)(x.astype(jnp.float32))


class ActorHead(nn.Module):
    """Features (..., P) -> distribution over raw actions (..., J).

    The deviation is one vector, or it depends on the features as the mean does.
    """

    hidden: Sequence[int]
    num_actions: int
    init_std: float = 0.6
    dtype: jnp.dtype = jnp.float32
    state_dependent_std: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> Gaussian:
        """Returns the action distribution."""
        outputs = self.num_actions * (2 if self.state_dependent_std else 1)
        out = Mlp((*self.hidden, outputs), last_scale=0.01, dtype=self.dtype)(x)
        first = jnp.log(self.init_std)
        if self.state_dependent_std:
            mean, more = jnp.split(out, 2, axis=-1)
            return gaussian(mean, first + more)
        constant = nn.initializers.constant(first)
        return gaussian(out, self.param("log_std", constant, (self.num_actions,)))


class CriticHead(nn.Module):
    """Features (..., Q) -> value (...)."""

    hidden: Sequence[int]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the value."""
        return Mlp((*self.hidden, 1), dtype=self.dtype)(x)[..., 0]


class Trunk(nn.Module):
    """Readings and pictures over time -> features over time; without both parts, the readings.

    Attributes:
        cnn_channels: feature maps of each image encoder.
        rnn_hidden: size of the memory, H; 0 remembers nothing.
        dtype: what the image encoders compute in; the memory stays float32.
        deployed: laid out for ONNX, for one step that continues an episode: there is no T.
        encoder: what finds features in pictures.
    """

    cnn_channels: int = 16
    rnn_hidden: int = 0
    dtype: jnp.dtype = jnp.float32
    deployed: bool = False
    encoder: EncoderConfig = EncoderConfig()

    @nn.compact
    def __call__(
        self, memory: jax.Array, x: jax.Array, images: Sequence[jax.Array], first: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns what is remembered after each step (T, B, H) and the features (T, B, P').

        Args:
            memory: (B, H) before the first step.
            x: (T, B, P) normalized readings.
            images: per camera (T, B, H, W, C), as `to_float` takes them.
            first: (T, B) bool: an episode begins here, what was before is forgotten.
        """
        if self.deployed:
            return self._deployed(memory, x, images)
        if images:
            eyes = self._keypoints([to_float(merge_time(i)) for i in images])
            seen = [split_time(eye, x.shape[0]).astype(jnp.float32) for eye in eyes]
            x = jnp.concatenate((*seen, x), axis=-1)
        if not self.rnn_hidden:
            return jnp.zeros((*x.shape[:2], 0)), x

        def one(
            cell: nn.GRUCell, memory: jax.Array, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[jax.Array, jax.Array]:
            """Takes in one step."""
            x, first = inputs
            memory, _ = cell(jnp.where(first[:, None], 0.0, memory), x)
            return memory, memory

        scan = nn.scan(one, variable_broadcast="params", split_rngs={"params": False})
        kept = scan(nn.GRUCell(self.rnn_hidden), memory, (x, first))[1]
        return kept, kept

    def _keypoints(self, images: Sequence[jax.Array]) -> list[jax.Array]:
        """Returns keypoints (N, 2C) per camera, of images (N, H, W, C) in [-0.5, 0.5].

        All cameras share a pretrained backbone.
        """
        size, kind = self.cnn_channels, jnp.float32 if self.deployed else self.dtype
        if not self.encoder.pretrained or not images:
            return [ImageEncoder(size, kind, self.deployed)(image) for image in images]
        backbone = Backbone(self.encoder, kind, self.deployed, name=BACKBONE)
        return [KeypointHead(size, self.deployed)(features_of(backbone, i)) for i in images]

    def _deployed(
        self, memory: jax.Array, x: jax.Array, images: Sequence[jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Returns memory (B, H) and features (B, P') of one step: x (B, P), images (B, H, W, C)."""
        eyes = self._keypoints([to_float(i) for i in images])
        x = jnp.concatenate((*eyes, x), axis=-1) if eyes else x
        if not self.rnn_hidden:
            return memory, x
        memory, _ = nn.GRUCell(self.rnn_hidden)(memory, x)
        return memory, memory


def merge_time(x: jax.Array) -> jax.Array:
    """Returns (B T, ...) of x (T, B, ...), worlds first: those of one device stay together."""
    return x.swapaxes(0, 1).reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def split_time(x: jax.Array, steps: int) -> jax.Array:
    """Returns (T, B, ...) of x (B T, ...) with T = ``steps``: what `merged` undoes."""
    return x.reshape(x.shape[0] // steps, steps, *x.shape[1:]).swapaxes(0, 1)


def soft_argmax(features: jax.Array) -> jax.Array:
    """Returns (N, 2C) the expected column and row, in [-1, 1], of C feature maps (N, H, W, C)."""
    height, width = features.shape[1:3]
    flat = features.reshape(features.shape[0], height * width, -1)
    weight = jax.nn.softmax(flat, axis=1)
    rows, cols = jnp.meshgrid(
        jnp.linspace(-1, 1, height), jnp.linspace(-1, 1, width), indexing="ij"
    )
    grid = jnp.stack((cols.reshape(-1), rows.reshape(-1)))  # (2, HW)
    return jnp.einsum("gp,npc->ngc", grid, weight).reshape(features.shape[0], -1)


def soft_argmax_deployed(features: jax.Array) -> jax.Array:
    """Returns what `soft_argmax` does, of feature maps (N, C, H, W): one softmax, one product."""
    count, channels, height, width = features.shape
    weight = jax.nn.softmax(features.reshape(count, channels, height * width))
    rows, cols = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    grid = np.stack((cols.ravel(), rows.ravel()), -1).astype(np.float32)  # (HW, 2)
    return jnp.matmul(weight, grid).swapaxes(1, 2).reshape(count, 2 * channels)


class ImageEncoder(nn.Module):
    """Images (N, H, W, 3) in [-0.5, 0.5] -> keypoints (N, 2C), on a grid of `block_of` pixels.

    Convolutions half as large in stride as in size lead down to that grid, one to `BLOCK` pixels
    and, where places are larger, one more by two. Each is written over blocks of s by s pixels
    (size 2, stride 1, s^2 times the channels): the same function in larger matrix products.
    Deployed it is the convolution of size 2 s and stride s, as ONNX Runtime likes it.

    The maps before the softmax are sown as "maps" (N, H/s, W/s, C): a loss may tell the first of
    them where to look.
    """

    channels: int = 16
    dtype: jnp.dtype = jnp.float32
    deployed: bool = False

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        """Returns the keypoints."""
        coarse = block_of(*image.shape[1:3]) > BLOCK
        x = image.transpose(0, 3, 1, 2) if self.deployed else image.astype(self.dtype)
        x = self._down(x, BLOCK, (self.channels + 1) // 2 if coarse else self.channels)
        if coarse:
            x = self._down(x, 2, self.channels)
        x = nn.relu(Conv(self.channels, 3, pad=1, deployed=self.deployed)(x))
        maps = Conv(self.channels, 1, deployed=self.deployed)(x)
        if self.deployed:
            return soft_argmax_deployed(maps)
        maps = maps.astype(jnp.float32)
        self.sow("intermediates", "maps", maps)
        return soft_argmax(maps)

    def _down(self, x: jax.Array, stride: int, features: int) -> jax.Array:
        """Applies a convolution of size 2 s and stride s, and a rectifier."""
        edge = stride // 2
        if self.deployed:
            return nn.relu(Conv(features, 2, pad=edge, block=stride, deployed=True)(x))
        x = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        return nn.relu(Conv(features, 2)(blocks(x, stride)))


def blocks(x: jax.Array, size: int) -> jax.Array:
    """Returns x (N, H, W, C) as blocks of pixels, (N, H / size, W / size, size^2 C).

    Row by row of the blocks: a transposition of all takes a CPU twice as long.
    """
    n, height, width, channels = x.shape
    rows = x.reshape(n, height // size, size, width // size, size * channels)
    return jnp.concatenate([rows[:, :, row] for row in range(size)], axis=-1)


def features_of(backbone: Backbone, images: jax.Array) -> jax.Array:
    """Returns the feature maps of pictures (N, H, W, 3F), those of F frames side by side."""
    count, height, width, channels = images.shape
    frames = channels // 3
    if frames == 1:
        return backbone(images)
    apart = images.reshape(count, height, width, frames, 3).transpose(0, 3, 1, 2, 4)
    maps = backbone(apart.reshape(count * frames, height, width, 3))
    maps = maps.reshape(count, frames, *maps.shape[1:])
    if backbone.deployed:
        return maps.reshape(count, frames * maps.shape[2], *maps.shape[3:])
    return maps.transpose(0, 2, 3, 1, 4).reshape(count, *maps.shape[2:4], -1)


class KeypointHead(nn.Module):
    """Feature maps (N, H, W, D) of a pretrained backbone -> keypoints (N, 2C).

    A convolution of size 3 looks for C things, and `soft_argmax` says where they are. Its maps are
    sown as those of `ImageEncoder`. Deployed, feature maps are (N, D, H, W).
    """

    channels: int = 16
    deployed: bool = False

    @nn.compact
    def __call__(self, maps: jax.Array) -> jax.Array:
        """Returns the keypoints."""
        found = Conv(self.channels, 3, pad=1, deployed=self.deployed)(maps)
        if self.deployed:
            return soft_argmax_deployed(found)
        self.sow("intermediates", "maps", found)
        return soft_argmax(found)


@struct.dataclass
class StudentOutput:
    """What a student makes of T steps in B worlds, fields (T, B, ...); deployed, of one: (B, ...).

    Attributes:
        rnn_state: (H,) recurrent state after each step.
        policy: distribution of raw actions, (J,).
        estimate: (L,) where the thing to find is; the layers that act do not bend it.
        value: () the value of the world; 0 without a value head.
        features: (F,) what acts: the memory, or without one the keypoints and then the readings.
    """

    rnn_state: jax.Array
    policy: Gaussian
    estimate: jax.Array
    value: jax.Array
    features: jax.Array


class StudentNetwork(nn.Module):
    """Images and joint readings over time -> action distribution, and where the thing to find is.

    The parameters of its `Trunk` stand beside its own, not below a name.

    Attributes:
        hidden: sizes of the layers after the image encoder.
        num_actions: J.
        num_labels: L, size of the auxiliary estimate; 0 where there is nothing to find.
        cnn_channels: feature maps of each image encoder.
        rnn_hidden: size of the memory (GRU), H; 0 remembers nothing.
        value_head: whether it also learns what a world is worth.
        deployed: laid out for ONNX, for one step that continues an episode: there is no T.
        encoder: what finds features in pictures.
    """

    hidden: Sequence[int]
    num_actions: int
    num_labels: int
    cnn_channels: int = 16
    rnn_hidden: int = 0
    value_head: bool = False
    deployed: bool = False
    encoder: EncoderConfig = EncoderConfig()

    @nn.compact
    def __call__(
        self,
        rnn_state: jax.Array,
        obs: jax.Array,
        images: Sequence[jax.Array],
        is_first: jax.Array,
    ) -> StudentOutput:
        """Applies the network.

        Args:
            rnn_state: (B, H) before the first step.
            obs: (T, B, P) normalized readings.
            images: per camera (T, B, H, W, C), uint8 (uint16 of depth), or float in [-0.5, 0.5].
            is_first: (T, B) bool: an episode begins here, what was before is forgotten.
        """
        trunk = Trunk(
            self.cnn_channels, self.rnn_hidden, deployed=self.deployed, encoder=self.encoder
        )
        nn.share_scope(self, trunk)
        kept, features = trunk(rnn_state, obs, images, is_first)
        x = features if self.deployed else merge_time(features)
        estimate = Mlp((*ESTIMATE, self.num_labels))(x) if self.num_labels else x[..., :0]
        known = jnp.concatenate((x, jax.lax.stop_gradient(estimate)), -1)
        mean = Mlp((*self.hidden, self.num_actions), last_scale=0.1)(known)
        log_std = self.param("log_std", nn.initializers.constant(-1.0), (self.num_actions,))
        value = jnp.zeros(x.shape[:-1])
        if self.value_head:
            value = CriticHead(self.hidden, name="value")(known)
        answers = gaussian(mean, log_std), estimate, value
        if not self.deployed:
            answers = jax.tree.map(lambda y: split_time(y, obs.shape[0]), answers)
        return StudentOutput(kept, *answers, features)
