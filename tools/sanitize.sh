#!/usr/bin/env bash
# Builds the native engine with the address and undefined behaviour sanitizers, and runs its tests under them.
#   tools/sanitize.sh [pytest options]    from a checkout with .venv/dev set up
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/sanitized
python=$PWD/.venv/bin/python

cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DFINERANK_SANITIZE=ON -DPython_EXECUTABLE="$python" \
  -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" > /dev/null
cmake --build "$build" --parallel 2 > /dev/null

# The sanitized extension stands before the installed one; the rest is the checkout.
stage=$build/stage
rm -rf "$stage" && mkdir -p "$stage"
cp -r src/finerank "$stage/finerank"
cp "$build"/_native.*.so "$stage/finerank/scoring/"

# Python and torch leak by design, and start before the sanitizers' library without LD_PRELOAD. An editable install finds
# its own extension first, wherever PYTHONPATH points: its finder is taken out.
LD_PRELOAD="$(${CXX:-g++} -print-file-name=libasan.so) $(${CXX:-g++} -print-file-name=libstdc++.so)" \
ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$stage \
  "$python" -c '
import sys
sys.meta_path = [finder for finder in sys.meta_path if "ScikitBuild" not in type(finder).__name__]
import finerank.scoring._native as native, pytest
sys.exit("sanitized" not in native.__file__ or pytest.main(sys.argv[1:]))
' -q -p no:cacheprovider tests/scoring/test_native_backend.py "$@"
