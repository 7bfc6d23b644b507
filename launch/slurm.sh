#!/bin/bash
# A training on SLURM: one process per node, or per GPU, that train as one.
#
#   sbatch launch/slurm.sh --task reach --run /shared/runs/reach --ppo.num-envs 8192
#   sbatch --nodes=1 --gres=gpu:1 launch/slurm.sh --task cartpole --run /shared/runs/cartpole
#   sbatch --ntasks-per-node=8 --cpus-per-task=2 launch/slurm.sh ...     one process per GPU instead
#   MJX_S2R_VERB=student sbatch launch/slurm.sh --teacher /shared/runs/reach --run /shared/runs/eyes
#   scancel JOB                                                          end it for good
#
# Everything after the file's name goes to `python -m train teacher --resume`, or to the verb in
# MJX_S2R_VERB, which goes on where the folder holds this run. Submit from the checkout; the folder
# must lie on a disk that all nodes see. MJX_S2R_VENV names the environment (default .venv). What
# mjx_s2r.runtime.distributed.join needs it reads from SLURM's own variables.
#
# SIGTERM makes all processes end the same iteration and process 0 save it. SLURM sends it
#   - 5 to 6 minutes before the time limit (--signal): the job is queued again and goes on;
#   - when the job is preempted: it is queued again, by SLURM or by this file. How long there is to
#     save is the partition's GraceTime, or KillWait (30 s unless the site says otherwise);
#   - at scancel, with KillWait to save: the job is not queued again.
# What cannot be saved in time is lost back to the last checkpoint (--checkpoint-every), no further.
# Where a node dies SLURM queues the job again (--requeue). Where a process dies by itself the
# others end within MJX_S2R_HEARTBEAT_S seconds, and the job has failed: its log says why.
#
#SBATCH --job-name=mjx_s2r
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this file with sbatch}" || exit
python=${MJX_S2R_VENV:-.venv}/bin/python
job=${SLURM_JOB_ID:?submit this file with sbatch}

export MJX_S2R_HEARTBEAT_S="${MJX_S2R_HEARTBEAT_S:-60}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# Since SLURM 22.05 srun does not take --cpus-per-task over from sbatch.
export SRUN_CPUS_PER_TASK="$OMP_NUM_THREADS"

# Prints the states of this job, as ['CANCELLED', 'COMPLETING']; nothing if they cannot be had.
# The plain text of scontrol and squeue has COMPLETING only, for all that ends.
states() {
  scontrol --json show job "$job" 2>/dev/null | "$python" -c \
    'import json, sys; print(json.load(sys.stdin)["jobs"][0]["job_state"])' 2>/dev/null
}

# Queues this job again, unless somebody cancelled it or SLURM has queued it already.
queue_again() {
  local found
  found=$(states)
  case "$found" in
  *CANCELLED*)
    echo "cancelled; not queued again" >&2
    return
    ;;
  *PENDING*)
    echo "queued again by SLURM" >&2
    return
    ;;
  *RUNNING* | *TIMEOUT* | *PREEMPTED* | *NODE_FAIL*) ;;
  *)
    if ((ended)); then
      echo "SLURM ends this job and does not say why; sbatch the same line again to go on" >&2
      return
    fi
    ;;
  esac
  if scontrol requeue "$job"; then
    echo "stopped; queued again" >&2
  else
    echo "stopped, cannot be queued again; sbatch the same line again to go on" >&2
  fi
}

# SLURM sends SIGTERM to this shell, too, when it ends the whole job. A trap only runs at once while
# the shell waits, hence the &.
ended=0
trap 'ended=1' TERM

# All of them end by themselves, with a status that says why: --wait ends those that do not.
srun --kill-on-bad-exit=0 --wait=$((MJX_S2R_HEARTBEAT_S + 60)) \
  "$python" -m train "${MJX_S2R_VERB:-teacher}" --resume "$@" &
step=$!
wait "$step"
status=$?

if ((ended)); then
  queue_again # now: this shell may not live until the processes have ended
  wait "$step"
  status=$?
elif ((status == 130 || status == 143)); then
  # 130: stopped by SIGTERM, the state is saved. 143: the same before training had begun.
  queue_again
fi
exit "$status"
