// The trajectories as an SVG that can be read with mouse, finger and arrow keys; and the tape as candles.

import { el, move, svg, ticks } from "./dom.js";
import { language, say } from "./words.js";

const H = 360, LEFT = 52, RIGHT = 14, TOP = 14, BOTTOM = 44;
const width = () => (window.innerWidth < 560 ? 380 : 760);
let charts = 0;

function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : 0;
}

function range(paths, matched) {
  const all = matched.flat();
  const low = Math.min(0, ...paths.low, ...paths.median, ...(paths.control_mean ?? []), quantile(all, 0.05));
  const high = Math.max(0, ...paths.high, ...paths.median, ...(paths.control_mean ?? []), quantile(all, 0.95));
  const room = Math.max(0.06 * (high - low), 0.05);
  return [low - room, high + room];
}

export function trajectories(paths) {
  const W = width();
  const matched = paths.matches.map((match) => match.change);
  const n = paths.median.length;
  const [low, high] = range(paths, matched.filter((change) => change.length));
  const x = (minute) => LEFT + (minute * (W - LEFT - RIGHT)) / (n - 1);
  const y = (value) => H - BOTTOM - ((value - low) * (H - TOP - BOTTOM)) / (high - low);
  const points = (values) => values.map((value, minute) => `${x(minute).toFixed(1)} ${y(value).toFixed(1)}`);
  const line = (values) => "M" + points(values).join("L");
  const clip = `plot-${++charts}`;
  const inside = svg("g", { "clip-path": `url(#${clip})` });
  const picture = svg("svg", {
    class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", tabindex: 0,
    "aria-label": say("page-js-chart", { symbol: paths.symbol, minutes: n, ...ends(paths, n - 1) }),
  }, svg("clipPath", { id: clip }, svg("rect", { x: LEFT, y: TOP, width: W - LEFT - RIGHT, height: H - TOP - BOTTOM })));
  const band = "M" + [...points(paths.low), ...points(paths.high).reverse()].join("L") + "Z";
  inside.append(svg("path", { class: "band", d: band }));
  const scale = ticks(low, high, 6);
  for (const value of scale.found) {
    picture.append(svg("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, move(value, scale.digits)));
    inside.append(svg("line", { class: Math.abs(value) < 1e-9 ? "zero" : "grid", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }));
  }
  for (let minute = 0; minute < n; minute += W < 500 ? 60 : 30) {
    picture.append(svg("text", { class: "tick", x: x(minute), y: H - BOTTOM + 18, "text-anchor": "middle" }, String(minute)));
  }
  picture.append(svg("text", { class: "axis", x: W - RIGHT, y: H - 6, "text-anchor": "end" }, say("page-js-minutes")));
  const lines = matched.map((change) => svg("path", { class: "match", d: change.length ? line(change) : "" }));
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  inside.append(...lines, svg("path", { class: "control", d: paths.control_mean ? line(paths.control_mean) : "" }), svg("path", { class: "halo", d: line(paths.median) }),
    svg("path", { class: "median", d: line(paths.median) }), cursor);
  picture.append(inside);
  const reading = el("p", { class: "reading hint", "aria-live": "polite" });
  readable(picture, cursor, reading, paths, x, W);
  return { figure: el("figure", {}, picture, reading, legend(paths)), lines };
}

const ends = (paths, at) => ({ median: move(paths.median[at]), low: move(paths.low[at]), high: move(paths.high[at]) });

function readable(picture, cursor, reading, paths, x, W) {
  const n = paths.median.length;
  let at = n - 1;
  const show = (minute) => {
    at = Math.max(0, Math.min(n - 1, minute));
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    reading.textContent = say("page-js-minute", { minute: at, ...ends(paths, at) });
  };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = ((event.clientX - box.left) * W) / box.width;
    show(Math.round(((place - LEFT) * (n - 1)) / (W - LEFT - RIGHT)));
  });
  picture.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, PageDown: at - 30, PageUp: at + 30, Home: 0, End: n - 1 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(steps[event.key]);
  });
  show(n - 1);
  cursor.setAttribute("visibility", "hidden");
}

function legend(paths) {
  const entry = (kind, text) => el("li", {}, el("i", { class: kind }), text);
  return el("ul", { class: "legend" }, entry("median", say("page-js-median")), entry("band", say("page-js-band", { coverage: Math.round(100 * paths.coverage.nominal) })),
    entry("match", say("page-js-match")), paths.control_mean && entry("control", say("page-js-control")));
}

export function candles(bars, symbol) {
  const W = width(), height = 260, right = 74;
  const low = Math.min(...bars.map((bar) => bar.low)), high = Math.max(...bars.map((bar) => bar.high));
  const room = (high - low || high * 0.001) * 0.06;
  const start = Date.parse(bars[0].opened_at), end = Date.parse(bars[bars.length - 1].opened_at);
  const wide = Math.max(1, Math.min(9, ((W - right) / ((end - start) / 60000 + 1)) * 0.7));
  const x = (bar) => 8 + ((Date.parse(bar.opened_at) - start) * (W - right - 16)) / (end - start || 1);
  const y = (price) => height - 26 - ((price - low + room) * (height - 40)) / (high - low + 2 * room);
  const last = bars[bars.length - 1];
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": say("page-js-tape-label", { symbol, count: bars.length, first: bars[0].open, last: last.close }) });
  const scale = ticks(low - room, high + room, 4);
  for (const price of scale.found) {
    picture.append(svg("line", { class: "grid", x1: 0, x2: W - right, y1: y(price), y2: y(price) }),
      svg("text", { class: "tick", x: W - right + 6, y: y(price) + 4 }, price.toLocaleString(language, { minimumFractionDigits: scale.digits, maximumFractionDigits: scale.digits })));
  }
  for (const bar of bars) {
    const kind = bar.close >= bar.open ? "up" : "down";
    picture.append(svg("line", { class: kind, x1: x(bar), x2: x(bar), y1: y(bar.high), y2: y(bar.low) }),
      svg("rect", { class: kind, x: x(bar) - wide / 2, width: wide, y: y(Math.max(bar.open, bar.close)), height: Math.max(1, Math.abs(y(bar.open) - y(bar.close))) }));
  }
  picture.append(svg("text", { class: "tick", x: 8, y: height - 6 }, bars[0].opened_at.slice(0, 16).replace("T", " ")),
    svg("text", { class: "tick", x: W - right, y: height - 6, "text-anchor": "end" }, last.opened_at.slice(0, 16).replace("T", " ") + " UTC"));
  return picture;
}
