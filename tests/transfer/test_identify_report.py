"""The page of an identification: its numbers against those it was made from, and its parts."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.recording import Channel
from mjx_s2r.transfer.report import autocorrelation, error_by_kind, posterior_lines, write_report
from mjx_s2r.transfer.result import Identification, SignalFit

NOISE = np.array([0.01, 0.2])
OFF = np.array([0.3, 1.0])  # by which the nominal model is wrong, all the time
CHANNELS = (Channel("joint_pos", "swing"), Channel("joint_vel", "swing", unit="rad/s"))
SPACE = ParamSpace(
    (
        Param("kp", "actuator.kp", ("*",), nominal=10.0, initial=(10, 10), limits=(1, 100),
              law="log_uniform", mode="set", unit="N m/rad"),
        Param("strength", "actuator.strength", ("*",), limits=(0.5, 1.5)),
        Param("payload", "model.body_mass", ("hand",), mode="add", nominal=0.0, initial=(0, 0),
              limits=(0.0, 2.0), unit="kg"),
    )
)  # fmt: skip


def a_posterior() -> Posterior:
    """Returns a posterior of three rows: two only seen together, one unseen."""
    rng = np.random.default_rng(1)
    kp = 31.6 * np.exp(0.1 * rng.standard_normal(800))
    samples = np.stack([kp, 30 / kp, rng.uniform(0, 2, 800)], axis=1)
    return Posterior(
        space=SPACE,
        best=np.array([10**1.5, 0.95, 0.4]),
        samples=samples,
        interval=np.array([[10.0, 100.0], [0.8, 1.2], [0.0, 2.0]]),
        unseen=("payload",),
        at_bound=(),
        groups=(("kp", "strength"),),
        correlation=np.corrcoef(samples.T),
        logs=("one", "two"),
        task="a swing <by hand>",
    )


def a_fit(name: str, held_out: bool, seed: int) -> SignalFit:
    """Returns four windows of a swing: fitted exactly, nominal off by `OFF`, band of 95 %."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(4)[:, None] * 3.0 + np.arange(600) * 0.005
    truth = np.stack([np.sin(4 * time_s), 4 * np.cos(4 * time_s)], axis=-1)
    measured = truth + NOISE * rng.standard_normal(truth.shape)
    measured[0, 10:20, 0] = np.nan
    reach = 1.96 * NOISE
    parts = (measured, truth + OFF, truth, truth - reach, truth + reach)
    return SignalFit(name, held_out, CHANNELS, time_s, *parts)


def an_identification() -> Identification:
    """Returns an identification whose every number is known."""
    fits = (a_fit("one", False, 0), a_fit("two", True, 1))
    trace = np.stack([np.arange(1, 30) * 100.0, 400.0 / np.arange(1, 30) ** 2], axis=1)
    return Identification(a_posterior(), fits, trace, NOISE, CHANNELS, 83.0)


class Page(HTMLParser):
    """Checks that what is opened is closed, and counts elements."""

    def __init__(self, text: str) -> None:
        """Reads a page."""
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Opens."""
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Counts."""
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        """Closes."""
        assert self.open.pop() == tag


def page_of(found: Identification, tmp_path: Path, **more: object) -> str:
    """Returns the page as text."""
    write_report(found, tmp_path / "report.html", **more)  # type: ignore[arg-type]
    return (tmp_path / "report.html").read_text()


def test_the_errors_are_those_of_the_recordings() -> None:
    """Nominal: off^2 + noise^2; fitted: noise; 95 % of normal readings within 1.96 deviations."""
    lines = error_by_kind(an_identification())
    assert [(line.name, line.side) for line in lines] == [
        ("joint positions", "held out"),
        ("joint velocities", "held out"),
        ("joint positions", "fitted"),
        ("joint velocities", "fitted"),
    ]
    for line, off, noise in zip(lines, [*OFF, *OFF], [*NOISE, *NOISE], strict=True):
        assert line.fitted == pytest.approx(noise, rel=0.1)
        assert line.nominal == pytest.approx(np.hypot(off, noise), rel=0.05)
        assert line.factor == pytest.approx(line.nominal / line.fitted)
        assert line.coverage == pytest.approx(0.95, abs=0.025)
        assert line.noise == pytest.approx(noise)


def test_rows_are_placed_by_their_law() -> None:
    kp, strength, payload = posterior_lines(a_posterior())
    assert kp.nominal_percent == pytest.approx(50), "10 lies in the middle of 1 to 100 by logarithm"
    assert (kp.low_percent, kp.best_percent) == pytest.approx((50, 75))
    assert strength.best_percent == pytest.approx(45)
    assert (payload.low_percent, payload.high_percent) == pytest.approx((0, 100))
    assert kp.flags == ("only seen together with strength",)
    assert payload.flags == ("not seen in the logs",)
    bound = replace(a_posterior(), at_bound=("kp",))
    assert "at a limit" in posterior_lines(bound)[0].flags[0]


def test_the_correlation_in_time_is_that_of_its_process() -> None:
    """AR(1) with coefficient r correlates by r^lag; Box and Jenkins, eq. 3.2.4."""
    rng = np.random.default_rng(3)
    x = np.zeros((200, 100))
    x[:, 0] = rng.standard_normal(200)
    for k in range(1, 100):
        x[:, k] = 0.8 * x[:, k - 1] + 0.6 * rng.standard_normal(200)
    x[:, 50:55] = np.nan
    found = autocorrelation([x[:80], x[80:]], most=6)
    assert found == pytest.approx(0.8 ** np.arange(6), abs=0.06)
    assert autocorrelation([np.ones((2, 3))]) == pytest.approx(np.ones(3))


def test_the_page_stands_alone_and_says_everything(tmp_path: Path) -> None:
    found = replace(an_identification(), warnings=("The clock of one jumped.",))
    text = page_of(
        found,
        tmp_path,
        command="python -m train identify one.json",
        settings={"seed": 3},
        experiment=("Swing faster.",),
    )
    page = Page(text)
    assert not page.open and "script" not in page.counts
    assert "http" not in text.replace("http://www.w3.org", "")
    assert len(text) < 3e6
    assert "a swing &lt;by hand&gt;" in text
    for said in ("The clock of one jumped.", "train identify one.json", "Swing faster.", "seed"):
        assert said in text
    assert "These logs do not see payload" in text and "kp and strength are only seen" in text
    # two windows of two sides and two residual charts of two channels; matrix, one pair, search
    assert page.counts["svg"] == 2 * (4 + 2) + 3
    assert page_of(found, tmp_path) == page_of(found, tmp_path), "the same numbers, the same text"


def test_the_verdict_follows_from_the_numbers(tmp_path: Path) -> None:
    found = an_identification()
    assert 'class="verdict good"' in page_of(found, tmp_path)
    doubted = replace(found, warnings=("A gap.",))
    assert 'class="verdict open"' in page_of(doubted, tmp_path)
    narrow = tuple(
        replace(f, low=f.fitted - 0.5 * NOISE, high=f.fitted + 0.5 * NOISE) for f in found.fits
    )
    assert 'class="verdict open"' in page_of(replace(found, fits=narrow), tmp_path)
    worse = tuple(replace(fit, fitted=fit.nominal, nominal=fit.fitted) for fit in found.fits)
    assert 'class="verdict bad"' in page_of(replace(found, fits=worse), tmp_path)
    alone = page_of(replace(found, fits=found.fits[:1]), tmp_path)
    assert 'class="verdict open"' in alone and "Error on fitted recordings" in alone
    with pytest.raises(ValueError, match="no recording"):
        write_report(replace(found, fits=()), tmp_path / "none.html")


def test_many_channels_and_no_band_still_make_a_page(tmp_path: Path) -> None:
    """Twelve joints: eight are drawn, all are in the table; short windows end in NaN."""
    rng = np.random.default_rng(5)
    channels = tuple(Channel("joint_pos", f"joint{i}") for i in range(12))
    time_s = np.tile(np.arange(30) * 0.02, (2, 1))
    time_s[1, 20:] = np.nan
    measured = 0.01 * rng.standard_normal((2, 30, 12))
    measured[1, 20:] = np.nan
    band = np.full_like(measured, np.nan)
    fit = SignalFit("all", True, channels, time_s, measured, measured + 1, 0 * measured, band, band)
    posterior = a_posterior()
    one = replace(
        posterior,
        space=ParamSpace(SPACE.rows[:1]),
        best=posterior.best[:1],
        samples=posterior.samples[:, :1],
        interval=posterior.interval[:1],
        correlation=np.ones((1, 1)),
        unseen=(),
        groups=(),
    )
    found = Identification(one, (fit,), np.zeros((0, 2)), np.full(12, 0.01), channels, 1.0)
    text = page_of(found, tmp_path)
    assert text.count("<h3>joint_pos joint") == 8
    assert all(f'<th scope="row">joint_pos joint{i}</th>' in text for i in range(12))
    assert text.count("No data for this section.") == 3, (
        "no matrix of one row, no trace, nothing open"
    )
