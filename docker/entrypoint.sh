#!/bin/sh
# Starts everything: builds TensorRT engines of the bundle, then recognises what INPUT shows. With arguments it runs these
# instead (`docker run IMAGE tlee-info /bundle`). Settings are environment variables:
#
#   INPUT            camera, stream or videos to recognise, blanks between several (csi://0)
#   PRECISION        of the engines: fp32, fp16 or int8 (fp16)
#   BUILD_OPTIONS    more options of tlee-build, for example "--batch 2"
#   RUN_OPTIONS      more options of tlee-run, for example "--point fast --seconds 1"
#   HEALTHY_SECONDS  how old the last result may be before healthcheck.sh complains (60)
#
# and where things are in the container:
#
#   BUNDLE_DIR       the bundle (/bundle)
#   ENGINE_DIR       the engines (/engines); none: build none, run on ONNX Runtime
#   TLEE_ENGINE_KEY  the key that engines are signed with (/key/engine.key, on a volume of its own)
#   OUTPUT           file that results are appended to as JSON lines (/output/results.jsonl); -: standard output
#   STATE            file that tells healthcheck.sh what goes on (/run/tlee/state)
set -eu

fail() {
    echo "tlee: $1" >&2
    exit "${2:-2}"
}

can_write() { # FILE
    (: >> "$1") 2> /dev/null
}

: "${INPUT:=csi://0}" "${PRECISION:=fp16}" "${BUILD_OPTIONS:=}" "${RUN_OPTIONS:=}"
: "${BUNDLE_DIR:=/bundle}" "${ENGINE_DIR:=/engines}" "${OUTPUT:=/output/results.jsonl}" "${STATE:=/run/tlee/state}"

if [ $# -gt 0 ]; then
    echo other > "$STATE"
    exec "$@"
fi

user="user $(id -u)"
[ -f "$BUNDLE_DIR/manifest.json" ] ||
    fail "$BUNDLE_DIR: no bundle there; mount the folder that tlee-export wrote (-v FOLDER:$BUNDLE_DIR:ro; compose: BUNDLE)"
[ "$OUTPUT" = - ] || can_write "$OUTPUT" ||
    fail "$OUTPUT: $user cannot write it; give the folder that is mounted to this user (sudo chown)"

if [ "$ENGINE_DIR" != none ]; then
    [ -w "$ENGINE_DIR" ] || fail "$ENGINE_DIR: $user cannot write there; give the folder that is mounted to this user (sudo chown)"
    echo building > "$STATE"
    # In the background: a shell that waits for a command in the foreground does not hear of a signal until that ends.
    # shellcheck disable=SC2086 # options, as many as there are
    tlee-build "$BUNDLE_DIR" --engine-dir "$ENGINE_DIR" --precision "$PRECISION" $BUILD_OPTIONS &
    build=$!
    stop() { # STATUS
        kill "$build" 2> /dev/null || :
        wait "$build" 2> /dev/null || :
        fail "stopped while engines were built; those that are finished are kept" "$1"
    }
    trap 'stop 130' INT
    trap 'stop 143' TERM
    status=0
    wait "$build" || status=$?
    trap - INT TERM
    [ $status = 0 ] || fail "$BUNDLE_DIR: no engines could be built for all of it; tlee-build says why above" $status
    set -- --engine-dir "$ENGINE_DIR" --backend tensorrt
fi

[ "$OUTPUT" = - ] || {
    exec >> "$OUTPUT"
    touch "$OUTPUT" # results are awaited from now on
}
echo running > "$STATE"
# As lines on standard output, appended at once: tlee-run itself writes the file of videos when all are done.
# shellcheck disable=SC2086 # inputs and options, as many as there are
exec tlee-run "$BUNDLE_DIR" $INPUT --json - "$@" $RUN_OPTIONS
