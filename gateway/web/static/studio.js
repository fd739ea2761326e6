// The page: a model, its form, what came of it.

import Alpine from "./alpine-csp.esm.min.js";
import { arrive, draw } from "./arriving.js";
import { ask, curl, fill, post } from "./ask.js";
import { figures, sentences } from "./certificate.js";
import { added, events } from "./events.js";
import { drawnSeed, fieldsOf, firstValues, read } from "./form.js";
import { past } from "./past.js";
import { decoded, shot, withMore, withSeed } from "./shots.js";
import { clear, show } from "./sound.js";

const words = JSON.parse(document.documentElement.dataset.words);
const { keys } = document.documentElement.dataset; // "none", "session" of who is signed in, or "required"
const wantsKey = keys !== "none";
const PLAYED = new Set(["audio/wav", "audio/x-wav", "audio/flac", "audio/ogg", "audio/mpeg"]);
const SOUND_ENDINGS = { "audio/mpeg": "mp3", "audio/ogg": "ogg", "audio/flac": "flac", "audio/pcm": "pcm" };
const MAX_SEED = 2 ** 53 - 1;

function studio() {
  return {
    models: [], name: "", model: null, fields: [], values: {}, files: {}, key: "",
    busy: false, problem: "", status: "", command: "", stopper: null,
    shots: [], at: -1, texts: [], turns: [], draft: "", sounds: [], played: -1, wave: false, coming: false, previews: {}, wrong: "",

    async init() {
      if (keys !== "required") await this.look();
    },

    /** Which models there are. */
    async look() {
      this.problem = "";
      try {
        this.models = (await (await ask("/api/models", {}, this.key, words)).json()).models;
      } catch (error) {
        this.problem = error.message;
        return;
      }
      if (this.models.length === 0) this.problem = words.none;
      else await this.choose(this.models.find((one) => `#${one.name}` === location.hash)?.name ?? this.models[0].name);
    },

    /** Show the form of a model. */
    async choose(name) {
      this.stop();
      Object.assign(this, { problem: "", wrong: "" });
      let model;
      try {
        model = await (await ask(`/api/models/${encodeURIComponent(name)}`, {}, this.key, words)).json();
      } catch (error) {
        this.problem = error.message;
        return;
      }
      this.fields = fieldsOf(model);
      this.values = firstValues(this.fields, model.example);
      for (const url of Object.values(this.previews)) URL.revokeObjectURL(url);
      Object.assign(this, { files: {}, previews: {} });
      this.model = model;
      this.name = name;
      this.texts = [];
      this.turns = [];
      this.draft = (model.example.messages ?? []).at(-1)?.content ?? "";
      this.quiet();
      this.command = "";
      history.replaceState(null, "", `#${name}`);
    },

    get ready() { return this.model !== null; },
    get chats() { return this.ready && this.model.params.some((param) => param.name === "messages"); },
    get seeded() { return this.ready && this.model.params.some((param) => param.name === "seed"); },
    get first() { return this.fields.filter((field) => field.first); },
    get more() { return this.fields.filter((field) => !field.first); },
    get told() { return this.ready ? sentences(this.model, words) : []; },
    get figures() { return this.ready ? figures(this.model) : []; },
    get asksForKey() { return keys === "required"; },
    get shown() { return this.shots[this.at] ?? null; },
    get caption() { return this.shown ? this.title(this.shown) : ""; },
    get sound() { return this.sounds[this.played] ?? null; },

    title(one) { return fill(words.image_of, { name: one.model, seed: one.seed ?? words.unknown }); },
    isWrong(name) { return name === this.wrong ? "true" : null; },
    isCurrent(index) { return index === this.at ? "true" : "false"; },
    pick(index) { this.at = index; },
    took(event, name) {
      const [file] = event.target.files;
      if (this.previews[name]) URL.revokeObjectURL(this.previews[name]);
      if (file) this.files[name] = file;
      else delete this.files[name];
      this.previews = { ...this.previews, [name]: file ? URL.createObjectURL(file) : "" };
    },

    /** What the form asks for. */
    async generate() {
      const params = read(this.fields, this.values);
      if (this.seeded && params.seed === undefined) params.seed = drawnSeed();
      if (this.chats) await this.say(params);
      else await this.run(this.model, params, { ...this.files });
    },

    /** The same image with the seed beside its own: one that is there, or a new one. */
    async beside(step) {
      const from = this.shown;
      if (from === null || !Number.isInteger(from.seed) || this.busy) return;
      const seed = from.seed + step;
      if (seed < 0 || seed > MAX_SEED) return;
      const found = withSeed(this.shots, from, seed);
      if (found >= 0) this.at = found;
      else await this.run({ name: from.model, medium: "image" }, { ...from.params, seed }, from.files);
    },

    /** One request from its beginning to its end, whatever becomes of it. True: it was answered whole. */
    async run(model, params, files) {
      if (this.busy) return false;
      const stopper = new AbortController();
      Object.assign(this, { busy: true, problem: "", wrong: "", status: words.working, stopper });
      const path = `/api/generate/${encodeURIComponent(model.name)}`;
      const streams = this.streams(model, params);
      const request = { params: streams ? { ...params, stream: true } : params, files, key: this.key };
      this.command = curl(path, request, wantsKey, model.medium === "text" ? null : `${model.name}.${model.medium}`);
      try {
        const response = await post(path, { ...request, signal: stopper.signal }, words);
        if (model.medium === "text") await this.write(response);
        else if (model.medium === "image") await this.draw(response, model.name, params, files);
        else await this.hear(response, model.name, params, streams);
        this.status = words.done;
        return true;
      } catch (error) {
        this.status = error.name === "AbortError" ? words.stopped : "";
        // A TypeError is the browser's for an answer that broke off.
        if (error.name !== "AbortError") this.problem = error instanceof TypeError ? words.broken : error.message;
        this.wrong = error.param ?? "";
        return false;
      } finally {
        this.busy = false;
      }
    },

    stop() { this.stopper?.abort(); },

    /** Whether an answer is asked for as it is made: a text, or one sound that can be played from its first piece. */
    streams(model, params) {
      if (model.medium === "image" || !this.model.params.some((param) => param.name === "stream")) return false;
      const { format = "wav", encoding = "pcm_16", n = 1 } = params;
      return model.medium === "text" || (format === "wav" && encoding === "pcm_16" && n === 1);
    },

    async write(response) {
      this.texts = [];
      const put = ([index, text]) => {
        if (this.chats) {
          if (index === 0) this.turns[this.turns.length - 1].content += text;
        } else this.texts[index] = (this.texts[index] ?? "") + text;
      };
      if (response.headers.get("content-type").startsWith("text/event-stream")) {
        for await (const event of events(response)) put(added(event));
      } else {
        for (const { index, message, text } of (await response.json()).choices) put([index, message?.content ?? text]);
      }
    },

    /** A turn of the conversation; what was said goes back to its field where no word of an answer came. */
    async say(params) {
      const content = this.draft.trim();
      if (!content || this.busy) return;
      const before = this.turns;
      const messages = [...before, { role: "user", content }];
      this.turns = [...messages, { role: "assistant", content: "" }];
      this.draft = "";
      await this.run(this.model, { ...params, messages }, {});
      if (this.turns.at(-1)?.content === "" && this.turns.length === before.length + 2) {
        this.turns = before;
        this.draft = content;
      }
    },

    roleOf(turn) { return turn.role === "user" ? words.you : this.name; },
    forget() { this.stop(); this.turns = []; },

    async draw(response, name, params, files) {
      const more = [];
      for (const [blob, seed] of await parts(response, params.seed)) more.push(shot(name, blob, seed, params, files));
      this.shots = withMore(this.shots, more);
      this.at = this.shots.length - more.length;
    },

    async hear(response, name, params, streamed) {
      this.quiet();
      const found = streamed ? [[await this.comingIn(response), params.seed]] : await parts(response, params.seed);
      this.sounds = found.map(([blob, seed]) => {
        const ending = SOUND_ENDINGS[blob.type.split(";")[0]] ?? "wav";
        const title = fill(words.sound_of, { name, seed: seed ?? words.unknown });
        return { title, blob, url: URL.createObjectURL(blob), file: `${name}-${seed ?? "sound"}.${ending}` };
      });
      await this.play(0);
    },

    /** Play a sound while it comes; the whole of it at the end. */
    async comingIn(response) {
      this.coming = true;
      try {
        return await arrive(response, (bars) => draw(this.$refs.coming, bars));
      } finally {
        this.coming = false;
      }
    },

    /** Show a sound with its waveform, or without where the browser cannot read it. */
    async play(index) {
      this.played = index;
      const { blob } = this.sounds[index];
      this.wave = PLAYED.has(blob.type.split(";")[0]);
      if (!this.wave) return;
      await this.$nextTick();
      try {
        await show(this.$refs.wave, this.$refs.audio, blob);
      } catch {
        this.wave = false;
      }
    },

    quiet() {
      clear();
      for (const sound of this.sounds) URL.revokeObjectURL(sound.url);
      Object.assign(this, { sounds: [], played: -1, wave: false });
    },

    async copy() {
      try {
        await navigator.clipboard.writeText(this.command);
        this.status = words.copied;
      } catch {
        this.problem = words.not_copied;
      }
    },
  };
}

/** The files of an answer with their seeds: one as it is, or several in JSON. */
async function parts(response, seed) {
  if (!response.headers.get("content-type").startsWith("application/json")) return [[await response.blob(), seed]];
  const { data, content_type: type } = await response.json();
  return data.map((one) => [decoded(one.b64_json, one.content_type ?? type), one.seed]);
}

// Spreading would read the getters once and for all.
const joined = () => Object.defineProperties(studio(), Object.getOwnPropertyDescriptors(past(words)));
Alpine.data("studio", joined);
Alpine.start();
