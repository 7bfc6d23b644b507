"""A study that trains nothing, to be found by its name in other processes."""

import shutil
import time
from dataclasses import dataclass

from mjx_s2r import gallery
from train.studies.conclusions import Cell, Comparison
from train.studies.places import CARTPOLE_NOMINAL
from train.studies.plan import Arm, Job, Made, Preset, Study


@dataclass(frozen=True)
class Shared:
    """A recipe whose arms share what one of them makes, slowly: a copy of a finished policy."""

    def make(self, job: Job) -> Made:
        """Copies the policy if nobody has, and notes who did."""
        with job.making("shared") as folder:
            if not folder.exists():
                folder.mkdir()
                time.sleep(1.0)
                with (job.folder / "made.txt").open("a") as file:
                    file.write(f"{job.seed}\n")
            policy = shutil.copy(gallery()["cartpole"].path, folder)
        return Made(policy, 20, [{"step": 1, "env_steps": 10.0, "success": 0.5}])


STUDY = Study(
    name="tiny",
    question="Is one better than the other?",
    about="Nothing is trained.",
    arms=(Arm("one", "copied", Shared()), Arm("other", "copied, too", Shared())),
    presets={
        "small": Preset(
            task="cartpole",
            iterations=2,
            seeds=2,
            places={"nominal robots": CARTPOLE_NOMINAL},
            count=1,
            episodes=1,
            minutes=0.1,
        )
    },
    comparisons=(Comparison(Cell("one"), Cell("other")),),
)
