// The live lists: newest verdicts, newest candles, which feed plays.

import { follow, json } from "./api.js";
import { candles } from "./chart.js";
import { el, move, moment, percent } from "./dom.js";
import { emotion, language, say } from "./words.js";

const MOST = 30, MINUTES = 120, EVERY = 5000;
const place = (id) => document.getElementById(id);

export async function start(open) {
  await refresh(open);
  tape();
  listen(open);
}

async function refresh(open) {
  const page = await json(`/v1/latest?limit=${MOST}`).catch(() => ({ items: [] }));
  if (page.items.length) place("live").replaceChildren(...page.items.map((item) => entry(item, open)));
}

function entry(item, open) {
  const mood = item.label ? `${emotion(item.label)} ${percent(item.certainty)}` : say("page-js-no-mood");
  return el("li", { "data-id": item.post_id },
    el("p", { class: "what" }, item.text || say("page-js-a-picture")),
    el("p", { class: "meta" }, el("span", { class: "mood" }, mood), item.hype === null ? null : el("span", {}, say("page-js-hype", { chance: percent(item.hype) })),
      item.end === null ? null : el("span", {}, `${item.symbol} ${move(item.end)}`), el("span", {}, `${item.source}, ${moment(item.posted_at)}`),
      el("button", { type: "button", onclick: () => open(item.post_id) }, say("page-js-show"))));
}

function add(item, open) {
  const list = place("live");
  list.querySelector(".empty")?.remove();
  [...list.children].find((row) => row.dataset.id === item.post_id)?.remove();
  list.prepend(entry(item, open));
  while (list.children.length > MOST) list.lastElementChild.remove();
}

async function listen(open) {
  const state = place("live-state");
  for (let wait = 1000; ; wait = Math.min(2 * wait, 15000)) {
    try {
      await follow("/v1/live", (kind, data) => kind === "verdict" && add(data, open), () => {
        state.textContent = say("page-js-is-live");
        wait = 1000;
      });
      state.textContent = say("page-js-connecting");
    } catch (problem) {
      state.textContent = problem.code === "wrong_key" ? say("page-js-key-needed") : say("page-js-interrupted");
    }
    await new Promise((go) => setTimeout(go, wait));
    await refresh(open);
  }
}

async function tape() {
  const choice = place("tape-symbol");
  choice.addEventListener("change", draw);
  for (;;) {
    if (!document.hidden) {
      await markets(choice);
      await draw();
    }
    await new Promise((go) => setTimeout(go, EVERY));
  }
}

async function markets(choice) {
  const found = await json("/v1/markets").catch(() => ({ markets: [] }));
  const symbols = [...new Set(found.markets.map((market) => market.symbol))];
  if (symbols.join() === [...choice.options].map((option) => option.value).join()) return;
  const before = choice.value;
  choice.replaceChildren(...symbols.map((symbol) => el("option", { value: symbol }, symbol)));
  place("symbols").replaceChildren(...symbols.map((symbol) => el("option", { value: symbol })));
  if (symbols.includes(before)) choice.value = before;
}

async function draw() {
  const symbol = place("tape-symbol").value;
  if (!symbol) return;
  const found = await json(`/v1/candles?symbol=${encodeURIComponent(symbol)}&minutes=${MINUTES}`).catch(() => null);
  if (!found || symbol !== place("tape-symbol").value) return;
  const last = found.candles[found.candles.length - 1];
  place("tape").replaceChildren(candles(found.candles, symbol), el("p", { class: "hint" }, say("page-js-close", { exchange: found.exchange, close: last.close.toLocaleString(language, { maximumSignificantDigits: 8 }), at: moment(last.opened_at) })));
}
