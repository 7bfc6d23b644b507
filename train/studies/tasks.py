"""Tasks of studies: shipped ones with rules under which robots can be told apart."""

from mjx_s2r.envs.cartpole import Cartpole


def quick_cartpole() -> Cartpole:
    """Returns the cartpole with half of the time: it must stand upright for 2 s within 5 s.

    In 10 s a policy copes with nearly any cart by trying again.
    """
    return Cartpole(name="cartpole_quick", episode_s=5.0)
