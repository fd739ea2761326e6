// Server-sent events of an answer, as they come.

/** Yield the JSON of each event of `response` until `[DONE]`.

Throws an Error with the server's words for an event that is one, and a TypeError where the answer breaks off. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError("no [DONE]");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      const data = part.slice(6);
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message ?? event.error);
      yield event;
    }
  }
}

/** What an event adds to choice `index` of the answer: [index, text]. */
export function added(event) {
  const choice = event.choices?.[0];
  return choice ? [choice.index ?? 0, choice.delta?.content ?? choice.text ?? ""] : [0, ""];
}
