#!/bin/sh
# Healthy while engines are built and while results keep coming: the last not older than HEALTHY_SECONDS (60). Results on
# standard output (OUTPUT=-) and commands of one's own cannot be watched, and count as healthy as long as they run.
set -eu
: "${HEALTHY_SECONDS:=60}" "${OUTPUT:=/output/results.jsonl}" "${STATE:=/run/tlee/state}"

state=$(cat "$STATE" 2> /dev/null) || {
    echo "not started"
    exit 1
}
if [ "$state" != running ] || [ "$OUTPUT" = - ]; then
    echo "$state"
    exit 0
fi
changed=$(stat -c %Y "$OUTPUT" 2> /dev/null) || {
    echo "$OUTPUT: gone"
    exit 1
}
age=$(($(date +%s) - changed))
echo "running, last result $age s ago"
[ "$age" -le "$HEALTHY_SECONDS" ]
