"""Layers of the pretrained backbones, as data: inverted residual blocks behind a stem.

MobileNetV2 is table 2 of Sandler et al. 2018, EfficientNet-Lite0 is EfficientNet-B0 (Tan and Le
2019) with ReLU6 and without squeeze and excitation, as its authors released it. A block widens the
channels by a 1x1 convolution, filters each of them, and narrows them by another 1x1 convolution;
where its input has the shape of its output, it is added.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["scratch", "mobilenet_v2", "efficientnet_lite0"]
STEM, HEAD, CLASSES = 32, 1280, 1000  # channels
STAGES = (4, 8, 16, 32)  # pixels of a picture to one place of the feature maps


@dataclass(frozen=True)
class Block:
    """An inverted residual block.

    Attributes:
        inputs: channels that it gets.
        wide: channels between; those it gets where it widens nothing.
        outputs: channels that it gives.
        size: of the filter, px.
        stride: of the filter.
        stage: product of all strides so far, this one's among them.
    """

    inputs: int
    wide: int
    outputs: int
    size: int
    stride: int
    stage: int

    @property
    def adds(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.inputs == self.outputs


@dataclass(frozen=True)
class Architecture:
    """A backbone.

    Attributes:
        name: as in `EncoderConfig.kind`.
        blocks: behind the stem, a 3x3 convolution of stride 2.
        same: zeros around a filter of stride 2 are as few as they can be, more of them below and to
            the right (TensorFlow); else they are as many on every side (PyTorch).
        epsilon: of the batch normalization that its weights were trained with.
        mean: of a colour between 0 and 1, subtracted first.
        std: by which the difference is divided.
    """

    name: str
    blocks: tuple[Block, ...]
    same: bool
    epsilon: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def blocks_to(self, stage: int) -> tuple[Block, ...]:
        """Returns the blocks whose feature maps have one place to ``stage`` pixels, or more."""
        return tuple(block for block in self.blocks if block.stage <= stage)

    def pads(self, size: int, stride: int) -> tuple[int, int]:
        """Returns zeros before and after an even number of pixels, for a filter."""
        total = size - stride if self.same and stride > 1 else size - 1
        before = total // 2
        return before, total - before if self.same else before


def _blocks(rows: tuple[tuple[int, int, int, int, int], ...]) -> tuple[Block, ...]:
    """Returns the blocks of rows (filter size, widening, output channels, repeats, stride)."""
    out: list[Block] = []
    inputs, stage = STEM, 2
    for size, widening, outputs, repeats, first in rows:
        for index in range(repeats):
            stride = first if index == 0 else 1
            stage *= stride
            out.append(Block(inputs, widening * inputs, outputs, size, stride, stage))
            inputs = outputs
    return tuple(out)


MOBILENET_V2 = Architecture(
    name="mobilenet_v2",
    blocks=_blocks(
        (
            *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (3, 6, 32, 3, 2), (3, 6, 64, 4, 2)),
            *((3, 6, 96, 3, 1), (3, 6, 160, 3, 2), (3, 6, 320, 1, 1)),
        )
    ),
    same=False,
    epsilon=1e-5,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
EFFICIENTNET_LITE0 = Architecture(
    name="efficientnet_lite0",
    blocks=_blocks(
        (
            *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2)),
            *((5, 6, 112, 3, 1), (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)),
        )
    ),
    same=True,
    epsilon=1e-3,
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
)
ARCHITECTURES = {a.name: a for a in (MOBILENET_V2, EFFICIENTNET_LITE0)}


def architecture(kind: str) -> Architecture:
    """Returns a backbone by its name.

    Raises:
        EncoderError: there is none of that name.
    """
    if kind not in ARCHITECTURES:
        raise EncoderError(f"encoder.kind {kind!r}: one of scratch, {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[kind]


class EncoderError(ValueError):
    """A pretrained encoder that cannot be: its settings, its weights, or its pictures."""
