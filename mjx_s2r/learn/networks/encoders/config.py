"""Settings of image encoders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mjx_s2r.contract import CameraSignal
from mjx_s2r.learn.networks.encoders.architecture import STAGES, EncoderError, Kind, architecture

Trained = Literal["none", "last", "all"]


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of image encoders."""

    kind: Kind = "scratch"
    """What finds features in pictures: scratch: a few convolutions from nothing; mobilenet_v2 or
    efficientnet_lite0: the first layers of a network that was trained on ImageNet."""
    weights: Path | None = None
    """File of the pretrained network's weights, npz or safetensors, as python -m train weights
    writes it."""
    stage: int = 8
    """Where the pretrained network is cut: pixels of a picture to one place of its feature maps; 4,
    8, 16 or 32. Few keep positions fine, many know more of what is seen."""
    trained: Trained = "none"
    """What is trained of the pretrained network, beside the layers behind it: none, the last blocks
    (those of its stage), or all."""
    rate: float = 0.1
    """Learning rate of what is trained of the pretrained network, as a share of the rest's."""
    sha256: str = ""
    """Checksum that the file of weights must have; a run keeps that of the file it began with."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            EncoderError: a setting that cannot work, named.
        """
        if self.kind not in get_args(Kind):
            raise EncoderError(f"encoder.kind {self.kind!r}: one of {', '.join(get_args(Kind))}")
        if self.stage not in STAGES:
            raise EncoderError(f"encoder.stage {self.stage}: one of {', '.join(map(str, STAGES))}")
        if self.trained not in get_args(Trained):
            known = ", ".join(get_args(Trained))
            raise EncoderError(f"encoder.trained {self.trained!r}: one of {known}")
        if not 0 < self.rate <= 1:
            raise EncoderError(f"encoder.rate {self.rate} must lie above 0 and not above 1")
        if self.kind == "scratch" and self.weights is not None:
            raise EncoderError(
                f"encoder.weights {self.weights}: an encoder from scratch takes none; name the "
                "network, e.g. --distill.encoder.kind mobilenet_v2"
            )

    @property
    def pretrained(self) -> bool:
        """Whether there is a pretrained network."""
        return self.kind != "scratch"

    @property
    def first_trained(self) -> int:
        """Index of the first block that is trained; the stem is trained with block 0.

        The number of blocks where none is.
        """
        blocks = architecture(self.kind).blocks_to(self.stage)
        if self.trained == "all":
            return 0
        if self.trained == "none":
            return len(blocks)
        return next(i for i, block in enumerate(blocks) if block.stage == self.stage)


def check_encoder(config: EncoderConfig, cameras: Sequence[CameraSignal]) -> None:
    """Checks, before anything is built, that a pretrained network can take the pictures.

    Raises:
        EncoderError: a depth camera; a height or width that is no multiple of the stage, or that
            leaves fewer than two places.
    """
    for c in cameras if config.pretrained else ():
        if c.kind != "rgb":
            raise EncoderError(
                f"camera {c.name!r}: {config.kind} knows colours, not depth; take encoder.kind "
                "scratch"
            )
        least = 2 * config.stage
        if min(c.height, c.width) < least or c.height % config.stage or c.width % config.stage:
            raise EncoderError(
                f"camera {c.name!r}: pictures of {c.height}x{c.width} px for feature maps of one "
                f"place to {config.stage} px; take multiples of {config.stage} px, {least}x{least} "
                "at least, or a smaller encoder.stage"
            )
