#!/bin/sh
# Measure a TFLite file on an Android telephone over adb, by LiteRT's own benchmark_model
# (an aarch64 binary of it; Bazel target tflite/tools/benchmark:benchmark_model).
# Nothing is left on the telephone. Never tried on hardware: see docs/android.md.
set -eu

usage() {
    cat <<'END'
adb-profile.sh --benchmark BINARY [options] MODEL.tflite
  --benchmark BINARY  benchmark_model, built for android_arm64
  --serial ID         which telephone, as `adb devices` lists it
  --threads N         of one inference (4)
  --runs N            after the warm-up (200)
  --cores MASK        taskset's, in hexadecimal: f0 is cores 4 to 7
  --layers            times of operators, too
END
}

fail() {
    printf 'adb-profile: %s\n' "$1" >&2
    exit "$2"
}

number() {
    case "$2" in
    '' | *[!0-9]* | 0* | ?????????*) fail "$1 $2: a number from 1 is wanted" 2 ;;
    esac
}

benchmark='' model='' serial='' threads=4 runs=200 cores='' layers=false
while [ $# -gt 0 ]; do
    case "$1" in
    --help) usage && exit 0 ;;
    --layers) layers=true && shift && continue ;;
    --benchmark | --serial | --threads | --runs | --cores)
        [ $# -gt 1 ] || fail "$1: a value is missing" 2
        ;;
    -*) fail "$1: not known; --help lists what is" 2 ;;
    *)
        [ -z "$model" ] || fail "$1: one model is measured at a time" 2
        model=$1 && shift && continue
        ;;
    esac
    case "$1" in
    --benchmark) benchmark=$2 ;;
    --serial) serial=$2 ;;
    --threads) number "$1" "$2" && threads=$2 ;;
    --runs) number "$1" "$2" && runs=$2 ;;
    --cores)
        case "$2" in
        '' | *[!0-9a-f]*) fail "--cores $2: hexadecimal digits are wanted, as f0" 2 ;;
        esac
        cores=$2
        ;;
    esac
    shift 2
done
[ -n "$model" ] || fail 'which model? --help shows how' 2
[ -f "$model" ] || fail "$model: no such file" 2
[ -n "$benchmark" ] || fail '--benchmark is missing: the benchmark_model to push' 2
[ -f "$benchmark" ] || fail "$benchmark: no such file" 2
command -v adb >/dev/null 2>&1 ||
    fail 'adb is not installed; run: apt-get install adb' 6
limit=''
command -v timeout >/dev/null 2>&1 && limit='timeout 600'

# `phone WORD…`: adb for the chosen telephone, ended after ten minutes.
phone() {
    if [ -n "$serial" ]; then set -- -s "$serial" "$@"; fi
    # shellcheck disable=SC2086 # two words or none
    $limit adb "$@" </dev/null
}

[ "$(phone get-state 2>/dev/null)" = device ] ||
    fail 'no telephone answers; look at adb devices, or choose one by --serial' 7
abi=$(phone shell getprop ro.product.cpu.abi | tr -d '\r')
[ "$abi" = arm64-v8a ] || fail "the telephone is ${abi:-unknown}, not arm64-v8a" 7

# adb joins its words and the telephone's shell parses them again, so nothing that the
# user named may be among them: files are pushed under names of ours.
there=/data/local/tmp/edgepress-$$
cleanup() {
    phone shell rm -rf "$there" >/dev/null 2>&1 || true
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
phone shell mkdir -p "$there" || fail 'cannot write to /data/local/tmp' 7
phone push "$benchmark" "$there/benchmark_model" >&2 || fail 'the copy failed' 7
phone push "$model" "$there/model.tflite" >&2 || fail 'the copy failed' 7
phone shell chmod 755 "$there/benchmark_model" || fail 'the copy failed' 7

printf 'telephone: %s, Android %s\n' \
    "$(phone shell getprop ro.product.model | tr -d '\r')" \
    "$(phone shell getprop ro.build.version.release | tr -d '\r')"
set -- "$there/benchmark_model" "--graph=$there/model.tflite" \
    "--num_threads=$threads" "--num_runs=$runs" --warmup_runs=50 \
    --use_xnnpack=true "--enable_op_profiling=$layers" \
    --report_peak_memory_footprint=true
if [ -n "$cores" ]; then set -- taskset "$cores" "$@"; fi
phone shell "$@" || fail 'benchmark_model did not end well; its words are above' 7
