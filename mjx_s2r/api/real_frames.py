"""Real frames for an adaptation: from rows of demonstrations to the arrays of its updates."""

from dataclasses import dataclass
from typing import Any, cast

import jax
import numpy as np

from mjx_s2r.learn.adapt.adaptation import RealBatch, RealFrames
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.transfer.demonstrations.batches import RowSampler, batch_rng

LABELLED, TARGET = 1, 2  # streams of random numbers


@dataclass(frozen=True, eq=False)
class RealFeed:
    """Gives each iteration its real frames, which follow from the seed and its number alone.

    Attributes:
        seed: of the draws.
        settings: how many frames.
        labelled: demonstrations; None where there are none.
        target: pictures to align with; None takes the demonstrations.
        held_out: demonstrations to judge by; the same in every iteration.
    """

    seed: int
    settings: AdaptationConfig
    labelled: RowSampler | None
    target: RowSampler | None
    held_out: RealFrames | None

    def __call__(self, iteration: int) -> RealBatch:
        """Returns the frames of one iteration, (G, T, M, ...) for its G gradient steps."""
        return RealBatch(
            labelled=self._drawn(self.labelled, iteration, LABELLED),
            target=self._drawn(self.target, iteration, TARGET),
            held_out=self.held_out,
        )

    def _drawn(self, sampler: RowSampler | None, iteration: int, stream: int) -> RealFrames | None:
        """Returns the frames of one iteration from one set."""
        if sampler is None:
            return None
        rng = batch_rng(self.seed, iteration, stream)
        steps, size = self.settings.num_minibatches, self.settings.real_batch
        rows = sampler.draw(steps * size, rng=rng)
        frames = frames_of(sampler, rows, rng=rng)

        def apart(x: np.ndarray) -> np.ndarray:
            """Returns (G, T, M, ...) of (T, G M, ...)."""
            return np.moveaxis(x.reshape(x.shape[0], steps, size, *x.shape[2:]), 1, 0)

        return cast(RealFrames, jax.tree.map(apart, frames))


def frames_of(
    sampler: RowSampler, rows: np.ndarray, *, rng: np.random.Generator | None = None
) -> RealFrames:
    """Returns the frames of rows (T, M).

    Args:
        sampler: of the set.
        rows: row numbers.
        rng: random numbers for the mixing; may be left out where there is none.
    """
    found, rng = sampler.demonstrations, rng or np.random.default_rng(0)
    arrays: Any = (  # of the host, which jit takes as they are
        np.asarray(found.readings[rows]),
        sampler.pictures(rows, rng=rng),
        sampler.is_first(rows),
        None if found.actions is None else np.asarray(found.actions[rows]),
    )
    return RealFrames(*arrays)
