"""python -m train weights FILE -o WEIGHTS: converts the weights of a pretrained network.

FILE is what torch.save wrote of torchvision's MobileNetV2 or of EfficientNet-Lite0. It is read
without PyTorch, and nothing in it is run. WEIGHTS is an npz or a safetensors file for
`train student --distill.encoder.weights`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mjx_s2r.learn.networks.encoders.convert import convert_weights
from mjx_s2r.runtime.progress import print_line


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Settings of a conversion."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """The maker's file."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Where the weights go; the name ends in .npz or .safetensors."""


def main(argv: Sequence[str]) -> None:
    """Parses the command line and converts the weights."""
    config = tyro.cli(WeightsConfig, args=list(argv))
    done = convert_weights(config.source, config.out)
    proved = (
        "which the conversion was proved on"
        if done.proved
        else ("which nobody has proved the conversion on: look at its classes on pictures you know")
    )
    print_line(f"{config.source}: {done.kind}, SHA-256 {done.source_sha256}, {proved}")
    print_line(f"{config.out}: SHA-256 {done.sha256}")
