"""Numbers to fold into a random key that is also split.

`jax.random.split(key, n)[i]` and `jax.random.fold_in(key, i)` are the same key, so a small number
folded in meets one of those that a split hands out. These are larger than any split is long. Where
a key is one's own, split it once and name the parts instead.
"""

import jax

FRAMES = 2**31  # pictures that worlds begin with
LOST = FRAMES + 1  # which pictures are lost
EVALUATION = FRAMES + 2  # worlds in which a policy is judged


def evaluation_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Returns a key for the parameters of an evaluation's worlds, and one for its episodes.

    No training of the same seed draws from them, so that a policy is not judged in the worlds that
    it began in.
    """
    key_params, key_play = jax.random.split(jax.random.fold_in(jax.random.key(seed), EVALUATION))
    return key_params, key_play
