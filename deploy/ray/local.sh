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
said=$(mktemp) started=
trap 'kill $started 2> /dev/null; wait; rm -f "$said"' EXIT
trap 'exit 0' INT TERM

# One after the other, for two that begin at once take the same name for their sockets.
node=0
while [ "$node" -lt "$nodes" ]; do
    if [ "$node" = 0 ]; then
        set -- --head --port="$port" --dashboard-host=127.0.0.1 --dashboard-port="$dashboard"
    else
        set -- --address="127.0.0.1:$port"
    fi
    : > "$said"
    # Every node has GPUs of its own among the machine's.
    CUDA_VISIBLE_DEVICES=$(echo "$cards" | cut -d, -f "$((node * gpus + 1))-$((node * gpus + gpus))") \
        ray start "$@" --block --node-name="node$node" --num-gpus="$gpus" --num-cpus="${CPUS:-2}" \
        --object-store-memory=100000000 --disable-usage-stats > "$said" &
    started="$started $!"
    until grep -q "Ray runtime started" "$said"; do kill -0 $!; sleep 1; done
    node=$((node + 1))
done
echo "export RAY_ADDRESS=http://127.0.0.1:$dashboard"
wait
