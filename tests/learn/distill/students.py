"""A student of any teacher, on any task that has cameras, without a teacher's run."""

from mjx_s2r.api.teacher import camera_schedule
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import make_distillation
from mjx_s2r.learn.distill.teachers import TeacherModel, TeacherPolicy
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import make
from mjx_s2r.sim.task import Task

IN_C = PhysicsConfig("c")  # compiles in a third of the time, and steps on one device


def student_of(
    teacher: TeacherPolicy | TeacherModel,
    task: Task,
    config: DistillConfig,
    physics: PhysicsConfig = IN_C,
) -> Trainer:
    """Returns a trainer by distillation over the whole table of ``task``."""
    env = make(task, physics)
    cameras = camera_schedule(env, RenderConfig(), config.changes_looks, config.steady_share)
    shapes = tuple(camera.shape for camera in cameras.signals)
    algorithm = make_distillation(env, shapes, teacher, config)
    return Trainer(env, uniform(task.space), algorithm, cameras)
