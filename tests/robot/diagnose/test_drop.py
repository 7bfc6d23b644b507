"""Bounces with a known restitution, and a box that slides in C MuJoCo."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.robot.diagnose.drop import drop, read_body, slide
from mjx_s2r.robot.diagnose.estimate import DiagnosisError

BOX = """
<mujoco><option timestep="0.001" cone="elliptic" impratio="100"/>
  <worldbody><geom type="plane" size="5 5 1" friction="{mu} 0 0"/>
    <body pos="0 0 0.05"><freejoint/>
      <geom type="box" size="0.1 0.1 0.05" mass="1" friction="{mu} 0 0"/></body></worldbody>
</mujoco>"""


def bounces(restitution: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns (N,) times and heights of a ball from 0.5 m, at 120 Hz, read to half a millimetre."""
    time_s = np.arange(0, 2.2, 1 / 120)
    height = np.zeros_like(time_s)
    begin, speed = -np.sqrt(2 * 0.5 / 9.81), np.sqrt(2 * 9.81 * 0.5)
    while speed > 0.05:
        until = begin + 2 * speed / 9.81
        inside = (time_s >= begin) & (time_s < until)
        late = time_s[inside] - begin
        height[inside] = speed * late - 4.905 * late**2
        begin, speed = until, restitution * speed
    return time_s, height + 5e-4 * np.random.default_rng(seed).standard_normal(len(time_s))


@pytest.mark.parametrize("restitution", [0.6, 0.8])
def test_restitution_is_found_from_bounces(restitution: float) -> None:
    trials = [bounces(restitution, seed) for seed in range(3)]
    found = drop("ball", trials)
    assert found["model.geom_restitution"].value == pytest.approx(restitution, abs=0.01)
    assert found["gravity"].value == pytest.approx(9.81, rel=0.02)


def test_heights_in_another_unit_are_suspected() -> None:
    time_s, height = bounces(0.8)
    assert "unit" in drop("ball", [(time_s, height / 2)]).limits[-1]


def test_friction_is_found_from_a_slide(tmp_path: Path) -> None:
    model = mujoco.MjModel.from_xml_string(BOX.format(mu=0.35))
    rows = ["time_s,x,trial"]
    for trial, speed in enumerate((1.2, 1.6, 2.0)):
        data = mujoco.MjData(model)
        mujoco.mj_step(model, data, 300)
        data.qvel[0] = speed
        for step in range(700):
            if step % 10 == 0:
                rows.append(f"{data.time},{data.qpos[0]},{trial}")
            mujoco.mj_step(model, data)
    path = tmp_path / "box.csv"
    path.write_text("\n".join(rows))
    found = slide("box", read_body(path, "x"))
    assert found["model.geom_friction"].value == pytest.approx(0.35, rel=0.03)
    with pytest.raises(DiagnosisError, match="no column 'z'"):
        read_body(path, "z")


def test_a_ball_that_does_not_bounce_is_refused() -> None:
    time_s = np.arange(0, 1, 0.01)
    with pytest.raises(DiagnosisError, match="0 impacts"):
        drop("clay", [(time_s, np.maximum(0.3 - 4.905 * time_s**2, 0.0))])
