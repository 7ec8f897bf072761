// The rescore run under way: how far, how fast, how long still, and the buttons that steer it.

import { json } from "./api.js";
import { el, span } from "./dom.js";
import { language, say } from "./words.js";

const OPEN = 2000, IDLE = 10000, SHOWN = 3600000;
const STEPS = { running: ["pause", "cancel"], paused: ["resume", "cancel"] };
const place = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString(language);

export async function watch() {
  for (;;) {
    const found = document.hidden ? null : await json("/v1/rescore").catch(() => null);
    if (found) draw(found.run);
    await new Promise((go) => setTimeout(go, STEPS[found?.run?.state] ? OPEN : IDLE));
  }
}

function draw(run) {
  place("rescore").hidden = !run || (run.finished_at && Date.now() - Date.parse(run.finished_at) > SHOWN);
  if (place("rescore").hidden) return;
  place("rescore-state").textContent = say("page-js-run", { run: run.id, state: say(`state-${run.state}`) });
  place("rescore-bar").max = Math.max(run.total, 1);
  place("rescore-bar").value = run.total ? run.done : 1;
  const text = say("page-js-run-text", { done: number(run.done), total: number(run.total), revision: run.revision, rate: number(Math.round(run.posts_per_second)) });
  place("rescore-text").textContent = run.seconds_left === null ? text : say("page-js-left", { text, span: span(run.seconds_left) });
  buttons(run);
}

function buttons(run) {
  const wanted = STEPS[run.state] ?? [], at = `${run.id} ${run.state}`;
  if (place("rescore-buttons").dataset.at === at) return;
  place("rescore-buttons").dataset.at = at;
  place("rescore-buttons").replaceChildren(...wanted.map((step) => el("button", { type: "button", class: "quiet", onclick: () => steer(run, step) }, say(`steer-${step}`))));
}

async function steer(run, step) {
  if (step === "cancel" && !confirm(say("page-js-end-run", { run: run.id }))) return;
  const problem = await json(`/v1/rescore/${run.id}/${step}`, { method: "POST" }).then((found) => draw(found.run)).catch((error) => error);
  place("rescore-error").hidden = !problem;
  place("rescore-error").textContent = problem?.message ?? "";
}
