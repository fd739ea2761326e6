#!/usr/bin/env bash
# The whole story in one file: from nothing to a picture and a text fetched over HTTP. `make demo` installs first.
set -euo pipefail
cd "$(dirname "$0")"
py=${PY:-.venv/bin/python}
export PYTHONUNBUFFERED=1
names=() times=() began=$SECONDS

stage() { # stage "what it is" command...: runs it and remembers how long it took
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  "$@"
  names+=("$name") times+=($((SECONDS - start)))
}

# 1. Train: a small GAN learns to draw the faces of a drawn world, a small LSTM to write the texts of a written one.
# Interrupted? The same command goes on.
stage "train images (at most 3 minutes)" "$py" -m training dcgan --name dcgan --preset demo
stage "train texts (a minute)" "$py" -m training charlm --name charlm --preset demo --hidden 128 \
  --steps 2000 --max-minutes 1

# 2. Export: the averaged networks as ONNX, compared with PyTorch number by number, timed in every runtime.
stage "export images: compare, measure" "$py" -m export build dcgan --quick
stage "export texts: compare, measure" "$py" -m export build charlm --quick

# 3. Archive: bundle and handlers in one file that TorchServe loads.
stage "archive images" "$py" -m export archive dcgan
stage "archive texts" "$py" -m export archive charlm

# 4. Serve: TorchServe on unix sockets that only this user can reach, and in front of it the gateway, on a free port of
# this machine alone; ready means every model has really answered.
mkdir -p artifacts/serving
start() {
  ATELIER_GATEWAY_PORT=0 "$py" -m serving up --gateway >artifacts/serving/launcher.log 2>&1 &
  server=$!
  trap 'kill "$server" 2>/dev/null; wait "$server" || true' EXIT
  "$py" -m serving wait --pid "$server" || { cat artifacts/serving/launcher.log; return 1; }
}
stage "start the server, until it is ready" start

# 5. Ask: sixteen faces on one sheet, through the gateway, with a seed: the same seed gives the same bytes.
stage "sixteen faces" "$py" -m serving try dcgan --seed 7 --n 16
stage "a text" "$py" -m serving try charlm

# 6. Stop: nothing is left running.
stop() {
  "$py" -m serving down
  wait "$server"
  trap - EXIT
}
stage "stop the server" stop

printf '\n== where the time went (%d s)\n' $((SECONDS - began))
for i in "${!names[@]}"; do printf '%5d s  %s\n' "${times[$i]}" "${names[$i]}"; done
printf '\nThe faces: out/dcgan.png\nThe text:  out/charlm.txt: '
cat out/charlm.txt
printf 'What was measured: artifacts/reports/dcgan/report.html and artifacts/reports/charlm/report.html\n'
printf 'More: `make up`, then `%s -m serving try dcgan --seed 1`.\n' "$py"
