#!/bin/bash
# A teacher on a Cloud TPU slice: the same command on every host, which jax connects by itself.
#
#   export PROJECT=... ZONE=us-central2-b NAME=mjx-s2r TYPE=v4-32 BUCKET=gs://...
#   launch/tpu.sh create                                       ask for the slice and wait for it
#   launch/tpu.sh setup                                        copy this checkout, install it
#   launch/tpu.sh train --task reach --run /runs/reach --ppo.worlds 8192
#   launch/tpu.sh delete
#
# All hosts must see the folder of the run: `setup` mounts $BUCKET at /runs with gcsfuse. Process 0
# alone writes there. A bucket has no rename in one piece, so a Filestore share in its place is
# safer: export SHARE=host:/share instead of BUCKET.
#
# A slice that is preempted is made again with `create`; `train` goes on from the last checkpoint,
# because it resumes where there is a run. A host that dies ends the others within
# MJX_S2R_HEARTBEAT_S seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PROJECT:?}" "${ZONE:?}" "${NAME:?}"
TYPE="${TYPE:-v4-32}"
VERSION="${VERSION:-tpu-ubuntu2204-base}"
where=(--project "$PROJECT" --zone "$ZONE")

# Runs a command on every host of the slice.
everywhere() { gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=all --command "$1"; }

verb=${1:?create, setup, train or delete}
shift
case "$verb" in
create)
  gcloud compute tpus queued-resources create "$NAME" "${where[@]}" --node-id "$NAME" \
    --accelerator-type "$TYPE" --runtime-version "$VERSION" "${SPOT:+--spot}"
  until [[ $(gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" \
    --format 'value(state.state)') == ACTIVE ]]; do sleep 20; done
  ;;
setup)
  git archive --format=tar.gz --output=/tmp/mjx_s2r.tar.gz HEAD
  gcloud compute tpus tpu-vm scp /tmp/mjx_s2r.tar.gz "$NAME":/tmp/ "${where[@]}" --worker=all
  everywhere 'mkdir -p ~/mjx_s2r && tar xzf /tmp/mjx_s2r.tar.gz -C ~/mjx_s2r && cd ~/mjx_s2r &&
    sudo apt-get install -qy python3.11-venv && python3.11 -m venv .venv &&
    .venv/bin/pip install -q -c constraints.txt -e ".[tpu]"'
  if [[ -n ${SHARE:-} ]]; then
    everywhere "sudo mkdir -p /runs && sudo apt-get install -qy nfs-common &&
      (mountpoint -q /runs || sudo mount $SHARE /runs)"
  else
    everywhere "sudo mkdir -p /runs && sudo chmod 777 /runs &&
      (mountpoint -q /runs || gcsfuse ${BUCKET#gs://} /runs)"
  fi
  ;;
train)
  words=$(printf '%q ' "$@")
  run=$(sed -nE 's/.*--run[ =](([^ \\]|\\.)+).*/\1/p' <<<"$words")
  everywhere "cd ~/mjx_s2r && export MJX_S2R_HEARTBEAT_S=${MJX_S2R_HEARTBEAT_S:-60} && \
    if [ -e ${run:?--run FOLDER is needed}/config.json ]; then more=--resume; else more=; fi && \
    .venv/bin/python -m train teacher $words \$more"
  ;;
delete)
  gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet
  ;;
*)
  echo "$verb? create, setup, train or delete" >&2
  exit 2
  ;;
esac
