"""What training takes of a calibrated camera: rows of the task's table, with limits that hold."""

from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.envs.registry import make_task
from mjx_s2r.params import ParamError
from mjx_s2r.params.ranges import changed_space, read_ranges
from mjx_s2r.transfer.camera.fit import to_units
from mjx_s2r.transfer.camera.intervals import RowEstimate, joint_posterior
from mjx_s2r.transfer.camera.rows import camera_space
from mjx_s2r.transfer.posterior import Posterior

TASK = make_task("reach")


@pytest.fixture(scope="module")
def posterior() -> Posterior:
    """A camera 3 cm off in x, which reach draws within 2 cm, its lens known, z not seen."""
    space = camera_space(TASK.space, TASK.mj_model, "front", distortion=True)
    xi = np.zeros(len(space))
    xi[0] = 0.03
    variance = np.full(len(space), 0.1**2)
    variance[2] = 0.5**2
    estimate = RowEstimate(space, to_units(space, xi), np.diag(variance))
    return joint_posterior((estimate,), 11, logs=("shots",), task=TASK.name, notes=())


def test_training_takes_a_camera_that_lies_outside_of_the_tables_limits(
    posterior: Posterior, tmp_path: Path
) -> None:
    posterior.save(tmp_path / "posterior.json", TASK.space)
    space = changed_space(TASK.space, read_ranges(tmp_path / "posterior.json"))
    row = space.rows[space.index("camera_x")]
    assert row.nominal == pytest.approx(0.03)
    assert row.initial == pytest.approx(posterior.range_of("camera_x"))
    assert row.limits == pytest.approx((-0.02, posterior.range_of("camera_x")[1]))
    turn = space.rows[space.index("camera_yaw")]
    low, high = posterior.range_of("camera_yaw")
    assert turn.limits == (min(-0.04, low), max(0.04, high))
    assert space.rows[space.index("camera_z")] == TASK.space.rows[TASK.space.index("camera_z")]
    assert space.names == TASK.space.names, "k1 is no row of reach"


def test_rows_and_limits_that_a_table_lacks_are_refused_where_it_was_not_known(
    posterior: Posterior, tmp_path: Path
) -> None:
    posterior.save(tmp_path / "posterior.json")
    with pytest.raises(ParamError, match=r"camera_x.*leaves -0.02 to 0.02; widen the limits"):
        changed_space(TASK.space, read_ranges(tmp_path / "posterior.json"))
