#!/bin/sh
# A Ray cluster on this machine until Ctrl-C: sh deploy/ray/local.sh NODES GPUS, with so many GPUs a node. They are declared
# whether or not they are there; where they are not, models run on the CPU. Of the environment, CPUS (2) is how many a node
# has, PORT and DASHBOARD_PORT (6379, 8265) where the cluster listens; runs inherit all of it.
set -eu
nodes=${1:?how many nodes} gpus=${2:?how many GPUs each} port=${PORT:-6379} dashboard=${DASHBOARD_PORT:-8265}
command -v dagster > /dev/null || { echo "a run is the command dagster: activate the environment it is in" >&2; exit 1; }

# A run that asks for no GPU sees none; one that waits for a GPU may wait for a week.
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 RAY_JOB_START_TIMEOUT_SECONDS=604800
cards=${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((nodes * gpus)))}
started=
trap 'kill $started 2> /dev/null; wait' EXIT
trap 'exit 0' INT TERM

start() {
    # Every node has GPUs of its own among the machine's.
    CUDA_VISIBLE_DEVICES=$(echo "$cards" | cut -d, -f "$((node * gpus + 1))-$((node * gpus + gpus))") \
        ray start --block --node-name="node$node" --num-gpus="$gpus" --num-cpus="${CPUS:-2}" --disable-usage-stats \
        --object-store-memory=100000000 "$@" > /dev/null &
    started="$started $!"
}

node=0
start --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port="$dashboard"
until ray health-check --address="127.0.0.1:$port" 2> /dev/null; do kill -0 $started; sleep 1; done
while [ $((node += 1)) -lt "$nodes" ]; do start --address="127.0.0.1:$port"; done
echo "export RAY_ADDRESS=http://127.0.0.1:$dashboard"
wait
