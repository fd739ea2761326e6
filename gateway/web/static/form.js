// A form from the parameters of a describe document, and the parameters from what was filled in.

const ELSEWHERE = new Set(["stream", "messages"]); // the page's own affair
const FIRST = new Set(["prompt", "text", "label", "image", "seed"]); // the others are below "more"
const LONG = new Set(["prompt", "text"]);
const SEEDS = 2 ** 32; // seeds that the page draws itself are below that

function sortOf(param) {
  if (param.choices) return "choice";
  if (param.type === "boolean") return "flag";
  if (param.type === "integer" || param.type === "number") return "number";
  if (param.type === "strings") return "lines";
  if (param.type === "image") return "file";
  return LONG.has(param.name) ? "long" : "line";
}

/** A field for each parameter that is filled in. */
export function fieldsOf(model) {
  const shown = model.params.filter((param) => !ELSEWHERE.has(param.name));
  return shown.map((param) => ({
    name: param.name,
    type: param.type,
    sort: sortOf(param),
    first: FIRST.has(param.name) || param.type === "image",
    doc: param.unit ? `${param.doc} (${param.unit})` : param.doc,
    minimum: param.minimum,
    maximum: param.maximum,
    step: param.type === "integer" ? "1" : "any",
    choices: param.choices ?? [],
    hint: param.default === null || param.default === undefined ? "" : String(param.default),
    id: `field-${param.name}`,
    doc_id: `doc-${param.name}`,
  }));
}

/** What stands in the fields at first: the example of the model, as far as it is texts, numbers and ticks. */
export function firstValues(fields, example) {
  const values = {};
  for (const field of fields) {
    const given = example[field.name];
    if (field.sort === "flag") values[field.name] = given === true || (given === undefined && field.hint === "true");
    else if (field.sort === "lines") values[field.name] = [given ?? []].flat().join("\n");
    else values[field.name] = ["string", "number"].includes(typeof given) ? String(given) : "";
  }
  return values;
}

/** The parameters that were filled in; what is empty is left to the model, and a tick that is its default. */
export function read(fields, values) {
  const params = {};
  for (const field of fields) {
    const value = values[field.name];
    if (field.sort === "flag") {
      if (value !== (field.hint === "true")) params[field.name] = value;
    } else if (field.sort === "file" || value === "") continue;
    else if (field.sort === "number") params[field.name] = Number(value);
    else if (field.sort === "lines") params[field.name] = value.split("\n").filter((line) => line !== "");
    else params[field.name] = value;
  }
  return params;
}

/** A seed, where the reader wants none in particular: drawn here, so that it can be shown and asked for again. */
export function drawnSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS;
}
