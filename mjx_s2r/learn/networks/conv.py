"""A convolution whose kernel gradient is one matrix product.

XLA on a CPU computes the gradient of a kernel as a convolution with a window as large as the
picture, which is several times slower than the forward pass. The gradient is, for each offset
(i, j) in the kernel, the product of the shifted input with the output's gradient:

    dW[i, j] = sum over n, h, w of  x[n, s h + i, s w + j]^T  dy[n, h, w]

All offsets are one product if the shifted copies stand side by side as channels. Either x is
shifted against dy or, with stride 1, dy against x: whichever has fewer numbers to copy.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

_LAYOUT = ("NHWC", "HWIO", "NHWC")


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x: jax.Array, kernel: jax.Array, stride: int, pad: int) -> jax.Array:
    """Returns (N, H', W', D): x (N, H, W, C) convolved with kernel (K, K, C, D)."""
    return _convolve(x, kernel, stride, pad)


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, pad: int) -> jax.Array:
    """Calls XLA's convolution."""
    edges = [(pad, pad), (pad, pad)]
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), edges, dimension_numbers=_LAYOUT
    )


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, pad: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """Returns the output and what the gradients need."""
    return _convolve(x, kernel, stride, pad), (x, kernel)


def _backward(
    stride: int, pad: int, kept: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradients with respect to x and kernel."""
    x, kernel = kept
    dw = _kernel_gradient(x, dy, kernel.shape[0], stride, pad)
    if stride == 1:
        turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return _convolve(dy, turned, 1, kernel.shape[0] - 1 - pad), dw
    return jax.vjp(lambda x: _convolve(x, kernel, stride, pad), x)[1](dy)[0], dw


def _kernel_gradient(x: jax.Array, dy: jax.Array, size: int, stride: int, pad: int) -> jax.Array:
    """Returns (K, K, C, D) the gradient of a kernel: x is (N, H, W, C), dy (N, H', W', D)."""
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    (height, width, channels), (rows, cols, features) = x.shape[1:], dy.shape[1:]
    offsets = [(i, j) for i in range(size) for j in range(size)]
    if stride == 1 and height * width * features < rows * cols * channels:
        after = [
            jnp.pad(dy, ((0, 0), (i, height - rows - i), (j, width - cols - j), (0, 0)))
            for i, j in offsets
        ]
        product = _flat(x).T @ _flat(jnp.concatenate(after, -1))
        return product.reshape(channels, size, size, features).transpose(1, 2, 0, 3)
    down, across = stride * (rows - 1) + 1, stride * (cols - 1) + 1
    under = [x[:, i : i + down : stride, j : j + across : stride] for i, j in offsets]
    product = _flat(dy).T @ _flat(jnp.concatenate(under, -1))
    return product.reshape(features, size, size, channels).transpose(1, 2, 3, 0)


def _flat(x: jax.Array) -> jax.Array:
    """Returns (N H W, C) of x (N, H, W, C)."""
    return x.reshape(-1, x.shape[-1])


conv.defvjp(_forward, _backward)


class Conv(nn.Module):
    """A convolution layer, (N, H, W, C) -> (N, H', W', features), in the type of its input.

    Attributes:
        features: D, feature maps.
        size: K, of the kernel.
        stride: steps between two places of the kernel.
        pad: zeros around the input; pixels, where it is deployed.
        block: the input's channels are those of blocks of so many by so many pixels.
        deployed: the input is (N, C, H, W), without blocks, and so is the output: the layout of
            ONNX, where a kernel over blocks is a larger kernel with a larger stride.
    """

    features: int
    size: int
    stride: int = 1
    pad: int = 0
    block: int = 1
    deployed: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer."""
        channels = x.shape[1] * self.block**2 if self.deployed else x.shape[-1]
        shape = (self.size, self.size, channels, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.deployed:
            return self._apply_deployed(x, kernel) + bias[:, None, None]
        return conv(x, kernel.astype(x.dtype), self.stride, self.pad) + bias.astype(x.dtype)

    def _apply_deployed(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """Returns (N, D, H', W') of x (N, C, H, W)."""
        size, b = self.size, self.block
        whole = kernel.reshape(size, size, b, b, x.shape[1], self.features)
        whole = whole.transpose(5, 4, 0, 2, 1, 3)
        whole = whole.reshape(self.features, x.shape[1], size * b, size * b)
        edges = [(self.pad, self.pad)] * 2
        return jax.lax.conv_general_dilated(
            x, whole, (self.stride * b,) * 2, edges, dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
