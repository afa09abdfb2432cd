#!/bin/sh
# A Ray cluster on this machine: sh deploy/ray/local.sh NODES GPUS, with so many GPUs a node. Without real ones they are
# declared all the same, and models run on the CPU. CPUS (2) are those of a node; RAY is the command, if not ray; PORT and
# DASHBOARD_PORT (6379, 8265) where it listens. Every node has this shell's environment. To end it: ray stop
set -eu
command -v dagster > /dev/null || { echo "no dagster on the path, which every run is: activate its environment" >&2; exit 1; }
nodes=${1:?how many nodes} gpus=${2:?how many GPUs each} cpus=${CPUS:-2} port=${PORT:-6379}
# A job that asks for no GPU sees none; one that waits for a GPU may wait for a week.
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 RAY_JOB_START_TIMEOUT_SECONDS=604800
node=0
while [ "$node" -lt "$nodes" ]; do
    if [ "$node" = 0 ]; then
        place="--head --port=$port --dashboard-host=127.0.0.1 --dashboard-port=${DASHBOARD_PORT:-8265}"
    else
        place="--address=127.0.0.1:$port"
    fi
    # Its own of the machine's GPUs: node 1 of two GPUs a node has 2 and 3.
    CUDA_VISIBLE_DEVICES=$(seq -s, $((node * gpus)) $((node * gpus + gpus - 1))) \
        ${RAY:-ray} start $place --node-ip-address=127.0.0.1 --node-name="node$node" --num-gpus="$gpus" --num-cpus="$cpus" \
        --object-store-memory=100000000 --disable-usage-stats > /dev/null
    node=$((node + 1))
done
echo "RAY_ADDRESS=http://127.0.0.1:${DASHBOARD_PORT:-8265}"
