#!/usr/bin/env bash
# ./run.sh ARGS...   makes .venv, installs, runs python -m dsh_jax.main ARGS...
# ./run.sh test      installs the test extra, runs ruff and pytest; the longest
#                    tests only with -m long
set -euo pipefail
cd "$(dirname "$0")"

# The JAX build for the accelerator of this machine.
accelerator() {
  if compgen -G '/dev/accel*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' \
    >/dev/null && [[ -n "${TPU_NAME:-}${TPU_WORKER_ID:-}" ]]; then
    echo tpu
  elif command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    # CUDA 13 needs a driver of the 580 series.
    local driver
    driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader |
      head -n 1)
    if ((${driver%%.*} >= 580)); then echo cuda13; else echo cuda12; fi
  fi
}

# install EXTRA...: does nothing when setup.py has not changed since the last.
install() {
  local extras stamp
  extras=$(printf '%s,' "$@" "$(accelerator)" | tr -s ',')
  extras=${extras#,}
  extras=${extras%,}
  stamp=.venv/installed-${extras:-plain}
  if [[ -f $stamp ]] && cmp -s setup.py "$stamp"; then
    return
  fi
  echo "Installing dsh_jax${extras:+[$extras]} into .venv (once)" >&2
  [[ -x .venv/bin/python ]] || "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --editable ".${extras:+[$extras]}" >&2
  cp setup.py "$stamp"
}

if [[ ${1:-} == test ]]; then
  install test
  .venv/bin/ruff check .
  .venv/bin/ruff format --check .
  exec .venv/bin/python -m pytest -q -n "${TEST_WORKERS:-2}" -m "not long" \
    tests "${@:2}"
fi
install
exec .venv/bin/python -m dsh_jax.main "$@"
