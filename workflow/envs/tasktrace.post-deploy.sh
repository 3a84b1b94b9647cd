#!/usr/bin/env bash
# The same packages as `make install` gives, into the environment that Snakemake has just made.
set -euo pipefail
python -m pip install --require-hashes -r requirements.lock
python -m pip install --no-deps --no-build-isolation -e .
