"""Batches of demonstrations: a function of seed and iteration, so a resumed run draws the same.

Rows are drawn with replacement, stretches of an episode at a time where the policy remembers. A
batch is arrays of the host; `mjx_s2r.learn.adapt` trains on them.
"""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.transfer.demonstrations.compositing import (
    check_green_screen,
    replace_background,
    shine_through,
)
from mjx_s2r.transfer.demonstrations.dataset import Demonstrations

Pictures = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class PictureMixing:
    """What is done to real pictures before they are learned from.

    Attributes:
        replace_screen: probability that another background stands where a green screen was.
        overlay: probability that another picture shines through.
        overlay_strength: largest share of it.
    """

    replace_screen: float = 0.0
    overlay: float = 0.0
    overlay_strength: float = 0.5

    def __post_init__(self) -> None:
        """Checks the shares.

        Raises:
            ValueError: one that does not lie in [0, 1].
        """
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"mixing.{name} {value} must lie in [0, 1]")


@dataclass(frozen=True, eq=False)
class RowSampler:
    """Draws stretches of T rows from chosen rows of a set.

    Attributes:
        demonstrations: the set.
        rows: (N',) which rows, whole episodes.
        steps: T; 1 for a policy without memory.
        mixing: what is done to the pictures.
        pool: per camera (K, H, W, C) what may stand behind or shine through.
    """

    demonstrations: Demonstrations
    rows: np.ndarray
    steps: int = 1
    mixing: PictureMixing = PictureMixing()
    pool: Pictures = ()

    def __post_init__(self) -> None:
        """Checks that there is a screen where one is to be replaced.

        Raises:
            RecordingError: pictures without a green screen.
        """
        if self.mixing.replace_screen:
            for number, camera in enumerate(self.demonstrations.cameras):
                if camera.kind == "rgb":
                    check_green_screen(self.demonstrations, number)

    def draw(self, count: int, *, rng: np.random.Generator) -> np.ndarray:
        """Returns (T, count) row numbers of stretches that begin at random."""
        return self.stretches(self.rows[rng.integers(len(self.rows), size=count)])

    def spread(self, count: int) -> np.ndarray:
        """Returns (T, K) row numbers of at most ``count`` rows, evenly over those chosen."""
        most = max(1, min(count, len(self.rows)) // self.steps)
        return self.stretches(self.rows[np.linspace(0, len(self.rows) - 1, most).astype(int)])

    def stretches(self, chosen: np.ndarray) -> np.ndarray:
        """Returns (T, M) row numbers from ``chosen`` (M,) on, each within its episode.

        A stretch that would pass its episode's end begins sooner; a shorter episode begins anew
        behind its end, see `is_first`.
        """
        ends = self.demonstrations.starts
        episode = np.searchsorted(ends, chosen, side="right") - 1
        first, stop = ends[episode], ends[episode + 1]
        start = np.maximum(np.minimum(chosen, stop - self.steps), first)
        return np.asarray(first + (start - first + np.arange(self.steps)[:, None]) % (stop - first))

    def is_first(self, rows: np.ndarray) -> np.ndarray:
        """Returns (T, M) bool: a policy that remembers begins anew before these rows.

        That is the start of a stretch, and of an episode.
        """
        first = np.isin(rows, self.demonstrations.starts)
        first[0] = True
        return first

    def pictures(self, rows: np.ndarray, *, rng: np.random.Generator) -> Pictures:
        """Returns per camera (T, M, H, W, C) what the policy sees, after the mixing."""
        found = []
        for number, camera in enumerate(self.demonstrations.cameras):
            seen = self.demonstrations.pictures(number, rows)
            if camera.kind == "rgb":
                seen = self._mixed(seen, number, rng)
            found.append(seen)
        return tuple(found)

    def _mixed(self, seen: np.ndarray, camera: int, rng: np.random.Generator) -> np.ndarray:
        """Returns pictures (T, M, H, W, 3 F); frames of a stack and stretch are treated alike."""
        mixing = self.mixing
        if not (mixing.replace_screen or mixing.overlay):
            return seen
        steps, count = seen.shape[:2]
        frames = np.split(seen, seen.shape[-1] // 3, axis=-1)
        pool = self.pool[camera]
        behind = pool[rng.integers(len(pool), size=count)]
        replaced = np.less(rng.uniform(size=count), mixing.replace_screen)
        seed = int(rng.integers(2**63))
        out = []
        for frame in frames:
            for t in range(steps):
                if replaced.any():
                    frame[t, replaced] = replace_background(frame[t, replaced], behind[replaced])
                if mixing.overlay:
                    same = np.random.default_rng(seed)
                    given = mixing.overlay, mixing.overlay_strength
                    frame[t] = shine_through(frame[t], pool, *given, rng=same)
            out.append(frame)
        return np.concatenate(out, axis=-1)


def batch_rng(seed: int, iteration: int, stream: int) -> np.random.Generator:
    """Returns the random numbers of one iteration; each ``stream`` has its own."""
    return np.random.default_rng((seed, iteration, stream))
