"""The max-entropy schedule: it widens where it succeeds, keeps its constraints, and recovers."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

from mjx_s2r.curriculum import beta
from mjx_s2r.curriculum.beta import Betas
from mjx_s2r.curriculum.doraemon_solver import Estimate, MaxentConfig, Problem, estimate, solve
from mjx_s2r.curriculum.interface import Episodes, Moves
from mjx_s2r.curriculum.maxent import MaxentState, add_episodes, maxent
from mjx_s2r.params import Param, ParamError, ParamSpace

SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), limits=(0.5, 1.5)),
        Param("drag", "model.dof_damping", ("j",), limits=(0.1, 10.0), law="log_uniform"),
        Param("delay", "actuator.delay_s", (), None, "set", 0, (0, 0), (0, 4), "categorical"),
    )
)
CONFIG = MaxentConfig(window=256, trust=0.5, success=0.6, steps=60)
DENSE = jnp.array((True, True, False))
NOW = Betas(jnp.full(3, 30.0), jnp.full(3, 30.0))

run = jax.jit(partial(solve, config=CONFIG))
figures = jax.jit(estimate)


def problem(succeeds: object, seed: int = 0) -> Problem:
    """Returns 256 draws from the density now, scored by a function of unit coordinates (N, D)."""
    unit = np.random.default_rng(seed).beta(30.0, 30.0, (256, 3)).astype(np.float32)
    return Problem(NOW, DENSE, jnp.asarray(unit), jnp.asarray(succeeds(unit), jnp.float32))  # type: ignore[operator]


def found(task: Problem) -> tuple[Betas, Estimate]:
    """Returns the next density and its figures."""
    betas = run(task)
    return betas, figures(task, betas)


def test_the_figures_of_a_density_are_those_of_brute_force() -> None:
    task = problem(lambda q: q[:, 0] > 0.45)
    other = Betas(jnp.array((20.0, 35.0, 5.0)), jnp.array((25.0, 30.0, 5.0)))
    mine = figures(task, other)
    q = np.asarray(task.unit, np.float64)[:, :2]
    new = stats.beta.logpdf(q, (20, 35), (25, 30)) - stats.beta.logpdf(q, 30, 30)
    weight = np.exp(new.sum(1))
    assert float(mine.success) == pytest.approx(
        weight @ np.asarray(task.score) / weight.sum(), rel=1e-3
    )
    ess = weight.sum() ** 2 / (weight**2).sum() / 256
    assert float(mine.effective) == pytest.approx(ess, rel=1e-2)
    entropy = stats.beta.entropy((20, 35), (25, 30)).sum()
    assert float(mine.entropy) == pytest.approx(entropy, abs=1e-3)


def test_where_all_succeeds_it_widens_to_the_edge_of_its_trust() -> None:
    task = problem(lambda q: np.ones(len(q)))
    betas, mine = found(task)
    before = float(figures(task, NOW).entropy)
    assert float(mine.entropy) > before + 0.3
    assert 0.35 < float(mine.kl) <= CONFIG.trust + 1e-4
    assert float(mine.effective) >= CONFIG.effective - 1e-4
    np.testing.assert_array_equal((betas.a[2], betas.b[2]), 30.0)  # not its row


def test_it_leaves_failing_worlds_aside_and_keeps_the_success() -> None:
    """Low masses fail: the density of mass moves up, and success stays at the constraint."""
    task = problem(lambda q: q[:, 0] > 0.47)
    assert float(figures(task, NOW).success) > CONFIG.success
    betas, mine = found(task)
    assert float(mine.success) >= CONFIG.success
    assert float(betas.a[0] / (betas.a[0] + betas.b[0])) > 0.505
    assert float(mine.entropy) > float(figures(task, NOW).entropy)


def test_where_the_success_is_too_low_it_seeks_success_first() -> None:
    task = problem(lambda q: q[:, 0] > 0.56)
    before = float(figures(task, NOW).success)
    assert before < 0.25
    _, mine = found(task)
    assert float(mine.success) > before + 0.2
    assert float(mine.kl) <= CONFIG.trust + 1e-4 and float(mine.effective) >= CONFIG.effective


def test_where_nothing_succeeds_it_stays() -> None:
    betas, _ = found(problem(lambda q: np.zeros(len(q))))
    np.testing.assert_array_equal(betas.a, NOW.a)


@pytest.mark.parametrize("shape", [(30.0, 30.0), (26.0, 76.0), (3.0, 60.0), (1.5, 1.2)])
@pytest.mark.parametrize("edge", [0.0, 0.9])
def test_the_answer_is_nearly_that_of_scipy(shape: tuple[float, float], edge: float) -> None:
    """Densities in the middle and at the side, where all succeeds and where a side of one fails."""
    rng, now = np.random.default_rng(1), Betas(*(jnp.full(3, x) for x in shape))
    unit = rng.beta(*shape, (256, 3)).astype(np.float32)
    score = (unit[:, 0] > np.quantile(unit[:, 0], 0.35 * edge)).astype(np.float32)
    task = Problem(now, DENSE, jnp.asarray(unit), jnp.asarray(score))
    start, (_, mine) = figures(task, now), found(task)

    def told(x: np.ndarray, what: str) -> float:
        """Returns a figure of a and b of the two rows that move."""
        a, b = jnp.append(x[:2], shape[0]), jnp.append(x[2:], shape[1])
        return float(getattr(figures(task, Betas(a, b)), what))

    begin = np.repeat(shape, 2)
    limits = [
        {"type": "ineq", "fun": lambda x: CONFIG.trust - told(x, "kl")},
        {"type": "ineq", "fun": lambda x: told(x, "success") - CONFIG.success},
        {"type": "ineq", "fun": lambda x: told(x, "effective") - CONFIG.effective},
    ]
    best = optimize.minimize(
        lambda x: -told(x, "entropy"),
        begin,
        method="SLSQP",
        bounds=[(1.0, 1.0 + CONFIG.start)] * 4,
        constraints=limits,
        options={"eps": 1e-2, "maxiter": 60},
    )
    gain, mine_gain = -best.fun - float(start.entropy), float(mine.entropy - start.entropy)
    assert mine_gain > 0.8 * gain - 0.01 and gain > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_no_answer_breaks_a_constraint(seed: int) -> None:
    rng = np.random.default_rng(seed)
    task = problem(lambda q: rng.random(len(q)) < rng.uniform(0.3, 1), seed)
    betas, mine = found(task)
    enough = float(figures(task, NOW).success) >= CONFIG.success
    assert float(mine.kl) <= CONFIG.trust + 1e-4
    assert float(mine.effective) >= CONFIG.effective - 1e-4
    assert not enough or float(mine.success) >= CONFIG.success
    assert (np.asarray(betas.a) >= 1).all() and (np.asarray(betas.b) >= 1).all()


@pytest.fixture(scope="module")
def trained() -> tuple[MaxentState, np.ndarray]:
    """A schedule after 40 windows in a world where masses below 0.8 fail, and entropies."""
    schedule = maxent(SPACE, CONFIG)

    def one(state: MaxentState, key: jax.Array) -> tuple[MaxentState, jax.Array]:
        """Plays a window."""
        draw = schedule.sample(state, CONFIG.window, key)
        score = (draw.xi[:, 0] > 0.8).astype(jnp.float32)
        what = Episodes(jnp.ones_like(score, bool), score, draw.kind, draw.version, draw.xi)
        state = schedule.update(state, jax.tree.map(lambda x: x[None], what))
        return state, jnp.sum(beta.entropy(state.betas)[:2])

    keys = jax.random.split(jax.random.key(3), 40)
    state, entropy = jax.jit(lambda k: jax.lax.scan(one, schedule.init(), k))(keys)
    return state, np.asarray(entropy)


def test_it_ends_as_wide_as_the_success_allows(trained: tuple[MaxentState, np.ndarray]) -> None:
    """A uniform mass would succeed in 70 %, which is enough: in the end both rows are uniform."""
    state, entropy = trained
    assert entropy[0] < -2.0 and entropy[-1] > -0.1
    assert 3 < int(state.moves.count) < 40  # and then it stands still
    report = maxent(SPACE, CONFIG).report(state)
    assert float(report.low[0]) < 0.6 and float(report.high[0]) > 1.4
    assert float(report.plain_score) == pytest.approx(0.7, abs=0.08)
    np.testing.assert_array_equal((report.low[2], report.high[2]), 0)  # whole numbers stay


def test_it_starts_around_the_initial_ranges(key: jax.Array) -> None:
    schedule = maxent(SPACE, CONFIG)
    draw = schedule.sample(schedule.init(), 4000, key)
    unit = np.asarray(draw.xi[:, 0]) - 0.5
    assert unit.mean() == pytest.approx(0.5, abs=0.01)
    assert unit.std() == pytest.approx(np.sqrt(0.25 / 103), rel=0.1)  # Beta(51, 51)
    assert (np.asarray(draw.kind) == -1).all()
    np.testing.assert_array_equal(draw.xi[:, 2], 0)


def test_scores_of_an_older_density_are_left_out() -> None:
    state = replace(
        maxent(SPACE, replace(CONFIG, window=8)).init(), moves=Moves(jnp.int32(2), jnp.int32(1))
    )
    xi = jnp.tile(jnp.asarray(SPACE.nominal), (1, 4, 1)).at[0, 3, 0].set(1.25)
    fine, kind = jnp.ones((1, 4), bool), jnp.array([[-1, -1, -1, -1]])
    score, version = jnp.array([[1.0, 1.0, jnp.nan, 0.5]]), jnp.array([[2, 1, 2, 2]])
    state = add_episodes(SPACE, state, Episodes(fine, score, kind, version, xi))
    assert state.count == 2
    np.testing.assert_array_equal(state.score[:2], (1.0, 0.5))
    np.testing.assert_allclose(state.unit[:2, 0], (0.5, 0.75), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"success": 1.0}, "success 1.0"),
        ({"trust": 0.0}, "trust 0.0"),
        ({"effective": 1.0}, "effective 1.0"),
        ({"quantile": 0.5}, "quantile"),
        ({"window": 1}, "window 1"),
        ({"start": float("nan")}, "start nan"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        MaxentConfig(**settings)
