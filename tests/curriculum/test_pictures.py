"""Looks scheduled picture by picture: whose scores count for which rows, and for which look."""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.pictures import picture_rows, schedule_by_pictures, scored_pictures
from mjx_s2r.params import ParamSpace, add, set_to
from mjx_s2r.sim.interface import EpisodeParams
from tests.curriculum.fakes import episodes_of

SPACE = ParamSpace(
    (
        add("mass", "model.body_mass", ("a",), (-1.0, 1.0)),
        add("light", "visual.ambient", (), (-1.0, 1.0)),
        set_to("late", "visual.frame_delay_s", (), (0.0, 0.1), unit="s"),
    )
)
CONFIG = ADRConfig(window=4, step=0.25, boundary_share=0.5)
LIGHT_HIGH, LATE_HIGH = 3, 5


def both() -> tuple:
    """Returns ADR over light by pictures, over mass and delay by episodes."""
    shown = picture_rows(SPACE)
    return schedule_by_pictures(SPACE, adr(SPACE, CONFIG, ~shown), adr(SPACE, CONFIG, shown))


def test_a_single_picture_shows_looks_and_not_when_it_arrives() -> None:
    np.testing.assert_array_equal(picture_rows(SPACE), (False, True, False))


def test_pictures_move_looks_and_episodes_move_the_rest() -> None:
    whole, pictures = both()
    state = whole.update(whole.init(), episodes_of(SPACE, [LATE_HIGH] * 4, [1] * 4))
    report = whole.report(state)
    np.testing.assert_allclose(report.high, (0, 0, 0.025), atol=1e-7)
    state = pictures.update(state, episodes_of(SPACE, [LIGHT_HIGH] * 4, [1] * 4))
    report = whole.report(state)
    np.testing.assert_allclose(report.high, (0, 0.5, 0.025), atol=1e-7)
    np.testing.assert_allclose(report.low, (0, 0, 0), atol=1e-7)


def test_the_worlds_of_episodes_wear_looks_from_the_ranges_of_pictures(key: jax.Array) -> None:
    whole, pictures = both()
    state = pictures.update(whole.init(), episodes_of(SPACE, [LIGHT_HIGH] * 4, [1] * 4))
    draw = whole.sample(state, 2000, key)
    light = np.asarray(draw.xi[:, 1])
    assert light.min() >= 0 and 0.49 < light.max() <= np.float32(0.5)
    assert set(np.unique(draw.kind)) == {-1, 0, 1, LATE_HIGH}, "no episode tests a look"
    shares = np.mean(light == 0), np.mean(light == np.float32(0.5))  # of 2000, deviation 0.0001
    assert max(shares) < 0.01, "nor does one wear the look of a test"
    tests = set(np.unique(pictures.sample(state, 2000, key).kind))
    assert tests == {-1, 2, 3}, "no picture tests anything else"


def test_a_late_picture_counts_for_the_look_that_it_shows() -> None:
    """Three steps of four worlds: on time, one step late, repeated for ever, cameras differ."""
    steps, worlds = 3, 4
    drawn = jnp.arange(steps * worlds).reshape(steps, worlds)
    looks = EpisodeParams(drawn[..., None].astype(jnp.float32), drawn, drawn)
    age = jnp.array([[0, 1, 5, -1], [0, 1, 6, -1], [0, 1, 7, 0]])
    score = drawn / 100
    seen = scored_pictures(looks, age, score)
    np.testing.assert_array_equal(
        seen.ended,
        ((True, False, False, False), (True, True, False, False), (True, True, False, True)),
    )
    np.testing.assert_array_equal(seen.kind[:, 0], drawn[:, 0])
    np.testing.assert_array_equal(seen.kind[1:, 1], drawn[:-1, 1])
    np.testing.assert_array_equal(seen.xi[2, 3], (drawn[2, 3],))
    np.testing.assert_allclose(seen.score, score)
