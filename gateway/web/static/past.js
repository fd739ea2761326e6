// The history: what was made, page by page; each can be made again, varied, saved and deleted.

import { ask, fill } from "./ask.js";
import { drawnSeed } from "./form.js";

const PAGE = 12; // generations of a page
const TRIES = 40; // looks for a row that is written behind its answer
const BETWEEN = 250; // ms
const ENDINGS = { "image/jpeg": "jpg", "image/webp": "webp", "image/png": "png", "audio/mpeg": "mp3",
  "audio/ogg": "ogg", "audio/flac": "flac", "audio/wav": "wav" };

const path = (id) => `/api/history/${encodeURIComponent(id)}`;
const tick = (ms) => new Promise((done) => setTimeout(done, ms));
/** What two answers with the same bytes have in common; the digests are those of the files before any signature. */
const digest = (row) => (row.text === undefined ? row.files.map((file) => file.sha256).join() : row.text);

/** The part of the page's state that is the history's. */
export const past = (words) => ({
  rows: [], moreRows: false, opened: false, looking: false, pastStatus: "",

  get noRows() { return this.opened && !this.looking && this.rows.length === 0; },
  get someRows() { return this.rows.length > 0; },

  rowTitle(row) {
    return `${row.model}, ${new Date(row.created * 1000).toLocaleString(document.documentElement.lang)}`;
  },
  rowAsked(row) { return JSON.stringify(row.asked); },
  pictured(row) { return row.medium === "image"; },
  sounded(row) { return row.medium === "audio"; },
  named(word, row) { return `${word}: ${this.rowTitle(row)}`; },
  canVary(row) {
    return this.models.some((one) => one.name === row.model) && "seed" in { ...row.asked, ...this.seeds(row) };
  },
  seeds(row) {
    const seed = row.asked.seed ?? row.receipt?.seed ?? row.receipt?.seeds?.[0];
    return seed === undefined || seed === null ? {} : { seed };
  },

  /** The newest page. */
  async reopen() {
    for (const row of this.rows) for (const one of row.shown) URL.revokeObjectURL(one.url);
    Object.assign(this, { rows: [], opened: true });
    await this.further();
  },

  /** The page after what is shown. */
  async further() {
    if (this.looking) return;
    this.looking = true;
    try {
      const last = this.rows.at(-1);
      const after = last ? `&after=${encodeURIComponent(last.id)}` : "";
      const found = await (await ask(`/api/history?limit=${PAGE}${after}`, {}, this.key, words)).json();
      for (const row of found.data) row.shown = await this.filesOf(row);
      this.rows = [...this.rows, ...found.data];
      this.moreRows = found.more;
      this.pastStatus = fill(words.past_shown, { count: this.rows.length });
    } catch (error) {
      this.problem = error.message;
    } finally {
      this.looking = false;
    }
  },

  /** Its files as the browser can show them; one that is gone is left out. */
  async filesOf(row) {
    const shown = [];
    for (const file of (row.files ?? []).filter((one) => one.url)) {
      try {
        const blob = await (await ask(file.url, {}, this.key, words)).blob();
        const ending = ENDINGS[file.content_type.split(";")[0]] ?? "bin";
        shown.push({ url: URL.createObjectURL(blob), file: `${row.model}-${row.id}-${file.index}.${ending}` });
      } catch (error) {
        this.problem = error.message;
      }
    }
    return shown;
  },

  /** Fill the form with what was asked, and ask it; say whether the same bytes came. */
  async again(row) {
    const newest = await this.newest();
    if (!(await this.refill(row, this.seeds(row)))) return;
    for (let left = TRIES; left > 0; left -= 1) {
      const made = await this.newest();
      if (made && made.id !== newest?.id && made.model === row.model) {
        this.status = digest(made) === digest(row) ? words.same : words.other;
        return;
      }
      await tick(BETWEEN);
    }
  },

  /** The same with another seed. */
  async vary(row) { await this.refill(row, { seed: drawnSeed() }); },

  async newest() {
    try {
      return (await (await ask("/api/history?limit=1", {}, this.key, words)).json()).data[0];
    } catch (error) {
      this.problem = error.message;
      return undefined;
    }
  },

  async refill(row, seed) {
    if (this.busy) return false;
    await this.choose(row.model);
    if (this.name !== row.model) return false;
    const asked = { ...row.asked, ...seed };
    if (this.fields.some((field) => field.sort === "file" && field.name in asked)) {
      this.problem = words.image_again;
      return false;
    }
    for (const field of this.fields) {
      const given = asked[field.name];
      if (field.sort === "flag") this.values[field.name] = given ?? field.hint === "true";
      else if (field.sort === "lines") this.values[field.name] = [given ?? []].flat().join("\n");
      else this.values[field.name] = given === undefined || given === null ? "" : String(given);
    }
    if (this.chats) {
      this.turns = asked.messages.slice(0, -1);
      this.draft = asked.messages.at(-1).content;
    }
    await this.generate();
    return this.problem === "";
  },

  /** Delete one, and go on where it was. */
  async remove(row) {
    if (!confirm(fill(words.sure_one, { name: this.rowTitle(row) }))) return;
    try {
      await ask(path(row.id), { method: "DELETE" }, this.key, words);
    } catch (error) {
      this.problem = error.message;
      return;
    }
    const at = this.rows.findIndex((one) => one.id === row.id);
    this.rows = this.rows.filter((one) => one.id !== row.id);
    for (const one of row.shown) URL.revokeObjectURL(one.url);
    this.pastStatus = words.removed;
    await this.$nextTick();
    const left = document.querySelectorAll(".past .remove");
    (left[Math.min(at, left.length - 1)] ?? document.getElementById("past-title")).focus();
  },

  async removeAll() {
    if (!confirm(words.sure_all)) return;
    const body = JSON.stringify({ confirm: "delete everything" });
    try {
      const headers = { "Content-Type": "application/json" };
      await ask("/api/history", { method: "DELETE", headers, body }, this.key, words);
    } catch (error) {
      this.problem = error.message;
      return;
    }
    await this.reopen();
    this.pastStatus = words.removed;
    document.getElementById("past-title").focus();
  },
});
