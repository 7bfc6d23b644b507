"""Tasks and families of robots that several studies share."""

from dataclasses import replace
from pathlib import Path

from mjx_s2r.envs.registry import task_spec
from mjx_s2r.learn.distill.config import DistillConfig

FOLDER = Path("train/studies/realities")
CARTPOLE_NOMINAL = FOLDER / "cartpole_nominal.toml"
CARTPOLE_OTHER = FOLDER / "cartpole_other.toml"
QUICK_CARTPOLE = "train.studies.tasks:quick_cartpole"
TOLD_REACH = "train.payoff_tasks.reach_told:ToldReach"
REACH_LATE = Path("train/payoff_tasks/reach_told.toml")  # weak and late servos, a loaded hand

AS_SIMULATED, DYNAMICS_GAP = FOLDER / "reach_as_simulated.toml", FOLDER / "reach_dynamics_gap.toml"
VISUAL_GAP, BOTH_GAPS = FOLDER / "reach_visual_gap.toml", FOLDER / "reach_both_gaps.toml"
EXERCISE, EXERCISE_X3 = FOLDER / "reach_exercise.toml", FOLDER / "reach_exercise_x3.toml"

# The settings of the task, and an actor that the robot can run.
SWING_UP = replace(task_spec("cartpole").ppo, actor_obs="state")

# A camera student of some minutes: fewer worlds than the task's recipe has.
BRIEF = DistillConfig(num_envs=128, iterations=150)
BRIEF_TEACHER = 90  # iterations
SHARED = "reach_cameras"  # folder of the trainings that studies of the camera student share
