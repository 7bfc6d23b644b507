"""A run keeps which checkpoint of another one it began with, and takes no other for it."""

import hashlib
import shutil
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
from mjx_s2r.io.run import Run, RunError

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


def test_a_run_has_its_own_copy_of_what_it_began_with(tmp_path: Path) -> None:
    """With the settings, and the origins that the other run has itself; made whole, and once."""
    teacher, run = tmp_path / "teacher", tmp_path / "student"
    Run.create(teacher, TeacherConfig(task="cartpole", run=teacher)).close()
    for file in ("checkpoints/40/arrays/data", "checkpoints/80/arrays/data", ".origin/start/x"):
        (teacher / file).parent.mkdir(parents=True)
        (teacher / file).write_text(file)
    Run.create(run, StudentConfig(run=run, teacher=teacher)).close()
    assert origin.origin_folder(run, "teacher", teacher) == teacher
    (run / ".origin" / "teacher.part").mkdir(parents=True)  # a process was killed in the middle
    origin.keep_origin(run, origin.Origin("teacher", teacher, 40))
    copy = origin.origin_folder(run, "teacher", teacher)
    held = sorted(str(f.relative_to(copy)) for f in copy.rglob("*") if f.is_file())
    assert held == [".origin/start/x", "checkpoints/40/arrays/data", "config.json"]
    assert not list(run.rglob("*.part"))
    origin.keep_origin(run, origin.Origin("teacher", tmp_path / "gone", 40))
    again = tmp_path / "again"
    shutil.copytree(run / ".origin", again / ".origin")  # all else was deleted: it is of no run
    assert origin.origin_folder(again, "teacher", teacher) == teacher
    Run.create(again, StudentConfig(run=again, teacher=teacher)).close()
    assert not (again / ".origin").exists()
    assert origin.origin_folder(run, "teacher", tmp_path / "other") == tmp_path / "other"
    other = tmp_path / "other"
    Run.create(other, StudentConfig(run=other)).close()
    with pytest.raises(RunError, match=r"other: teacher .*teacher, checkpoint 60.*put the checkp"):
        origin.keep_origin(other, origin.Origin("teacher", teacher, 60))
    assert origin.origin_folder(other, "teacher", teacher) == teacher
