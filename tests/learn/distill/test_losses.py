"""Every term of distillation's loss against numpy, and who acts when."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.distill.config import IMITATES, DistillConfig
from mjx_s2r.learn.distill.losses import imitation_loss
from mjx_s2r.learn.distill.teachers import TeacherAnswer
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import StudentOutput

NONE = dict.fromkeys((*IMITATES, "value_weight", "label_weight"), 0.0)
RNG = np.random.default_rng(0)
M_T, M_S, V_T, V_S = (RNG.normal(size=shape) for shape in ((5, 4, 3), (5, 4, 3), (5, 4), (5, 4)))
LOG_T, LOG_S = (RNG.uniform(-2, 1, (5, 4, 3)) for _ in range(2))
LABEL, ESTIMATE = (RNG.normal(size=(5, 4, 2)) for _ in range(2))
TEACHER = TeacherAnswer(Gaussian(jnp.asarray(M_T), jnp.asarray(LOG_T)), jnp.asarray(V_T))
STUDENT = StudentOutput(
    rnn_state=jnp.zeros((5, 4, 0)),
    policy=Gaussian(jnp.asarray(M_S), jnp.asarray(LOG_S)),
    estimate=jnp.asarray(ESTIMATE),
    value=jnp.asarray(V_S),
    features=jnp.zeros((5, 4, 1)),
)


def divergence(m: np.ndarray, log: np.ndarray, m_o: np.ndarray, log_o: np.ndarray) -> np.ndarray:
    """Returns KL(N(m, e^log) || N(m_o, e^log_o)) summed over components."""
    ratio = (np.exp(2 * log) + (m - m_o) ** 2) / (2 * np.exp(2 * log_o))
    return np.sum(log_o - log + ratio - 0.5, -1)


APART = (np.tanh(M_T) - np.tanh(M_S)) ** 2
DENSITY = -0.5 * ((M_T - M_S) / np.exp(LOG_S)) ** 2 - LOG_S - 0.5 * np.log(2 * np.pi)
TERMS = {
    "kl_weight": divergence(M_T, LOG_T, M_S, LOG_S).mean(),
    "reverse_kl_weight": divergence(M_S, LOG_S, M_T, LOG_T).mean(),
    "mean_weight": APART.sum(-1).mean(),
    "precision_weight": (APART / np.exp(LOG_T) ** 2).sum(-1).mean(),
    "nll_weight": -DENSITY.sum(-1).mean(),
    "value_weight": ((V_T - V_S) ** 2).mean(),
    "label_weight": ((LABEL - ESTIMATE) ** 2).sum(-1).mean(),
}


def of(weights: dict[str, float]) -> float:
    """Returns the loss with some weights, all others 0."""
    config = replace(DistillConfig(), **NONE | {"kl_weight": 1.0} | weights)
    return float(imitation_loss(config, STUDENT, TEACHER, jnp.asarray(LABEL))[0])


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_its_formula(name: str) -> None:
    assert of({"kl_weight": 0.0, "mean_weight": 1e-9, name: 3.0}) == pytest.approx(
        3 * TERMS[name], rel=1e-5, abs=1e-5
    )


def test_the_loss_is_the_weighted_sum() -> None:
    weights = {name: float(i + 1) for i, name in enumerate(TERMS)}
    expected = sum(w * TERMS[name] for name, w in weights.items())
    assert of(weights) == pytest.approx(expected, rel=1e-5)


def test_figures_are_those_of_the_terms() -> None:
    config = replace(DistillConfig(), value_weight=1.0)
    metrics = imitation_loss(config, STUDENT, TEACHER, jnp.asarray(LABEL))[1]
    names = ("kl", "reverse_kl", "mean_error", "nll", "value_error")
    keys = ("kl_weight", "reverse_kl_weight", "mean_weight", "nll_weight", "value_weight")
    for name, key in zip(names, keys, strict=True):
        assert float(getattr(metrics, name)) == pytest.approx(TERMS[key], rel=1e-5)
    plain = imitation_loss(DistillConfig(), STUDENT, TEACHER, jnp.asarray(LABEL))[1]
    assert plain.value_error is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (NONE, "one of kl_weight, .* must be above 0"),
        ({"nll_weight": -1.0}, r"distill.nll_weight -1.0 must not be negative"),
        ({"beta_decay": 1.1}, r"distill.beta_decay 1.1 must lie in \[0, 1\]"),
        ({"beta": "threshold", "beta_error": 0.0}, r"distill.beta_error 0.0 must be above 0"),
        ({"acts": "nobody"}, "distill.acts 'nobody' must be 'mixture' or 'student' or 'teacher'"),
        ({"beta": "cubic"}, "distill.beta 'cubic' must be 'linear' or"),
        ({"rnn_hidden": 8, "num_envs": 6}, "6 worlds do not divide into 8 minibatches, which are"),
        ({"num_epochs": 0}, "distill.num_epochs 0 must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillConfig(**settings)
