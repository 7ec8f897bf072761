// An answer as elements.

import { call } from "./api.js";
import { trajectories } from "./chart.js";
import { el, move, moment, percent } from "./dom.js";

export async function show(place, answer) {
  const words = await call(`/v1/posts/${encodeURIComponent(answer.post_id)}/words`).then((told) => told.text()).catch(() => "");
  place.className = "";
  place.replaceChildren(...parts(answer, words));
}

function parts(answer, words) {
  const paths = answer.trajectories;
  const drawn = paths && trajectories(paths);
  return [
    el("dl", { class: "facts" }, mood(answer.emotions), hype(answer.hype.symbol), price(paths)),
    el("h3", {}, "Emotions"), bars(answer.emotions), reasons(answer.emotions),
    el("h3", {}, paths ? `What ${paths.symbol} did after similar posts` : "Prices after similar posts"),
    drawn ? drawn.figure : el("p", { class: "empty" }, "No similar past post had an outcome that was known at that time."),
    drawn && matches(paths, drawn.lines),
    words && el("h3", {}, "In words"), words && el("p", { class: "told" }, words),
    links(answer),
  ].filter(Boolean);
}

function fact(name, big, more) {
  return el("div", { class: "fact" }, el("dt", {}, name), el("dd", { class: "big" }, big), el("dd", { class: "more" }, more));
}

function mood(emotions) {
  if (!emotions.label) return fact("Mood", "none claimed", "the reason stands in the words below");
  const faces = emotions.faces ? `, ${emotions.faces} face${emotions.faces > 1 ? "s" : ""} found` : "";
  const from = emotions.text && emotions.image ? "from words and picture" : emotions.image ? "from the picture" : "from the words";
  return fact("Mood", emotions.label, `${percent(emotions.probabilities[emotions.label])} sure, ${from}${faces}`);
}

function hype(forecast) {
  if (forecast.probability === null) return fact("Hype", "no forecast", "the reason stands in the words below");
  const usual = forecast.base_rate === null ? "" : `usually ${percent(forecast.base_rate)}; `;
  const weak = forecast.signal ? "" : " A weak forecast.";
  return fact("Hype", percent(forecast.probability), `${usual}unusual activity within ${forecast.horizon_minutes} minutes.${weak}`);
}

function price(paths) {
  if (!paths) return fact("Price", "no matches", "nothing similar is known before that time");
  const last = paths.median.length - 1;
  return fact(`${paths.symbol} after ${paths.median.length} min`, move(paths.median[last]),
    `${Math.round(100 * paths.coverage.nominal)} % band ${move(paths.low[last])} to ${move(paths.high[last])}; ${paths.matches.length} matches in ${paths.independent_windows} independent windows`);
}

function bars(emotions) {
  const body = Object.entries(emotions.probabilities).sort((a, b) => b[1] - a[1]).map(([name, share]) => row(name, share, emotions));
  const head = ["", "", "together", emotions.text && "words", emotions.image && "picture"].filter((text) => text !== null && text !== false);
  const kinds = [["", "together"], emotions.text && ["words", "words alone"], emotions.image && ["picture", "picture alone"]].filter(Boolean);
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
  return el("tr", { class: name === emotions.label ? "strong" : "" }, el("th", { scope: "row" }, name), el("td", {}, track), ...numbers.map((value) => el("td", { class: "n" }, percent(value))));
}

function reasons(emotions) {
  const told = (emotions.why.words ?? []).filter((word) => Math.abs(word.weight) >= 0.03).slice(0, 8);
  const apart = emotions.why.disagreement;
  if (!told.length && !apart?.differs) return null;
  const chip = ({ word, weight }) => el("li", { class: weight > 0 ? "for" : "against", title: `${weight > 0 ? "for" : "against"}: ${percent(Math.abs(weight))} of the weight` },
    `${weight > 0 ? "+" : "−"} ${word}`);
  return el("div", {}, told.length ? el("ul", { class: "chips", "aria-label": `Words for (+) and against (−) ${emotions.label}` }, ...told.map(chip)) : null,
    apart?.differs ? el("p", { class: "hint" }, `The words say ${apart.text}, the picture ${apart.image}.`) : null);
}

function matches(paths, lines) {
  const rows = paths.matches.map((match, k) => {
    const on = (yes) => () => lines[k].classList.toggle("on", yes);
    const end = match.change.length ? move(match.change[match.change.length - 1]) : "–";
    return el("tr", { tabindex: 0, onmouseenter: on(true), onmouseleave: on(false), onfocus: on(true), onblur: on(false) },
      el("td", {}, match.source), el("td", {}, moment(match.posted_at)), el("td", {}, match.symbol), el("td", {}, match.similarity.toFixed(2)), el("td", {}, end));
  });
  const head = ["source", "posted", "market", "similarity", "price then"].map((text) => el("th", { scope: "col" }, text));
  return el("details", { open: rows.length <= 12 }, el("summary", {}, `${rows.length} matched posts`),
    el("div", { class: "scroll" }, el("table", { class: "matches" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))));
}

function links(answer) {
  const path = `/v1/posts/${encodeURIComponent(answer.post_id)}`;
  const open = (target) => async (event) => {
    event.preventDefault();
    window.open(URL.createObjectURL(await (await call(target)).blob()), "_blank", "noopener");
  };
  return el("p", { class: "links" }, el("a", { href: path, onclick: open(path) }, "JSON"), el("a", { href: `${path}/chart.png`, onclick: open(`${path}/chart.png`) }, "PNG"),
    el("span", { class: "hint" }, `models ${answer.revision}, trained on data until ${answer.trained_until.slice(0, 10)}`));
}
