// The form: collects a post, sends it, shows the answer or what went wrong.

import { call, json, key } from "./api.js";
import { el } from "./dom.js";
import { start } from "./feed.js";
import { watch } from "./rescore.js";
import { show } from "./view.js";
import { language, say } from "./words.js";

const place = (id) => document.getElementById(id);
const MAX_BYTES = 20 * 1024 * 1024;
let photo = null;
let running = null;

function choose(file) {
  photo = file ?? null;
  const preview = place("preview");
  URL.revokeObjectURL(preview.src);
  preview.hidden = place("remove").hidden = !photo;
  if (photo) preview.src = URL.createObjectURL(photo);
  else place("image").value = "";
  place("drop-label").querySelector("span").textContent = photo ? photo.name : say("page-js-drop-more");
}

function complain(problem) {
  place("error").hidden = !problem;
  if (!problem) return;
  const asks = problem.code === "wrong_key" && !key.get();
  place("error").replaceChildren(asks ? say("page-js-needs-key") : problem.message, ...(problem.id ? [el("small", {}, say("page-js-reference", { id: problem.id }))] : []));
  place("error").scrollIntoView({ block: "nearest" });
  if (problem.code === "wrong_key") place("key-row").hidden = false;
}

function busy() {
  const slow = el("p", {}, say("page-js-reading"));
  place("answer").className = "busy";
  place("answer").replaceChildren(el("div", {}, el("div", { class: "spin" }), slow));
  return setTimeout(() => { slow.textContent = say("page-js-reading-long"); }, 4000);
}

async function present(asking) {
  complain(null);
  place("send").disabled = true;
  const before = [...place("answer").childNodes], look = place("answer").className;
  const timer = busy();
  try {
    await show(place("answer"), await asking());
    place("result").focus({ preventScroll: true });
    place("result").scrollIntoView({ block: "nearest" });
  } catch (problem) {
    place("answer").className = look;
    place("answer").replaceChildren(...before);
    if (problem.name !== "AbortError") complain(problem);
  } finally {
    clearTimeout(timer);
    place("send").disabled = false;
  }
}

function send(event) {
  event.preventDefault();
  if (!place("key-row").hidden) key.set(place("key").value);
  if (photo && photo.size > MAX_BYTES) return complain(new Error(say("page-js-photo-size")));
  if (!photo && !place("caption").value.trim()) return complain(new Error(say("page-js-both-empty")));
  const form = new FormData();
  if (photo) form.append("image", photo, photo.name || "photo");
  form.append("caption", place("caption").value);
  form.append("symbol", place("symbol").value);
  if (place("at").value) form.append("at", place("at").value + "Z");
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  return present(() => json("/v1/analyze", { method: "POST", body: form, signal }));
}

async function health() {
  const state = place("state");
  const answer = await fetch("/ready").then((found) => found.json()).catch(() => null);
  const wrong = answer ? Object.values(answer.checks).find((reason) => reason !== "ok") : say("page-js-away");
  place("banner").hidden = answer?.feed?.kind !== "synthetic";
  state.textContent = wrong ?? say("page-js-well");
  state.classList.toggle("bad", Boolean(wrong));
}

function wire() {
  const drop = place("drop");
  place("ask").addEventListener("submit", send);
  place("image").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
  place("remove").addEventListener("click", () => { choose(null); place("image").focus(); });
  place("caption").addEventListener("keydown", (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && place("ask").requestSubmit());
  for (const kind of ["dragover", "dragenter"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); choose(event.dataTransfer.files[0]); });
  document.addEventListener("paste", (event) => { const file = [...event.clipboardData.files][0]; if (file) choose(file); });
  place("example")?.addEventListener("click", () => {
    place("caption").value = "So happy I held my bitcoin. To the moon!";
    place("ask").requestSubmit();
  });
}

function languages() {
  const choice = place("language");
  for (const key of document.querySelectorAll("#words dt[data-language]")) {
    choice.append(el("option", { value: key.dataset.language, selected: key.dataset.language === language }, key.nextElementSibling.textContent));
  }
  choice.addEventListener("change", () => { location.search = `?lang=${choice.value}`; });
}

wire();
languages();
health();
setInterval(() => document.hidden || health(), 10000);
call("/v1/markets").catch(complain);
watch();
start((id) => present(() => json(`/v1/posts/${encodeURIComponent(id)}`)));
