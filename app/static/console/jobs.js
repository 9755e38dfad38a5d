// The jobs of this browser: kept by id, followed while they run, cancelled, opened again.
import { ask, askJson, ended, follow, Problem } from "./api.js";
import { announce, byId, el, fill, kept, table } from "./dom.js";
import { duration, whole } from "./numbers.js";
import { constants } from "./results_indexing.js";

const MOST_KEPT = 50;
const MOST_STREAMS = 3;
/** A browser has six connections to a server without TLS: more streams would keep everything else waiting. */

/** What this browser asked for. `entries` are plain: id, task, name, state, created, and the last progress. */
export const book = {
  entries: remembered(),
  listeners: new Set(),
  add(entry) {
    this.entries = [entry, ...this.entries.filter((one) => one.id !== entry.id)].slice(0, MOST_KEPT);
    this.changed();
  },
  update(job) {
    const entry = this.entries.find((one) => one.id === job.id);
    if (!entry) return;
    Object.assign(entry, { state: job.state, progress: job.progress, started: job.started, finished: job.finished, problem: job.problem?.detail ?? null });
    this.changed();
  },
  forget(test) {
    this.entries = this.entries.filter((one) => !test(one));
    this.changed();
  },
  changed() {
    kept.set("jobs", JSON.stringify(this.entries));
    this.told();
  },
  told() {
    const running = this.entries.filter((one) => !ended(one)).length;
    byId("jobs-count").textContent = running;
    byId("jobs-count").hidden = !running;
    byId("jobs-count").setAttribute("aria-label", `, ${running} running`);
    for (const listener of this.listeners) listener();
  },
};

/** What was kept; nothing where it cannot be read. */
function remembered() {
  try {
    const entries = JSON.parse(kept.get("jobs") || "[]");
    return Array.isArray(entries) ? entries.filter((one) => typeof one?.id === "string") : [];
  } catch {
    return [];
  }
}

/** Another tab of this browser has asked for something, or seen its end. */
addEventListener("storage", ({ key }) => {
  if (key !== "beamline.jobs") return;
  book.entries = remembered();
  book.told();
});

/** Cancel a job; gives it as it is then. */
export async function cancel(id) {
  const job = await (await ask(`jobs/${id}`, { method: "DELETE" })).json();
  book.update(job);
  announce("Cancelled");
  return job;
}

/** How far a job is: a part from 0 to 1 (null: unknown) and words. */
export function progressOf({ state, progress, started }) {
  if (state === "queued") return { part: null, text: "waits for a worker" };
  if (state !== "running") return { part: state === "done" ? 1 : null, text: state };
  if (!progress) return { part: null, text: started ? "has begun" : "begins" };
  if (progress.total) return { part: progress.done / progress.total, text: `${progress.done} of ${progress.total} done` };
  const { lattices_done: done = [], lattices = [], n_candidates: tried = 0, seconds = 0, best } = progress;
  const found = best ? ` · best so far ${best.bravais} ${constants(best.cell)}, M20 ${best.m20?.toFixed(1) ?? "–"}` : "";
  return {
    part: lattices.length ? done.length / lattices.length : null,
    text: `${done.length} of ${lattices.length} lattices · ${whole(tried)} cells tried · ${duration(seconds)}${found}`,
  };
}

/** A bar with words, to be kept up to date by `show(job)`. */
export function progressBar(label) {
  const bar = el("progress", { max: 1, "aria-label": label });
  const text = el("span");
  return {
    node: el("div.progress", {}, bar, text),
    show(job) {
      const { part, text: words } = progressOf(job);
      if (part === null) bar.removeAttribute("value");
      else bar.value = part;
      text.textContent = words;
    },
  };
}

/** The page of jobs. `open(entry)` shows a result. */
export class JobsView {
  constructor(root, open) {
    this.root = root;
    this.open = open;
    this.streams = new Map();
    this.body = el("div");
    root.append(el("h1", { tabindex: -1 }, "Jobs of this browser"),
      el("p.hint", {}, "Searches that run in the background. They go on when this page is closed; their results are kept by the service for a day, or as it is set."),
      this.body);
    book.listeners.add(() => { if (!root.hidden) this.draw(); });
  }

  show() {
    this.draw();
    this.watch();
  }

  hide() {
    for (const controller of this.streams.values()) controller.abort();
    this.streams.clear();
    clearInterval(this.timer);
  }

  draw() {
    if (this.body.contains(document.activeElement) && document.activeElement.dataset.id) this.focused = document.activeElement.dataset;
    const { id, act } = this.focused || {};
    fill(this.body, book.entries.length ? [this.list(), this.forgetButton()] : el("p", {}, "None yet. ", el("a", { href: "#analyse" }, "Index a powder pattern"), " and it stands here."));
    if (id) [...this.body.querySelectorAll("button")].find((one) => one.dataset.id === id && one.dataset.act === act)?.focus();
    this.focused = null;
  }

  list() {
    return table("Jobs", [
      { head: "What", cell: (e) => e.name },
      { head: "Begun", cell: (e) => new Date(e.created).toLocaleString() },
      { head: "State", cell: (e) => el("span", { class: `state ${e.state}` }, e.state) },
      { head: "Progress", cell: (e) => this.progress(e) },
      { head: el("span.unseen", {}, "Actions"), cell: (e) => this.buttons(e) },
    ], book.entries);
  }

  progress(entry) {
    if (entry.problem) return entry.problem;
    if (ended(entry)) return entry.finished && entry.started ? `took ${duration((Date.parse(entry.finished) - Date.parse(entry.started)) / 1000)}` : "–";
    const bar = progressBar(entry.name);
    bar.show(entry);
    return bar.node;
  }

  buttons(entry) {
    const button = (act, label, run) => el("button.small", { type: "button", "data-id": entry.id, "data-act": act, "aria-label": `${label} ${entry.name}`, onclick: run }, label);
    return el("span.actions", {},
      entry.state === "failed" || entry.state === "cancelled" ? null : button("open", ended(entry) ? "Show" : "Follow", () => this.open(entry)),
      ended(entry) ? button("forget", "Forget", () => book.forget((one) => one.id === entry.id)) : button("cancel", "Cancel", () => cancel(entry.id).catch((error) => this.failed(entry, error))));
  }

  forgetButton() {
    const all = book.entries.filter(ended).length;
    return all > 1 ? el("p", {}, el("button", { type: "button", onclick: () => book.forget(ended) }, `Forget all ${all} that have ended`)) : null;
  }

  /** A few are told of each change; the others are asked about. */
  watch() {
    clearInterval(this.timer);
    const running = book.entries.filter((entry) => !ended(entry));
    for (const entry of running.slice(0, MOST_STREAMS)) this.stream(entry);
    for (const entry of running.slice(MOST_STREAMS)) this.poll(entry);
    this.timer = setInterval(() => this.watch(), 5000);
  }

  async stream(entry) {
    if (this.streams.has(entry.id)) return;
    const controller = new AbortController();
    this.streams.set(entry.id, controller);
    try {
      for await (const job of follow(entry.id, controller.signal)) book.update(job);
    } catch (error) {
      this.failed(entry, error);
    } finally {
      this.streams.delete(entry.id);
    }
  }

  async poll(entry) {
    try {
      book.update(await askJson(`jobs/${entry.id}`));
    } catch (error) {
      this.failed(entry, error);
    }
  }

  failed(entry, error) {
    if (!(error instanceof Problem) || ![404, 410].includes(error.status)) return;
    Object.assign(entry, { state: "failed", problem: error.detail });
    book.changed();
  }
}
