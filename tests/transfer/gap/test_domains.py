"""Sets of pictures: equal ones cannot be told apart, and distances are those of a closed form."""

import numpy as np
import pytest

from mjx_s2r.transfer.gap.domains import compare_domains, frechet, picture_features

FLIGHT = np.repeat(np.arange(10), 20)


def scenes(rng: np.random.Generator, brightness: float = 1.0) -> np.ndarray:
    """Returns (200, 16, 16, 3) pictures; those of one flight share a background."""
    ground = rng.uniform(60, 160, (10, 1, 1, 3))[FLIGHT]
    noise = rng.normal(0, 20, (200, 16, 16, 3))
    return np.clip(brightness * (ground + noise), 0, 255).astype(np.uint8)


def test_pictures_of_one_kind_cannot_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    found = [compare_domains(scenes(rng), scenes(rng), FLIGHT, FLIGHT) for _ in range(5)]
    assert np.mean([gap.accuracy.value for gap in found]) == pytest.approx(0.5, abs=0.12)
    assert np.median([gap.distance for gap in found]) < 2
    assert (found[0].robot, found[0].simulated) == (200, 200)


def test_the_interval_counts_flights_and_not_pictures() -> None:
    """Flights differ by their light alone, so of 12 intervals two at most leave out 50 %."""
    flight, left_out = np.repeat(np.arange(5), 20), 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        light = 120 + rng.normal(0, 10, (2, 5, 1, 1, 3))[:, flight]
        robot, simulated = np.clip(light + rng.normal(0, 8, (2, 100, 8, 8, 3)), 0, 255)
        accuracy = compare_domains(robot, simulated, flight, flight).accuracy
        left_out += not accuracy.low <= 0.5 <= accuracy.high
    assert left_out <= 2


def test_darker_pictures_of_the_same_scenes_are_told_apart() -> None:
    same = scenes(np.random.default_rng(1)).astype(float)
    dark = np.clip(0.4 * same, 0, 255)
    gap = compare_domains(dark, same, FLIGHT, FLIGHT)
    assert gap.accuracy.low > 0.9 and gap.distance > 3


def test_the_distance_of_gaussians_is_the_closed_form() -> None:
    """With diagonal covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=(100_000, 2)) * (1.0, 2.0)
    other = rng.normal(size=(100_000, 2)) * (3.0, 2.0) + (1.0, 0.0)
    assert frechet(one, other) == pytest.approx(1 + 4, rel=0.03)
    assert frechet(one, one) == pytest.approx(0.0, abs=1e-9)


def test_a_thumbnail_holds_the_means_of_its_blocks() -> None:
    picture = np.zeros((1, 16, 16, 1))
    picture[0, :2, :2] = 8.0
    features = picture_features(picture)
    assert features.shape == (1, 64 + 2) and features[0, 0] == 8.0 and not features[0, 1:64].any()
    assert features[0, 64] == pytest.approx(8 / 64)


def test_one_flight_is_too_few() -> None:
    rng = np.random.default_rng(3)
    with pytest.raises(ValueError, match=r"at least 2 flights are needed \(robot\)"):
        compare_domains(scenes(rng), scenes(rng), 0 * FLIGHT, FLIGHT)
