#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Build a copy of the sources with Cython's line tracing, run the tests on it, and report the lines of every .pyx.
# Arguments go to pytest. COVERAGE_BUILD names a folder for the copy that is kept: the .c files must stay beside the .pyx.
set -euo pipefail
work=${COVERAGE_BUILD:-$(mktemp -d)}
[ -n "${COVERAGE_BUILD:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
for item in scatterlist dma_ops arch conformance tests benchmarks docs examples setup.py pyproject.toml *.md LICENSE; do
    [ ! -e "$item" ] || tar cf - --exclude='*.so' --exclude='*.pyc' "$item" | tar xf - -C "$work"
done
cd "$work"
printf '[run]\nplugins = Cython.Coverage\nsource = scatterlist,dma_ops,arch\nomit = */_codegen.py\n' > .coveragerc
DMA_CONFORMANCE_TRACE=1 DMA_CONFORMANCE_CFLAGS=-O0 python setup.py -q build_ext --inplace
failed=0
PYTHONPATH=. python -m coverage run -m pytest "$@" || failed=$?
python -m coverage report --include='*.pyx' --omit='*.pxd' --skip-covered --sort=cover     # the plugin has no .pxd
exit $failed
