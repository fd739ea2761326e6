#!/usr/bin/env bash
# The whole story in one file: from nothing to a picture fetched over HTTP. Run it as `make demo`, which installs first.
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

# 1. Train: a small GAN learns to draw the faces of a drawn world. Interrupted? The same command goes on.
stage "train (at most 3 minutes)" "$py" -m training dcgan --name dcgan --preset demo

# 2. Export: the averaged generator as ONNX, compared with PyTorch number by number, timed in every runtime.
stage "export, compare, measure" "$py" -m export build dcgan --quick

# 3. Archive: bundle and handlers in one file that TorchServe loads.
stage "archive" "$py" -m export archive dcgan

# 4. Serve: TorchServe on unix sockets that only this user can reach; ready means every model has really answered.
mkdir -p artifacts/serving
start() {
  "$py" -m serving up >artifacts/serving/launcher.log 2>&1 &
  server=$!
  trap 'kill "$server" 2>/dev/null; wait "$server" || true' EXIT
  "$py" -m serving wait --pid "$server" || { cat artifacts/serving/launcher.log; return 1; }
}
stage "start the server, until it is ready" start

# 5. Ask: sixteen faces on one sheet, through HTTP, with a seed: the same seed gives the same bytes.
stage "sixteen faces" "$py" -m serving try dcgan --seed 7 --n 16

# 6. Stop: nothing is left running.
stop() {
  "$py" -m serving down
  wait "$server"
  trap - EXIT
}
stage "stop the server" stop

printf '\n== where the time went (%d s)\n' $((SECONDS - began))
for i in "${!names[@]}"; do printf '%5d s  %s\n' "${times[$i]}" "${names[$i]}"; done
printf '\nLook at out/dcgan.png. More: `make serve`, then `%s -m serving try dcgan --seed 1`.\n' "$py"
