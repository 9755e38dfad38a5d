// The model store: names, versions, who is stable, cards and metrics.
import { askJson } from "./api.js";
import { announce, el, fill, folded, table } from "./dom.js";
import { markdown } from "./markdown.js";
import { bytes, num, when } from "./numbers.js";
import { problemBox } from "./problems.js";

const JOBS = { polarization: "Polarization", indexing: "Indexing", waveform: "Waveforms", aggregates: "Aggregates" };

/** The page of models. */
export class ModelsView {
  constructor(root) {
    this.list = el("nav.list", { "aria-label": "Models and versions" });
    this.detail = el("article.detail", { "aria-live": "off" });
    root.append(el("h1", { tabindex: -1 }, "Models"), el("div.two", {}, this.list, this.detail));
  }

  /** Show the list, and one version where the address names it. */
  async show(name, version) {
    try {
      const { models } = await askJson("models");
      fill(this.list, groups(models).map(([title, members]) => [el("h2", {}, title), el("ul", {}, members.map((model) => entry(model, name, version)))]));
      const first = models.find((model) => stable(model)) || models[0];
      if (name) await this.open(name, version || "stable");
      else if (first) fill(this.detail, el("p.hint", {}, "Choose a version to read its card: what it is for, what it was trained on, how good it is."));
      else fill(this.detail, el("p", {}, "The store is empty."));
    } catch (error) {
      fill(this.detail, problemBox(error, { again: () => this.show(name, version) }));
    }
  }

  async open(name, version) {
    fill(this.detail, el("p.hint", {}, "Reading the card…"));
    const told = await askJson(`models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`);
    fill(this.detail, card(told));
    announce(`${name} version ${told.version}`);
    if (matchMedia("(max-width: 62rem)").matches) this.detail.scrollIntoView({ block: "start" });
  }
}

const stable = (model) => model.versions.find(({ aliases }) => aliases.includes("stable"));

function groups(models) {
  const found = new Map(Object.values(JOBS).map((title) => [title, []]));
  for (const model of models) {
    const title = JOBS[model.name.split("-")[0]] || "Others";
    found.set(title, [...(found.get(title) || []), model]);
  }
  return [...found].filter(([, members]) => members.length);
}

function entry(model, name, version) {
  const links = [...model.versions].reverse().map((one) => {
    const isCurrent = model.name === name && (String(one.version) === version || one.aliases.includes(version));
    return el("li", {}, el("a", { href: `#models/${model.name}/${one.version}`, "aria-current": isCurrent ? "true" : null },
      `version ${one.version}`), " ", badges(one));
  });
  return el("li", {}, el("strong", {}, model.name), el("ul", {}, links));
}

function badges({ aliases, state, reason }) {
  return [
    aliases.map((alias) => el("span", { class: alias === "stable" ? "badge stable" : "badge" }, alias)),
    state === "ready" ? el("span.badge.ready", {}, "ready") : el("span", { class: `badge ${state}`, title: reason }, state),
    reason ? el("span.hint", {}, ` ${reason}`) : null,
  ].flat().flatMap((one) => [one, " "]);
}

function card(told) {
  const size = Object.values(told.files).reduce((sum, file) => sum + file.bytes, 0);
  const text = told.card.replace(/^# .*\n/, "").replace(told.description, "");
  return [
    el("header", {}, el("h2", {}, `${told.name} `, el("span.version", {}, `version ${told.version}`)), el("p", {}, badges(told))),
    el("p.lead", {}, told.description),
    el("p.hint", {}, `${told.family} · published ${when(told.created)} UTC · ${bytes(size)}${told.origin ? ` · from ${told.origin}` : ""}`),
    told.notes.length ? el("div.note", {}, el("strong", {}, "What to know"), el("ul", {}, told.notes.map((note) => el("li", {}, note)))) : null,
    metrics(told.metrics),
    el("section.card", { "aria-label": "Model card" }, markdown(text, 2)),
    told.features.length ? folded(`What it sees: ${told.features.length} features`, () => features(told.features)) : null,
    folded("Files", () => table("Files", [
      { head: "File", cell: ([name]) => name },
      { head: "Size", num: true, cell: ([, file]) => bytes(file.bytes) },
      { head: "SHA-256", cell: ([, file]) => el("code", {}, file.sha256) },
    ], Object.entries(told.files))),
  ];
}

/** Metrics as tables: methods in rows where there are several, numbers in columns. */
function metrics(all) {
  const groups = Object.entries(all);
  if (!groups.length) return null;
  return folded("Metrics", () => groups.map(([name, value]) => (isNested(value) ? matrix(name, value) : facts(name, value))));
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isNested = (value) => isObject(value) && Object.values(value).length > 0 && Object.values(value).every(isObject);

function matrix(name, methods) {
  const rows = Object.entries(methods);
  const heads = [...new Set(rows.flatMap(([, row]) => Object.keys(row).filter((key) => !isObject(row[key]))))];
  return table(name, [
    { head: "Method", cell: ([method]) => method },
    ...heads.map((head) => ({ head, num: true, cell: ([, row]) => shown(row[head]) })),
  ], rows);
}

function facts(name, value) {
  const rows = flat(value);
  return table(name, [
    { head: "Metric", cell: ([metric]) => metric || name },
    { head: "Value", num: true, cell: ([, found]) => shown(found) },
  ], rows);
}

/** Nested metrics as rows: `clean / rmse`. */
function flat(value, way = []) {
  if (!isObject(value)) return [[way.join(" / "), value]];
  return Object.entries(value).flatMap(([name, one]) => flat(one, [...way, name]));
}

function shown(value) {
  if (Array.isArray(value)) return value.length && value.every((one) => typeof one === "number") ? value.map((one) => num(one, 3)).join(", ") : "–";
  if (typeof value !== "number") return value === undefined || value === null ? "–" : String(value);
  return Number.isInteger(value) ? value.toLocaleString("en") : num(value, 3);
}

const features = (list) => table("Features", [
  { head: "Feature", cell: (f) => f.name },
  { head: "Unit", cell: (f) => f.unit || "–" },
  { head: "Smallest in training", num: true, cell: (f) => num(f.min) },
  { head: "Largest", num: true, cell: (f) => num(f.max) },
], list);
