// What is known of a model, in words.

import { fill } from "./ask.js";

/** Sentences of a model's document. */
export function sentences(model, words) {
  const { certificate, serving, licence } = model;
  const told = [fill(words.trained, { name: model.name, kind: model.kind, step: certificate.step })];
  if (certificate.date) told.push(fill(words.checked, { date: certificate.date.slice(0, 10) }));
  const candidate = Object.entries(serving?.candidate ?? {}).map(([part, variant]) => `${part} ${variant}`);
  if (candidate.length) told.push(fill(words.served, { candidate: candidate.join(", "), reason: serving.reason }));
  const data = licence.data_name ?? words.unknown;
  told.push(fill(words.data, { data, licence: licence.data ?? words.unknown }));
  told.push(fill(words.version, { version: model.version }));
  return told;
}

/** Its figures: name and value. */
export function figures(model) {
  return Object.entries(model.certificate.metrics ?? {}).map(([name, value]) => ({ name, value: String(value) }));
}
