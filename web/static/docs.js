// Draws /openapi.json; nothing from elsewhere.

import { el } from "./dom.js";

const place = document.getElementById("routes");

function parameters(route) {
  const body = Object.values(route.requestBody?.content ?? {})[0]?.schema?.properties ?? {};
  const fields = Object.entries(body).map(([name, schema]) => [name, "form field", false, schema]);
  const given = (route.parameters ?? []).map((p) => [p.name, p.in, p.required, { description: p.description, ...p.schema }]);
  return [...given, ...fields];
}

function limits(schema) {
  const found = [schema.description, schema.default !== undefined && `default ${schema.default}`, schema.minimum !== undefined && `≥ ${schema.minimum}`, schema.maximum !== undefined && `≤ ${schema.maximum}`];
  return found.filter(Boolean).join("; ").replaceAll("`", "");
}

function table(rows) {
  if (!rows.length) return null;
  const head = el("tr", {}, ...["name", "where", "meaning"].map((text) => el("th", { scope: "col" }, text)));
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows.map(([name, where, required, schema]) =>
    el("tr", {}, el("td", {}, el("code", {}, name)), el("td", {}, required ? `${where}, required` : where), el("td", {}, limits(schema))))));
}

function example(method, path) {
  const send = method === "post" ? ' -F image=@photo.jpg -F caption="To the moon!"' : path === "/v1/live" ? " -N" : "";
  return el("pre", {}, `curl${send} ${location.origin}${path}`);
}

function card(path, method, route) {
  return el("section", { class: "route" }, el("h2", {}, el("b", {}, method.toUpperCase()), path), el("p", {}, route.summary ?? ""),
    route.description && el("p", { class: "hint" }, route.description.replaceAll("`", "")), table(parameters(route)), example(method, path));
}

try {
  const found = await (await fetch("/openapi.json")).json();
  place.replaceChildren(...Object.entries(found.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, route]) => card(path, method, route))));
} catch {
  place.replaceChildren(el("p", { class: "error" }, "The description cannot be read now; reload the page in a moment."));
}
const health = await fetch("/ready").then((answer) => answer.json()).catch(() => ({}));
document.getElementById("banner").hidden = health.feed?.kind !== "synthetic";
