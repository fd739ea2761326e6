// A sound while it comes: played piece by piece, its waveform drawn on the way, and a whole file at the end.

const AHEAD = 0.08; // seconds between the first piece and its sound, so that the second is there in time
const BARS = 100; // of the waveform, a second
const DATA_END = 0xffffffff; // of a stream, whose length its header cannot know

/** Where the samples begin, and of what sort they are; null while the header is not whole. Throws for no such WAV. */
export function header(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  let [at, sort] = [12, null];
  while (at + 8 <= bytes.length) {
    const size = view.getUint32(at + 4, true);
    if (word(at) === "data") return sort && { ...sort, begin: at + 8, sizeAt: at + 4 };
    if (word(at) === "fmt ") {
      if (at + 24 > bytes.length) return null;
      const kind = view.getUint16(at + 8, true);
      sort = { channels: view.getUint16(at + 10, true), rate: view.getUint32(at + 12, true) };
      if (kind !== 1 || view.getUint16(at + 22, true) !== 16) throw new Error("these samples are not of 16 bits");
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** Read an answer to its end; `drawn` gets the bars so far. Resolves to the file, its lengths put right. */
export async function arrive(response, drawn) {
  const player = new AudioContext();
  const chunks = [];
  let [rest, sort, head, at, bars, size] = [new Uint8Array(), null, null, 0, [], 0];
  try {
    for await (const piece of pieces(response.body)) {
      chunks.push(piece);
      size += piece.length;
      rest = joined(rest, piece);
      if (sort === null) {
        sort = header(rest);
        if (sort === null) continue;
        head = rest.slice(0, sort.begin);
        rest = rest.slice(sort.begin);
      }
      const width = 2 * sort.channels;
      const whole = rest.length - (rest.length % width);
      if (whole === 0) continue;
      const samples = read(rest.slice(0, whole), sort.channels);
      rest = rest.slice(whole);
      at = schedule(player, samples, sort.rate, at);
      bars = bars.concat(loudest(samples[0], Math.max(1, Math.round(sort.rate / BARS))));
      drawn(bars);
    }
    const left = Math.max(0, at - player.currentTime);
    setTimeout(() => player.close(), 1000 * left + 500); // what was begun is heard to its end
  } catch (error) {
    player.close();
    throw error;
  }
  return new Blob(head === null ? chunks : patched(joined(...chunks), sort, size), { type: "audio/wav" });
}

/** Draw bars on a canvas, the newest where it ends. */
export function draw(canvas, bars) {
  const context = canvas.getContext("2d");
  const { width, height } = canvas;
  const shown = bars.slice(-Math.floor(width / 2));
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(canvas).color;
  shown.forEach((bar, index) => {
    const tall = Math.max(1, bar * height);
    context.fillRect(2 * index, (height - tall) / 2, 1, tall);
  });
}

async function* pieces(body) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Samples from -1 to 1 by channel. */
function read(bytes, channels) {
  const all = new Int16Array(bytes.buffer, 0, bytes.length / 2);
  return Array.from({ length: channels }, (_, channel) =>
    Float32Array.from({ length: all.length / channels }, (_, frame) => all[frame * channels + channel] / 32768));
}

function schedule(player, samples, rate, at) {
  const buffer = player.createBuffer(samples.length, samples[0].length, rate);
  samples.forEach((channel, index) => buffer.copyToChannel(channel, index));
  const source = player.createBufferSource();
  source.buffer = buffer;
  source.connect(player.destination);
  const begin = Math.max(at, player.currentTime + (at === 0 ? AHEAD : 0));
  source.start(begin);
  return begin + buffer.duration;
}

function loudest(samples, width) {
  const bars = [];
  for (let at = 0; at < samples.length; at += width) {
    let most = 0;
    for (const sample of samples.subarray(at, at + width)) most = Math.max(most, Math.abs(sample));
    bars.push(most);
  }
  return bars;
}

/** The lengths that the header of a stream leaves open. */
function patched(whole, sort, size) {
  const view = new DataView(whole.buffer);
  if (view.getUint32(4, true) === DATA_END) view.setUint32(4, size - 8, true);
  if (view.getUint32(sort.sizeAt, true) === DATA_END) view.setUint32(sort.sizeAt, size - sort.begin, true);
  return [whole];
}
