#!/bin/sh
# healthy.sh: what a container asks itself: does every file in /models compute here what
# its self-test says? One that carries none (exit code 3) is loaded and run instead.
set -u
for file in /models/*.onnx /models/*.tflite /models/*.pte; do
  [ -e "$file" ] || continue
  timeout 60 python3 -m runtime --quiet --check "$file"
  case $? in
    0) ;;
    3) timeout 60 python3 -m runtime --quiet --runs 10 "$file" || exit 1 ;;
    *) exit 1 ;;
  esac
done
