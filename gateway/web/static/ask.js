// Requests: how they are sent, what is told when they fail, and the same as a command of curl.

/** What a server refused: its message, in its own words, and `param`, the field that is wrong, where it names one. */
async function refusal(response, words) {
  let error;
  try {
    ({ error } = await response.json());
  } catch {
    error = { message: fill(words.status, { status: response.status }) };
  }
  return Object.assign(new Error(error.message + later(response, words)), { param: error.param ?? "" });
}

/** When the server wants to be asked again, where it says so in seconds. */
function later(response, words) {
  const seconds = response.headers.get("retry-after");
  return /^\d+$/.test(seconds ?? "") ? ` ${fill(words.later, { seconds })}` : "";
}

/** `{name}` in a text replaced by values. */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function body(params, files) {
  if (Object.keys(files).length === 0) return JSON.stringify(params);
  const form = new FormData();
  for (const [name, value] of Object.entries(params)) {
    form.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  for (const [name, file] of Object.entries(files)) form.append(name, file);
  return form;
}

/** Ask `path`; `request` has `params`, `files`, `key`, `signal`. Throws an Error that can be shown. */
export async function post(path, request, words) {
  const sent = body(request.params, request.files);
  const headers = typeof sent === "string" ? { "Content-Type": "application/json" } : {};
  return ask(path, { method: "POST", headers, body: sent, signal: request.signal }, request.key, words);
}

/** The same for GET, and for whatever `options` say. */
export async function ask(path, options, key, words) {
  const { csrf } = document.documentElement.dataset; // of a session: what comes by its cookie shows that we sent it
  const own = key ? { Authorization: `Bearer ${key}` } : csrf ? { "X-CSRF-Token": csrf } : {};
  const headers = { ...options.headers, ...own };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(words.unreachable);
  }
  if (response.status === 401 && csrf && !key) throw new Error(words.sign_again);
  if (!response.ok) throw await refusal(response, words);
  return response;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The command that asks the same. A key is never in it. */
export function curl(path, { params, files }, wantsKey, file) {
  const parts = ["curl"];
  if (wantsKey) parts.push("-H", quoted("Authorization: Bearer atl_..."));
  if (Object.keys(files).length === 0) {
    parts.push("-H", quoted("Content-Type: application/json"), "-d", quoted(JSON.stringify(params)));
  } else {
    for (const [name, value] of Object.entries(params)) {
      parts.push("--form-string", quoted(`${name}=${typeof value === "string" ? value : JSON.stringify(value)}`));
    }
    for (const name of Object.keys(files)) parts.push("-F", quoted(`${name}=@FILE`));
  }
  if (params.stream) parts.push("-N");
  if (file) parts.push("-o", quoted(file));
  return [...parts, quoted(location.origin + path)].join(" ");
}
