#!/usr/bin/env bash
# Train on several processes: tools/dist_train.sh CONFIG PROCESSES [options of tools/train.py]
# On several machines as tools/dist_run.sh says.
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2
    exit 2
fi
here=$(dirname "$0")
exec "$here/dist_run.sh" "$2" "$here/train.py" "$1" "${@:3}"
