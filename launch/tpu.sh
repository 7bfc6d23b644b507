#!/bin/bash
# A training on a Cloud TPU slice: the same command on every host, which jax connects by itself.
#
#   export PROJECT=... ZONE=us-central2-b NAME=mjx-s2r TYPE=v4-32 BUCKET=gs://...
#   ssh-add ~/.ssh/google_compute_engine     once: gcloud asks for it where a slice has many hosts
#   launch/tpu.sh create     ask for the slice, unless that is done, and wait; SPOT=1: a spot slice
#   launch/tpu.sh setup      copy the last commit of this checkout, install it, mount the bucket
#   launch/tpu.sh train --task reach --run /runs/reach --ppo.num-envs 8192
#   launch/tpu.sh log        follow what process 0 says; WORKER=1 follows another
#   launch/tpu.sh stop       save, end the training and wait for that
#   launch/tpu.sh delete
#
# VERSION names the software of the hosts; it belongs to TYPE (v6e: v2-alpha-tpuv6e, v5p:
# v2-alpha-tpuv5, v5e: v2-alpha-tpuv5-lite, v4 and older: tpu-ubuntu2204-base, the default).
#
# All hosts must see the folder of the run: `setup` mounts $BUCKET at /runs with gcsfuse. Process 0
# alone writes there. Checkpoints are written under another name and renamed, which a bucket does in
# one piece only if it has a hierarchical namespace: make it with one, or export SHARE=host:/share,
# a Filestore share, instead of BUCKET.
#
# `train` starts one process on every host and returns: the training needs no connection to here.
# It trains a teacher, or what MJX_S2R_VERB names: student.
# It goes on where the folder holds this run. A host that dies ends the others within
# MJX_S2R_HEARTBEAT_S seconds; nothing starts them again but another `train`.
#
# A spot slice that is taken away is lost with its disks, and its name stays taken: `delete`,
# `create`, `setup`, then the same `train`, which goes on from the last checkpoint in /runs.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "error: $*" >&2
  exit 1
}

: "${PROJECT:?}" "${ZONE:?}" "${NAME:?}"
TYPE="${TYPE:-v4-32}"
VERSION="${VERSION:-tpu-ubuntu2204-base}"
where=(--project "$PROJECT" --zone "$ZONE")
verbs="create, setup, train, log, stop or delete"

# Runs a command on every host of the slice.
everywhere() { gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=all --command "$1"; }

# Prints the state of the request for the slice; fails where there is none.
state() {
  gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" --format 'value(state.state)'
}

# Waits until the hosts are there.
await_slice() {
  local now before="" missed=0
  while true; do
    if now=$(state); then
      missed=0
    else
      missed=$((missed + 1)) now="not to be had"
      ((missed < 5)) || fail "the state of $NAME is not to be had; run create again to wait on"
    fi
    [[ $now == "$before" ]] || echo "$NAME: $now"
    before=$now
    case "$now" in
    ACTIVE) return ;;
    FAILED)
      fail "$NAME is FAILED: the request cannot be met. The reason is in" \
        "gcloud compute tpus queued-resources describe $NAME ${where[*]}." \
        "Run delete, then create, perhaps with another ZONE, TYPE or VERSION"
      ;;
    SUSPENDING | SUSPENDED | DELETING)
      fail "$NAME is $now: its hosts are taken away, or will be. Run delete, create and setup;" \
        "the same train then goes on from the last checkpoint"
      ;;
    *) ;; # CREATING, ACCEPTED, WAITING_FOR_RESOURCES, PROVISIONING
    esac
    sleep "${WAIT_S:-20}"
  done
}

verb=${1:?$verbs}
shift
case "$verb" in
create)
  if now=$(state 2>/dev/null); then
    echo "$NAME is asked for already"
  else
    spot=()
    [[ -z ${SPOT:-} ]] || spot=(--spot)
    gcloud compute tpus queued-resources create "$NAME" "${where[@]}" --node-id "$NAME" \
      --accelerator-type "$TYPE" --runtime-version "$VERSION" "${spot[@]}"
  fi
  await_slice
  ;;
setup)
  [[ -n ${SHARE:-}${BUCKET:-} ]] || fail "all hosts must see one disk; export BUCKET or SHARE"
  disk=${SHARE:-gs://${BUCKET#gs://}}
  folder=$(mktemp -d)
  trap 'rm -r "$folder"' EXIT
  git archive --format=tar.gz --output="$folder/mjx_s2r.tar.gz" HEAD
  gcloud compute tpus tpu-vm scp "$folder/mjx_s2r.tar.gz" "$NAME:" "${where[@]}" --worker=all
  everywhere "mkdir -p ~/mjx_s2r && tar xzf ~/mjx_s2r.tar.gz -C ~/mjx_s2r &&
    bash ~/mjx_s2r/launch/tpu_host.sh setup $(printf '%q' "$disk")"
  ;;
train)
  [[ " $*" == *" --run "* || " $*" == *" --run="* ]] ||
    fail "train needs --run FOLDER, a folder in /runs"
  everywhere "MJX_S2R_HEARTBEAT_S=${MJX_S2R_HEARTBEAT_S:-60} MJX_S2R_VERB=${MJX_S2R_VERB:-teacher} \
    bash ~/mjx_s2r/launch/tpu_host.sh train $(printf '%q ' "$@")"
  ;;
log)
  gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker="${WORKER:-0}" \
    --command 'tail -n 100 -F ~/mjx_s2r/train.log'
  ;;
stop)
  everywhere 'bash ~/mjx_s2r/launch/tpu_host.sh stop'
  ;;
delete)
  gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet
  ;;
*)
  echo "$verb? $verbs" >&2
  exit 2
  ;;
esac
