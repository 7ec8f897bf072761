// Calls to the door. Every failure becomes an Error whose message a person can read.

import { language, say } from "./words.js";

const KEY = "moodtape-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value.trim()),
};

export class DoorError extends Error {
  constructor(message, code, id, status) {
    super(message);
    Object.assign(this, { code, id, status });
  }
}

export async function call(path, options = {}) {
  const headers = { "Accept-Language": language, ...(key.get() ? { "X-API-Key": key.get() } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new DoorError(say("page-js-away"), "away", "", 0);
  }
  if (answer.ok) return answer;
  const told = await answer.json().then((body) => body.error).catch(() => null);
  throw new DoorError(told?.message ?? say("page-js-status", { status: answer.status }), told?.code, told?.id, answer.status);
}

export const json = async (path, options) => (await call(path, options)).json();

// Server-sent events over fetch, because EventSource cannot send the key.
export async function follow(path, onEvent, onOpen) {
  const answer = await call(path);
  onOpen();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n").filter((line) => !line.startsWith(":"));
      const pick = (name) => lines.find((line) => line.startsWith(name + ": "))?.slice(name.length + 2);
      if (pick("data") !== undefined) onEvent(pick("event"), JSON.parse(pick("data")));
    }
  }
}
