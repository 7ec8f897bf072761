// An answer as elements; its sentences come from the server.

import { call, json } from "./api.js";
import { trajectories } from "./chart.js";
import { el, move, moment, percent } from "./dom.js";
import { emotion, say } from "./words.js";

export async function show(place, answer) {
  const sentences = await json(`/v1/posts/${encodeURIComponent(answer.post_id)}/sentences`);
  place.className = "";
  place.replaceChildren(...parts(answer, sentences));
}

function parts(answer, sentences) {
  const paths = answer.trajectories;
  const drawn = paths && trajectories(paths);
  const { mood, hype, price, notes } = sentences;
  return [
    el("dl", { class: "facts" }, ...[mood, hype, price].map(fact)),
    notes.length ? el("ul", { class: "notes", "aria-label": say("page-js-notes") }, ...notes.map((text) => el("li", {}, text))) : null,
    el("h3", {}, say("page-js-emotions")), bars(answer.emotions), reasons(answer.emotions),
    el("h3", {}, paths ? say("page-js-after", { symbol: paths.symbol }) : say("page-js-prices")),
    drawn ? drawn.figure : el("p", { class: "empty" }, price.more),
    drawn && matches(paths, drawn.lines),
    el("h3", {}, say("page-js-in-words")), el("p", { class: "told" }, sentences.text),
    links(answer),
  ].filter(Boolean);
}

function fact({ name, big, more }) {
  return el("div", { class: "fact" }, el("dt", {}, name), el("dd", { class: "big" }, big), el("dd", { class: "more" }, more));
}

function bars(emotions) {
  const body = Object.entries(emotions.probabilities).sort((a, b) => b[1] - a[1]).map(([name, share]) => row(name, share, emotions));
  const head = ["", "", say("page-js-together"), emotions.text && say("page-js-words"), emotions.image && say("page-js-picture")].filter((text) => text !== null && text !== false);
  const kinds = [["", say("page-js-together")], emotions.text && ["words", say("page-js-words-alone")], emotions.image && ["picture", say("page-js-picture-alone")]].filter(Boolean);
  return el("div", {}, el("table", { class: "bars" }, el("thead", {}, el("tr", {}, ...head.map((text) => (text ? el("th", { scope: "col" }, text) : el("td", {}))))), el("tbody", {}, ...body)),
    el("ul", { class: "legend" }, ...kinds.map(([kind, text]) => el("li", {}, el("i", { class: kind }), text))));
}

function row(name, share, emotions) {
  const track = el("div", { class: "track", "aria-hidden": "true" });
  const fill = el("div", { class: "fill" });
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  for (const [kind, part] of [["words", emotions.text], ["picture", emotions.image]]) {
    if (!part) continue;
    const mark = el("span", { class: `mark ${kind}` });
    mark.style.left = `${100 * part[name]}%`;
    track.append(mark);
  }
  const numbers = [share, emotions.text?.[name], emotions.image?.[name]].filter((value) => value !== undefined);
  return el("tr", { class: name === emotions.label ? "strong" : "" }, el("th", { scope: "row" }, emotion(name)), el("td", {}, track), ...numbers.map((value) => el("td", { class: "n" }, percent(value))));
}

function reasons(emotions) {
  const told = (emotions.why.words ?? []).filter((word) => Math.abs(word.weight) >= 0.03).slice(0, 8);
  const apart = emotions.why.disagreement;
  if (!told.length && !apart?.differs) return null;
  const chip = ({ word, weight }) => el("li", { class: weight > 0 ? "for" : "against", title: say(weight > 0 ? "page-js-for" : "page-js-against", { share: percent(Math.abs(weight)) }) },
    `${weight > 0 ? "+" : "−"} ${word}`);
  return el("div", {}, told.length ? el("ul", { class: "chips", "aria-label": say("page-js-chips", { label: emotion(emotions.label) }) }, ...told.map(chip)) : null,
    apart?.differs ? el("p", { class: "hint" }, say("page-js-differ", { text: emotion(apart.text), image: emotion(apart.image) })) : null);
}

function matches(paths, lines) {
  const rows = paths.matches.map((match, k) => {
    const on = (yes) => () => lines[k].classList.toggle("on", yes);
    const end = match.change.length ? move(match.change[match.change.length - 1]) : "–";
    return el("tr", { tabindex: 0, onmouseenter: on(true), onmouseleave: on(false), onfocus: on(true), onblur: on(false) },
      el("td", {}, match.source), el("td", {}, moment(match.posted_at)), el("td", {}, match.symbol), el("td", {}, match.similarity.toFixed(2)), el("td", {}, end));
  });
  const head = ["source", "posted", "market", "similarity", "price-then"].map((key) => el("th", { scope: "col" }, say(`page-js-${key}`)));
  return el("details", { open: rows.length <= 12 }, el("summary", {}, say("page-js-matched", { count: rows.length })),
    el("div", { class: "scroll" }, el("table", { class: "matches" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))));
}

function links(answer) {
  const path = `/v1/posts/${encodeURIComponent(answer.post_id)}`;
  const open = (target) => async (event) => {
    event.preventDefault();
    window.open(URL.createObjectURL(await (await call(target)).blob()), "_blank", "noopener");
  };
  return el("p", { class: "links" }, el("a", { href: path, onclick: open(path) }, "JSON"), el("a", { href: `${path}/chart.png`, onclick: open(`${path}/chart.png`) }, "PNG"),
    el("span", { class: "hint" }, say("page-js-models", { revision: answer.revision, until: answer.trained_until.slice(0, 10) })));
}
