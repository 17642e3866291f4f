#!/usr/bin/env bash
# Test on several processes: tools/dist_test.sh CONFIG CHECKPOINT PROCESSES [options of tools/test.py]
# On several machines as tools/dist_run.sh says.
set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT PROCESSES [options of tools/test.py]" >&2
    exit 2
fi
here=$(dirname "$0")
exec "$here/dist_run.sh" "$3" "$here/test.py" "$1" "$2" "${@:4}"
