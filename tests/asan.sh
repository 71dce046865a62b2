#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Build a copy of the sources with ASan and UBSan and run the tests on it. Arguments go to pytest; with "--fuzz" first,
# to python -m conformance.programs. ASAN_BUILD names a folder for the copy that is kept: only what changed is built.
#
# Leaks are not looked for: the interpreter itself keeps much of what it allocates until it exits. ASan keeps its SIGSEGV
# handler, which pytest's faulthandler would take. Cython's own code is checked like ours: no exception is made.
set -euo pipefail
work=${ASAN_BUILD:-$(mktemp -d)}
[ -n "${ASAN_BUILD:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
for item in scatterlist dma_ops arch conformance tests benchmarks docs examples setup.py pyproject.toml *.md LICENSE; do
    [ ! -e "$item" ] || tar cf - --exclude='*.so' --exclude='*.pyc' --exclude='*_*/*.c' "$item" | tar xf - -C "$work"
done
cd "$work"
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1"
DMA_CONFORMANCE_CFLAGS="$flags" DMA_CONFORMANCE_LDFLAGS="$flags" python setup.py -q build_ext --inplace
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD PYTHONMALLOC=malloc PYTHONPATH=.
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allow_user_segv_handler=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
if [ "${1:-}" = --fuzz ]; then
    shift
    python -m conformance.programs "$@"
else
    python -m pytest "$@"
fi
