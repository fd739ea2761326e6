// A sound with its waveform, played by the browser's own controls.

import WaveSurfer from "./wavesurfer.esm.js";

const HEIGHT = 96; // pixels
let shown = null;

/** Show the waveform of what `audio` is to play. Resolves once it is drawn; rejects where it cannot be decoded. */
export async function show(container, audio, blob) {
  clear();
  const { color } = getComputedStyle(container);
  const nonce = document.documentElement.dataset.nonce;
  shown = WaveSurfer.create({
    container,
    media: audio,
    height: HEIGHT,
    waveColor: color,
    progressColor: getComputedStyle(document.documentElement).getPropertyValue("--pico-primary").trim(),
    cspNonce: nonce,
  });
  await shown.loadBlob(blob);
}

/** Show none. */
export function clear() {
  shown?.destroy();
  shown = null;
}
