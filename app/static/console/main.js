// The page as a whole: which view is shown, the theme, the key, the health of the service, the keyboard.
import { AnalyseView } from "./analyse.js";
import { askJson, key, Problem } from "./api.js";
import { announce, byId, el, fill, kept } from "./dom.js";
import { book, JobsView } from "./jobs.js";
import { ModelsView } from "./models.js";
import { problemBox } from "./problems.js";
import { SHORTCUTS, shortcuts } from "./shortcuts.js";

const HEALTH_EVERY_MS = 15_000;
const TITLES = { analyse: "Analyse", jobs: "Jobs", models: "Models" };
const views = {};

async function start() {
  let waiting = null;
  theme();
  keys();
  watchHealth();
  views.models = new ModelsView(byId("view-models"));
  views.jobs = new JobsView(byId("view-jobs"), (entry) => {
    location.hash = "#analyse";
    // Who is quicker than the page: it is opened as soon as it can be.
    if (views.analyse) views.analyse.open(entry);
    else waiting = entry;
  });
  book.changed();
  addEventListener("hashchange", () => show(true));
  show(false);
  try {
    views.analyse = new AnalyseView(byId("view-analyse"), await askJson("static/console/service.json"));
  } catch (error) {
    fill(byId("view-analyse"), problemBox(error, { again: () => location.reload() }));
    return;
  }
  if (waiting) views.analyse.open(waiting);
  shortcuts(actions());
  document.documentElement.dataset.ready = "true";
}

// --- views --------------------------------------------------------------------------------------

function show(moved) {
  takeKey();
  const [asked, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
  if (asked === "main") return;
  const name = asked in TITLES ? asked : "analyse";
  for (const view of Object.keys(TITLES)) byId(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} · Model server for beamlines`;
  if (name === "jobs") views.jobs.show();
  else views.jobs.hide();
  if (name === "models") views.models.show(...rest);
  if (moved && !rest.length) byId(`view-${name}`).querySelector("h1")?.focus({ preventScroll: true });
}

// --- theme --------------------------------------------------------------------------------------

function theme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = byId("theme-button");
  const draw = () => button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    kept.set("theme", (root.dataset.theme === "dark") === system.matches ? null : root.dataset.theme);
    draw();
  });
  system.addEventListener("change", draw);
  draw();
}

// --- key ----------------------------------------------------------------------------------------

function keys() {
  const button = byId("key-button");
  const draw = () => {
    button.hidden = !key.get();
    button.textContent = "Forget key";
  };
  button.addEventListener("click", () => { key.set(null); draw(); announce("The key is forgotten"); });
  let open = null;
  key.ask = (problem) => { open ??= askForKey(problem).finally(() => { open = null; draw(); }); return open; };
  draw();
}

/** Take a key out of the address that `serve --single-user` prints; what is behind the # is sent to nobody. */
function takeKey() {
  const given = /^#key=([!-~]+)$/.exec(location.hash);
  if (!given) return;
  history.replaceState(null, "", location.pathname + location.search);
  // A link from elsewhere must not make somebody work with a key that another one can look over.
  const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (!isHere && !confirm("This address brings a key of the service with it. Work with that key?")) return;
  key.set(given[1]);
  byId("key-button").hidden = false;
  byId("key-button").textContent = "Forget key";
}

function askForKey(problem) {
  const input = el("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const wrong = key.get() ? el("p.field-error", {}, `The key that was given is not taken: ${problem.detail}`) : null;
  const dialog = el("dialog", { "aria-labelledby": "key-title" }, el("form", { method: "dialog" },
    el("h2", { id: "key-title" }, "This service asks for a key"), wrong,
    el("p", {}, "Whoever runs the service gives you one. It stays in this tab until you close it."),
    el("label", { for: "key" }, "Key"), input,
    el("p.actions", {}, el("button.primary", { value: "ok" }, "Use this key"), el("button", { value: "no", formnovalidate: true }, "Not now"))));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    const given = dialog.returnValue === "ok" && input.value.trim();
    if (given) key.set(given);
    dialog.remove();
    resolve(Boolean(given));
  }));
}

// --- health -------------------------------------------------------------------------------------

function watchHealth() {
  const look = async () => {
    if (!document.hidden) tell(await askJson("health/ready").catch((error) => error));
  };
  document.addEventListener("visibilitychange", look);
  setInterval(look, HEALTH_EVERY_MS);
  look();
}

function tell(found) {
  const [state, text] = healthOf(found);
  byId("health").className = `health ${state}`;
  if (byId("health-text").textContent !== text) byId("health-text").textContent = text;
}

function healthOf(found) {
  if (found instanceof Problem) return found.status === 503 ? ["busy", "loading models"] : ["away", found.status ? `answers ${found.status}` : "no answer"];
  if (found instanceof Error) return ["away", "no answer"];
  const { models, jobs, access } = found;
  if (access?.trouble) return ["busy", `keys: ${access.trouble}`];
  if (jobs.trouble) return ["busy", `${models.length} models ready · jobs wait: ${jobs.trouble}`];
  return ["ready", `ready · ${models.length} models · ${jobs.ready}/${jobs.workers} workers`];
}

// --- keyboard -----------------------------------------------------------------------------------

function actions() {
  const { analyse } = views;
  byId("help-button").addEventListener("click", help);
  return {
    help,
    choose: () => { location.hash = "#analyse"; analyse.input.picker.click(); },
    paste: () => { location.hash = "#analyse"; analyse.input.pasteFold.open = true; analyse.input.pasteArea.focus(); },
    run: () => analyse.run(),
    stop: () => { if (!analyse.stopButton.hidden) analyse.stop(); },
    example: () => { location.hash = "#analyse"; analyse.example(analyse.input.task); },
    task: (at) => analyse.input.choose(["polarization", "indexing", "waveform", "aggregates"][at]),
    view: (name) => { location.hash = `#${name}`; },
    theme: () => byId("theme-button").click(),
  };
}

function help() {
  const on = el("input", { type: "checkbox", id: "single-keys", checked: kept.get("single-keys") !== "off",
    onchange: () => kept.set("single-keys", on.checked ? null : "off") });
  const dialog = el("dialog", { "aria-labelledby": "help-title", onclose: () => dialog.remove() }, el("form", { method: "dialog" },
    el("h2", { id: "help-title" }, "Shortcuts"),
    el("dl.keys", {}, SHORTCUTS.map(([keys_, text]) => [el("dt", {}, keys_.split(" ").map((one) => el("kbd", {}, one))), el("dd", {}, text)])),
    el("p.field.check", {}, on, el("label", { for: "single-keys" }, "Single keys work (outside of fields)")),
    el("p.actions", {}, el("button.primary", {}, "Close"))));
  document.body.append(dialog);
  dialog.showModal();
}

start();
