#!/usr/bin/env bash
# Start a script on several processes: tools/dist_run.sh PROCESSES SCRIPT [its arguments]
# On several machines set NNODES, NODE_RANK, MASTER_ADDR and PORT on each; on one, the
# port is a free one unless PORT says which.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 PROCESSES SCRIPT [its arguments]" >&2
    exit 2
fi
if [ "${NNODES:-1}${PORT:-}" = 1 ]; then
    meeting=(--standalone)
else
    meeting=(
        --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}"
    )
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${meeting[@]}" \
    --nproc_per_node="$1" "${@:2}" --launcher pytorch
