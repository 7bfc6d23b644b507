"""A run keeps which checkpoint of another one it began with, and takes no other for it."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mjx_s2r.api import student
from mjx_s2r.api.student import StudentConfig
from mjx_s2r.api.teacher import TeacherConfig
from mjx_s2r.io import origin
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import Run

LEARNT = {"weights": np.arange(3, dtype=np.float32)}


def test_the_checksum_is_that_of_the_bits() -> None:
    known = hashlib.sha256(b"float32(3,)" + LEARNT["weights"].tobytes()).hexdigest()
    assert origin.checksum(LEARNT) == known
    assert origin.checksum({"weights": np.arange(3, dtype=np.int32)}) != known
    assert origin.checksum({"weights": np.float32([0, 1, 3])}) != known


def test_a_run_that_goes_on_keeps_what_it_began_with(tmp_path: Path) -> None:
    """Not the newest checkpoint; a folder that was moved is the same, another teacher is not."""
    asked = StudentConfig(run=tmp_path / "student", teacher=tmp_path / "a")
    assert origin.with_origin_found(asked, "teacher") == asked
    begun = origin.with_origin_kept(asked, "teacher", asked.teacher, 40, LEARNT)
    assert begun.teacher_iteration == 40
    Run.create(begun.run, begun).close()
    again = origin.with_origin_found(replace(asked, teacher=tmp_path / "moved"), "teacher")
    assert (again.teacher_iteration, again.teacher_sha256) == (40, begun.teacher_sha256)
    assert origin.with_origin_kept(again, "teacher", again.teacher, 40, LEARNT) == again
    named = origin.with_origin_found(replace(asked, teacher_iteration=80), "teacher")
    assert named.teacher_iteration == 80
    with pytest.raises(ConfigError, match=r"teacher .*moved.*iteration 40.*student began with"):
        other = {"weights": np.float32([0, 1, 3])}
        origin.with_origin_kept(again, "teacher", again.teacher, 40, other)


def test_a_student_that_goes_on_refuses_another_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for the checkpoint that it began with, although the teacher has been trained on."""
    for name in ("a", "b"):
        teacher = TeacherConfig(task="cartpole", run=tmp_path / name)
        Run.create(teacher.run, teacher).close()
    asked = StudentConfig(run=tmp_path / "student", teacher=tmp_path / "a", resume=True)
    begun = origin.with_origin_kept(asked, "teacher", asked.teacher, 40, LEARNT)
    Run.create(begun.run, begun).close()
    loaded: list[tuple[Path, int | None]] = []

    def load(run: Path, iteration: int | None, env: object) -> tuple[None, None, Any]:
        """Another teacher's checkpoint."""
        loaded.append((run, iteration))
        learnt = {"weights": np.zeros(3, np.float32)}
        return None, None, SimpleNamespace(iteration=np.int32(iteration or 80), learner=learnt)

    monkeypatch.setattr(student, "load_teacher", load)
    with pytest.raises(ConfigError, match=r"teacher .*/b: .* began with"):
        student.train_student(replace(asked, teacher=tmp_path / "b"))
    assert loaded == [(tmp_path / "b", 40)]
