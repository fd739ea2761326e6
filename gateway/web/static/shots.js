// The images of this tab: a strip to go back and forth in. The oldest go when there are too many.

const MOST = 64; // images that the tab holds
const ENDINGS = { "image/jpeg": "jpg", "image/webp": "webp", "image/png": "png" };

/** One image that can be shown and saved. `params` made it, but for the seed. */
export function shot(model, blob, seed, params, files) {
  const { seed: _, n: __, ...others } = params;
  const ending = ENDINGS[blob.type.split(";")[0]] ?? "bin";
  const of = JSON.stringify([model, others, Object.values(files).map((file) => [file.name, file.size])]);
  return {
    url: URL.createObjectURL(blob),
    file: `${model}-${seed ?? "image"}.${ending}`,
    model,
    seed,
    params: others,
    files,
    of,
  };
}

/** Bytes of base64, as a file of that type. */
export function decoded(text, type) {
  return new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type });
}

/** `shots` with `more` at the end. */
export function withMore(shots, more) {
  const all = [...shots, ...more];
  for (const old of all.slice(0, -MOST)) URL.revokeObjectURL(old.url);
  return all.slice(-MOST);
}

/** Where the image is that `from` would be with another seed; -1: nobody asked for it yet. */
export function withSeed(shots, from, seed) {
  return shots.findIndex((one) => one.of === from.of && one.seed === seed);
}
