"""A curriculum whose looks are scheduled picture by picture, everything else episode by episode.

A policy that sees one picture at a time and remembers none cannot tell whether a world changes its
look between two pictures. Worlds then wear a new look at every control step, and every picture is a
test of the look that it shows: B T scores an iteration instead of the few episodes that end in it.
`schedule_by_pictures` joins two schedules over one table, one for either kind of test:

    episodes    moves its rows by the success of whole episodes; rows of when pictures arrive
                (`FRAME_ARRAYS`) belong here, since a late picture shows in what comes of it
    pictures    moves its rows by the scores of single pictures

Seen from outside it is a `Curriculum` as any other; `PictureSchedule` has the two more functions
that the trainer calls for pictures.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.interface import Curriculum, Episodes, Report, merge_reports, plain_rows
from mjx_s2r.params import ParamSpace
from mjx_s2r.params.camera_rows import FRAME_ARRAYS
from mjx_s2r.sim.interface import EpisodeParams


@struct.dataclass
class PictureState:
    """The states of the schedule of episodes and of that of pictures."""

    episodes: Any
    pictures: Any


class PictureSchedule(NamedTuple):
    """What looks are drawn for single pictures, and how their scores count.

    Attributes:
        sample: (state, n, key) -> EpisodeParams of n pictures, with a leading axis n.
        update: (state, Episodes whose every entry is a picture) -> state.
    """

    sample: Callable[[Any, int, jax.Array], EpisodeParams]
    update: Callable[[Any, Episodes], Any]


def picture_rows(space: ParamSpace) -> np.ndarray:
    """Returns (D,) bool: the rows that a single picture shows."""
    return np.array(
        [row.group == "visual" and row.array not in FRAME_ARRAYS for row in space.rows], bool
    )


def schedule_by_pictures(
    space: ParamSpace, episodes: Curriculum, pictures: Curriculum
) -> tuple[Curriculum, PictureSchedule]:
    """Returns a curriculum made of one for episodes and one for the looks of pictures.

    Args:
        space: the table of both.
        episodes: schedules the rows that no single picture shows; its draws of others are not used.
        pictures: schedules `picture_rows`; its draws of others are not used.
    """
    rows = picture_rows(space)

    def init() -> PictureState:
        return PictureState(episodes.init(), pictures.init())

    def sample(state: PictureState, n: int, key: jax.Array) -> EpisodeParams:
        draw = episodes.sample(state.episodes, n, jax.random.fold_in(key, 0))
        looks = pictures.sample(state.pictures, n, jax.random.fold_in(key, 1))
        plain = plain_rows(looks, jax.random.fold_in(key, 2))  # `sample_pictures` draws the tests
        return replace(draw, xi=jnp.where(jnp.asarray(rows), plain, draw.xi))

    def update(state: PictureState, ended: Episodes) -> PictureState:
        return replace(state, episodes=episodes.update(state.episodes, ended))

    def report(state: PictureState) -> Report:
        other, mine = episodes.report(state.episodes), pictures.report(state.pictures)
        return merge_reports(space, [(~rows, other), (rows, mine)], other.plain_score)

    def sample_pictures(state: PictureState, n: int, key: jax.Array) -> EpisodeParams:
        return pictures.sample(state.pictures, n, key)

    def update_pictures(state: PictureState, seen: Episodes) -> PictureState:
        return replace(state, pictures=pictures.update(state.pictures, seen))

    whole = Curriculum(init, sample, update, report)
    return whole, PictureSchedule(sample_pictures, update_pictures)


def scored_pictures(looks: EpisodeParams, age: jax.Array, score: jax.Array) -> Episodes:
    """Returns the pictures that a policy saw in T steps of B worlds, as a schedule counts them.

    A late or repeated picture is credited to the look that it was drawn with; one drawn before the
    first of these steps is not counted.

    Args:
        looks: (T, B, ...) drawn at each step.
        age: (T, B) int32 control steps since the picture seen at a step was drawn; below zero where
            cameras disagree about it.
        score: (T, B) in [0, 1], what the policy made of the picture.
    """
    steps = jnp.arange(age.shape[0])[:, None] - age
    known = (age >= 0) & (steps >= 0)
    worlds = jnp.arange(age.shape[1])
    shown = jax.tree.map(lambda x: x[jnp.where(known, steps, 0), worlds], looks)
    return Episodes(known, score, shown.kind, shown.version, shown.xi)
