#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Build a copy of the sources with ASan and UBSan and run the tests on it. Arguments go to pytest.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r scatterlist dma_ops arch conformance tests setup.py pyproject.toml README.md LICENSE "$work"
[ -d benchmarks ] && cp -r benchmarks "$work"
cd "$work"
find . -name '*.so' -delete
flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1"
DMA_CONFORMANCE_CFLAGS="$flags" DMA_CONFORMANCE_LDFLAGS="$flags" python setup.py -q build_ext --inplace
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export LD_PRELOAD
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc
python -m pytest -n 2 -p no:faulthandler "$@"
