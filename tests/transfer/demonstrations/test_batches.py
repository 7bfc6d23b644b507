"""Batches of demonstrations, and pictures put together: closed forms and repeatability."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.transfer.demonstrations.batches import (
    PictureMixing,
    RowSampler,
    batch_rng,
)
from mjx_s2r.transfer.demonstrations.compositing import (
    green_screen_matte,
    put_over,
    replace_background,
    shine_through,
    without_spill,
    write_backgrounds,
)
from mjx_s2r.transfer.demonstrations.dataset import (
    DemonstratedEpisode,
    Demonstrations,
    split_episodes,
)
from mjx_s2r.transfer.recording import RecordingError
from tests.transfer.demonstrations.flown import CAMERA, CONTRACT

GREEN = (20, 230, 30)


def demonstrated(screen: bool = False, frames: int = 1) -> Demonstrations:
    """Returns episodes of 5, 2 and 8 rows whose pictures and readings tell the row."""
    rows = 15
    images = np.zeros((rows, 16, 24, 3), np.uint8)
    images[:] = GREEN if screen else (90, 80, 100)
    images[:, 4:8, 4:8] = np.arange(rows)[:, None, None, None] * 10
    return Demonstrations(
        cameras=(replace(CAMERA, frames=frames),),
        images=(images,),
        shown=(np.arange(rows),),
        readings=np.arange(rows, dtype=np.float32)[:, None] * np.ones(CONTRACT.size, np.float32),
        actions=np.zeros((rows, 2), np.float32),
        episodes=tuple(DemonstratedEpisode(f"e{n}", n) for n in (5, 2, 8)),
        period_s=0.1,
        source="set",
    )


def test_a_batch_follows_from_seed_and_iteration() -> None:
    pool = (np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8),)
    mixing = PictureMixing(replace_screen=0.5, overlay=0.5)
    sampler = RowSampler(demonstrated(screen=True), np.arange(15), 2, mixing, pool)

    def drawn(iteration: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows and pictures of one iteration."""
        rng = batch_rng(5, iteration, 0)
        rows = sampler.draw(64, rng=rng)
        return rows, sampler.pictures(rows, rng=rng)[0]

    for first, second in zip(drawn(3), drawn(3), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (drawn(3)[0] != drawn(4)[0]).any()
    assert batch_rng(5, 3, 0).uniform() != batch_rng(5, 3, 1).uniform()


def test_stretches_stay_within_their_episode() -> None:
    found = demonstrated()
    split = split_episodes(found, 0.3, seed=1)
    sampler = RowSampler(found, split.learned, 4)
    rows = sampler.draw(500, rng=np.random.default_rng(0))
    episode = found.episode_of[rows]
    assert (episode == episode[0]).all() and set(episode[0]) == set(split.learned_episodes)
    going_on = np.diff(rows, axis=0) == 1
    first = sampler.is_first(rows)
    assert first[0].all()
    np.testing.assert_array_equal(~going_on, first[1:])  # a short episode begins anew
    assert set(np.unique(rows)) == set(split.learned)  # every row is drawn


def test_rows_are_drawn_evenly_without_memory() -> None:
    sampler = RowSampler(demonstrated(), np.arange(15))
    rows = sampler.draw(15_000, rng=np.random.default_rng(0))
    counts = np.bincount(rows[0], minlength=15)
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)  # five standard deviations


def test_a_matte_is_the_difference_of_green() -> None:
    """From 0.08 to 0.3 of full scale: 0.19 is half."""
    pixels = np.zeros((1, 4, 3), np.uint8)
    pixels[0, 1] = GREEN
    pixels[0, 2] = (100, 148, 80)  # 48 / 255 = 0.188 more than red
    pixels[0, 3] = (100, 110, 120)
    np.testing.assert_allclose(green_screen_matte(pixels)[0], [1, 0, 0.508, 1], atol=1e-3)
    np.testing.assert_array_equal(without_spill(pixels)[0, 2], (100, 100, 80))
    np.testing.assert_array_equal(without_spill(pixels)[0, 3], pixels[0, 3])


def test_over_is_the_weighted_mean() -> None:
    front, back = np.full((1, 1, 3), 200, np.uint8), np.full((1, 1, 3), 100, np.uint8)
    for share, expected in ((0.0, 100), (0.25, 125), (1.0, 200)):
        assert (put_over(front, np.full((1, 1), share), back) == expected).all()


def test_things_before_the_screen_stay() -> None:
    found = demonstrated(screen=True)
    behind = np.random.default_rng(0).integers(0, 256, (15, 16, 24, 3), np.uint8)
    replaced = replace_background(found.images[0], behind)
    thing = np.zeros((16, 24), bool)
    thing[4:8, 4:8] = True
    np.testing.assert_array_equal(replaced[:, thing], found.images[0][:, thing])
    np.testing.assert_array_equal(replaced[:, ~thing], behind[:, ~thing])
    with pytest.raises(RecordingError, match=r"0\.0 % of the pictures of camera 'front'"):
        RowSampler(demonstrated(), np.arange(15), mixing=PictureMixing(replace_screen=1.0))


def test_an_overlay_keeps_shares_and_probability() -> None:
    pictures, pool = np.zeros((4000, 1, 1, 3), np.uint8), np.full((1, 1, 1, 3), 255, np.uint8)
    seen = shine_through(pictures, pool, 0.25, 0.5, rng=np.random.default_rng(0))[:, 0, 0, 0] / 255
    assert (seen > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert seen.max() <= 0.51 and seen[seen > 0].mean() == pytest.approx(0.25, abs=0.02)


def test_frames_of_a_stack_are_treated_alike() -> None:
    pool = (np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8),)
    found, rows = demonstrated(frames=2), np.array([[0, 5, 7]])  # first rows: both frames are one
    sampler = RowSampler(found, np.arange(15), 1, PictureMixing(overlay=1.0), pool)
    seen = sampler.pictures(rows, rng=np.random.default_rng(1))[0]
    np.testing.assert_array_equal(seen[..., :3], seen[..., 3:])
    assert (seen[..., :3] != found.images[0][rows]).any()
    judging = replace(sampler, rows=np.arange(5), mixing=PictureMixing())
    plain = judging.pictures(rows, rng=np.random.default_rng(1))[0]
    np.testing.assert_array_equal(plain[..., :3], found.images[0][rows])


def test_real_frames_become_photographs(tmp_path: Path) -> None:
    found = demonstrated()
    assert write_backgrounds(found, 0, tmp_path / "backs", 3) == 3
    for file, row in zip(sorted((tmp_path / "backs").iterdir()), (0, 7, 14), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), found.images[0][row])


def test_shares_outside_of_one_are_named() -> None:
    with pytest.raises(ValueError, match=r"mixing\.overlay 1\.5 must lie in \[0, 1\]"):
        PictureMixing(overlay=1.5)
