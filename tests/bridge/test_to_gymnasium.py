"""Our worlds behind Gymnasium's vector interface: ends, renewals and seeds, in its three modes."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from gymnasium.vector import AutoresetMode, VectorEnv

from mjx_s2r.bridge.to_gymnasium import GymnasiumVectorEnv
from mjx_s2r.params import Param, ParamSpace
from tests.bridge.fakes import Gain

ROW = Param("gain", "world.gain", initial=(0.5, 2.0), limits=(0.5, 2.0))
SPACE = ParamSpace((ROW,))
STEP = np.float32([[0.25], [0.0], [0.0]])


def worlds(autoreset: str, count: int = 3, space: ParamSpace = SPACE) -> GymnasiumVectorEnv:
    """Returns worlds that show x and the gain."""
    return GymnasiumVectorEnv(Gain(space), count, obs="privileged", autoreset=autoreset)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def following() -> GymnasiumVectorEnv:
    """Worlds renewed at the next step."""
    return worlds("NextStep")


@pytest.fixture(scope="module")
def same() -> GymnasiumVectorEnv:
    """Worlds renewed at once."""
    return worlds("SameStep")


def test_it_is_a_vector_env_and_says_what_it_takes(following: GymnasiumVectorEnv) -> None:
    assert isinstance(following, VectorEnv)
    assert following.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert following.single_observation_space.shape == (2,)
    assert following.action_space.shape == (3, 1)
    obs, info = following.reset(seed=0)
    assert following.observation_space.contains(obs) and info == {}
    assert obs.flags.writeable


def test_world_i_of_seed_s_is_world_0_of_seed_s_plus_i(following: GymnasiumVectorEnv) -> None:
    first, _ = following.reset(seed=7)
    again, _ = following.reset(seed=7)
    np.testing.assert_array_equal(first, again)
    listed, _ = following.reset(seed=[8, 9, 7])
    np.testing.assert_array_equal(listed, first[[1, 2, 0]])
    later, _ = following.reset()
    assert not (later == listed).any()
    assert len(np.unique(first)) == 6 and (first[:, 1] >= 0.5).all() and (first[:, 1] <= 2).all()


def test_next_step_renews_after_the_last_observation(following: GymnasiumVectorEnv) -> None:
    start, _ = following.reset(seed=1)
    for n in range(1, 6):
        obs, reward, terminated, truncated, info = following.step(0 * STEP)
        np.testing.assert_array_equal(obs, start)
        np.testing.assert_allclose(reward, start[:, 0])
        assert not terminated.any() and truncated.tolist() == [n == 5] * 3
        assert info["length"].tolist() == [n] * 3 and info["_length"].all()
    np.testing.assert_allclose(info["return"], 5 * start[:, 0], rtol=1e-5)
    obs, reward, terminated, truncated, info = following.step(0 * STEP + 1)  # not used
    assert not (obs == start).any() and (np.abs(obs[:, 0]) < 0.1).all()
    assert not reward.any() and not terminated.any() and not truncated.any()
    assert info["length"].tolist() == [0] * 3
    moved = following.step(0 * STEP)[0]
    np.testing.assert_array_equal(moved, obs)


def test_only_the_world_that_ended_is_renewed(same: GymnasiumVectorEnv) -> None:
    start, _ = same.reset(seed=2)
    gain = start[:, 1]
    action = np.float32([[1.1 / gain[0] if gain[0] > 1.1 else 1.0], [0.1], [0.1]])
    ends = 0
    for _ in range(3):
        obs, reward, terminated, truncated, info = same.step(action)
        ends += int(terminated[0])
        if terminated[0]:
            break
    assert ends == 1 and not truncated.any() and not terminated[1:].any()
    assert info["_final_obs"].tolist() == [True, False, False]
    assert info["final_obs"][0][0] > 1 and info["final_obs"][1] is None
    assert reward[0] == pytest.approx(info["final_obs"][0][0])
    assert info["final_info"]["success"].tolist() == [1, 0, 0]
    assert info["final_info"]["_length"].tolist() == [True, False, False]
    assert info["_length"].tolist() == [False, True, True]
    assert abs(obs[0, 0]) < 0.1 and obs[0, 1] != gain[0]  # a new start, new parameters
    np.testing.assert_array_equal(obs[1:, 1], gain[1:])


def test_disabled_waits_for_a_mask() -> None:
    env = worlds("Disabled", 2)
    start, _ = env.reset(seed=3)
    push = np.float32([[0.0], [1.0]])
    while not env.step(push)[2].any():
        pass
    with pytest.raises(ValueError, match=r"worlds \[1\] have ended"):
        env.step(push)
    with pytest.raises(ValueError, match="must be bool"):
        env.reset(options={"reset_mask": np.ones(3, bool)})
    obs, _ = env.reset(options={"reset_mask": np.array([False, True])})
    np.testing.assert_array_equal(obs[0], start[0])
    assert abs(obs[1, 0]) < 0.1 and obs[1, 1] != start[1, 1]
    assert env.step(push)[4]["length"][1] == 1


def test_rows_per_world_keep_their_value_until_a_new_seed() -> None:
    env = worlds("NextStep", 2, ParamSpace((replace(ROW, resample="world"),)))
    first, _ = env.reset(seed=0)
    later, _ = env.reset()
    np.testing.assert_array_equal(first[:, 1], later[:, 1])
    assert not (first[:, 0] == later[:, 0]).any()
    other, _ = env.reset(seed=5)
    assert not (other[:, 1] == first[:, 1]).any()


def test_wrong_calls_are_named(following: GymnasiumVectorEnv) -> None:
    with pytest.raises(ValueError, match="step before reset"):
        worlds("NextStep").step(STEP)
    with pytest.raises(ValueError, match=r"shape \(3,\), not \(3, 1\)"):
        following.step(STEP[:, 0])
    with pytest.raises(ValueError, match="2 seeds for 3 worlds"):
        following.reset(seed=[1, 2])
