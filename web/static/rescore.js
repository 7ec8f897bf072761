// The rescore run under way: how far, how fast, how long still, and the buttons that steer it.

import { json } from "./api.js";
import { el, span } from "./dom.js";

const OPEN = 2000, IDLE = 10000, SHOWN = 3600000;
const STEPS = { running: [["pause", "Pause"], ["cancel", "Cancel"]], paused: [["resume", "Resume"], ["cancel", "Cancel"]] };
const place = (id) => document.getElementById(id);
const number = (value) => value.toLocaleString("en");

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
  place("rescore-state").textContent = `run ${run.id}, ${run.state}`;
  place("rescore-bar").max = Math.max(run.total, 1);
  place("rescore-bar").value = run.total ? run.done : 1;
  const left = run.seconds_left === null ? "" : `, about ${span(run.seconds_left)} left`;
  place("rescore-text").textContent = `${number(run.done)} of ${number(run.total)} posts by revision ${run.revision}, ${number(Math.round(run.posts_per_second))} posts/s${left}`;
  buttons(run);
}

function buttons(run) {
  const wanted = STEPS[run.state] ?? [], at = `${run.id} ${run.state}`;
  if (place("rescore-buttons").dataset.at === at) return;
  place("rescore-buttons").dataset.at = at;
  place("rescore-buttons").replaceChildren(...wanted.map(([step, text]) => el("button", { type: "button", class: "quiet", onclick: () => steer(run, step) }, text)));
}

async function steer(run, step) {
  if (step === "cancel" && !confirm(`End run ${run.id}? The verdicts it has made stay.`)) return;
  const problem = await json(`/v1/rescore/${run.id}/${step}`, { method: "POST" }).then((found) => draw(found.run)).catch((error) => error);
  place("rescore-error").hidden = !problem;
  place("rescore-error").textContent = problem?.message ?? "";
}
