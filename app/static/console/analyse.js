// The first page: a file in, the picture and the numbers out.
import { ask, askJson, ended, follow, Problem } from "./api.js";
import { callOf, randomName, request, split } from "./call.js";
import { announce, el, fill } from "./dom.js";
import { InputView } from "./input.js";
import { book, cancel, progressBar } from "./jobs.js";
import { Options } from "./options.js";
import { problemBox } from "./problems.js";
import { ResultView } from "./result.js";
import { TASKS } from "./tasks.js";

/** The page: what to ask on the left, the answer on the right. */
export class AnalyseView {
  constructor(root, service) {
    this.options = Object.fromEntries(Object.keys(TASKS).map((task) =>
      [task, new Options(task, service.tasks[task], () => this.changed())]));
    this.known = service.tasks;
    this.calls = new Map();
    this.input = new InputView((given) => this.given(given), () => this.taskChosen());
    this.place = el("div");
    this.runButton = el("button.primary", { type: "submit", disabled: true, "aria-keyshortcuts": "Control+Enter" }, "Run");
    this.stopButton = el("button", { type: "button", hidden: true, onclick: () => this.stop() }, "Cancel");
    const reset = el("button.quiet", { type: "button", onclick: () => { this.form().reset(); this.changed(); } }, "Defaults");
    this.answer = el("div.answer", { tabindex: -1, "aria-label": "Answer" });
    root.append(
      el("form.ask", { "aria-label": "What to ask", novalidate: true, onsubmit: (event) => { event.preventDefault(); this.run(); } },
        el("h1.unseen", { tabindex: -1 }, "Analyse a measurement"),
        this.input.node, this.place, el("div.actions.run", {}, this.runButton, this.stopButton, reset)),
      this.answer);
    this.taskChosen();
    this.welcome();
  }

  form() {
    return this.options[this.input.task];
  }

  welcome() {
    fill(this.answer, el("section.welcome", {},
      el("h2", {}, "From a measurement to an answer"),
      el("p", {}, "Drop a file on this page, and it is shown what a trained model says of it, with an honest sigma. Nothing at hand? Try an example:"),
      el("ul.examples", {}, Object.entries(TASKS).map(([task, { title, question, example }]) => el("li", {},
        el("button", { type: "button", "data-example": task, onclick: () => this.example(task) },
          el("strong", {}, title), el("span", {}, question), el("span.hint", {}, `Example: ${example.label}`)))))));
  }

  /** Something was dropped, chosen or pasted. */
  given(given) {
    if (given?.json && given.task) {
      const lists = TASKS[given.task].json.lists;
      const { options, rest } = split(given.json, this.known[given.task], lists);
      given.json = rest;
      this.options[given.task].reset();
      this.options[given.task].set(options);
    }
    this.taskChosen();
  }

  taskChosen() {
    const json = this.input.given?.task === this.input.task ? this.input.given?.json : null;
    this.form().showFor(json);
    fill(this.place, this.form().node);
    this.changed();
  }

  changed() {
    this.runButton.disabled = !this.input.given;
    this.runButton.textContent = this.shownOnce ? "Run again" : "Run";
  }

  async example(task) {
    const { file, options } = TASKS[task].example;
    try {
      const response = await ask(`static/console/examples/${file}`);
      const content = new File([await response.blob()], file);
      await this.input.take([content], { example: file, task });
      this.form().reset();
      this.form().set(options);
      await this.run();
    } catch (error) {
      fill(this.answer, problemBox(error));
    }
  }

  /** A person has enough of what runs: a job tells its own end, a request is given up. */
  stop() {
    if (this.job) this.stopJob(this.job);
    else this.controller?.abort();
  }

  /** The next question takes the place of the last: of the same file it is the better one, another file's goes on. */
  makeRoom() {
    if (this.job && this.asked === this.input.given) cancel(this.job).catch(() => {});
    this.controller?.abort();
    this.job = null;
    this.asked = this.input.given;
  }

  /** Ask, and show what comes back. */
  async run() {
    if (!this.input.given) return announce("Give a file first", true);
    this.makeRoom();
    const controller = new AbortController();
    this.controller = controller;
    const call = callOf(this.input.request(), this.form().values());
    this.busy(true);
    this.form().mark([]);
    const view = new ResultView(call, this.input.name);
    try {
      fill(this.answer, this.waiting(call));
      if (call.isJob) await this.runJob(call, view, controller.signal);
      else await view.fetch(this.answer, controller.signal);
      this.shownOnce = true;
    } catch (error) {
      if (this.controller === controller) this.failed(error);
    } finally {
      if (this.controller === controller) this.busy(false);
    }
  }

  waiting(call) {
    announce("Asking the service");
    return el("section.waiting", {}, el("h2", {}, `${TASKS[call.task].title}: asking…`), el("div.skeleton"));
  }

  async runJob(call, view, signal) {
    // With a key of its own the same request is the same job: its picture and its tables come without a new search.
    call.headers = { "Idempotency-Key": randomName() };
    const [path, options] = request(call, "application/json", { Prefer: "respond-async" });
    const job = await askJson(path, { ...options, signal });
    if (!job.id) return view.show(this.answer, job, signal);
    this.job = job.id;
    this.calls.set(job.id, { call, name: this.input.name });
    book.add({ id: job.id, task: call.task, name: `${TASKS[call.task].title}: ${this.input.name}`, state: job.state, created: job.created });
    const last = await this.followed(job, signal);
    if (last) await this.finish(last, view, signal);
  }

  async followed(job, signal) {
    const bar = progressBar("Progress of the search");
    const stop = el("button", { type: "button", onclick: () => this.stopJob(job.id) }, "Cancel");
    fill(this.answer, el("section.waiting", {}, el("h2", {}, "Searching…"), bar.node, el("p.actions", {}, stop),
      el("p.hint", {}, "It goes on when you leave this page: ", el("a", { href: "#jobs" }, "Jobs"), " keeps it.")));
    let last = job;
    bar.show(job);
    for await (const one of follow(job.id, signal)) {
      last = one;
      bar.show(one);
      book.update(one);
    }
    return signal.aborted ? null : last;
  }

  async finish(job, view, signal) {
    this.job = null;
    if (job.state === "failed") throw new Problem(job.problem);
    if (job.state === "cancelled") return this.cancelled();
    await view.show(this.answer, job.result, signal);
  }

  async stopJob(id) {
    try {
      await cancel(id);
    } catch (error) {
      this.failed(error);
    }
  }

  cancelled() {
    fill(this.answer, el("section.waiting", {}, el("h2", {}, "Cancelled"), el("p", {}, "The search was stopped. Nothing of it is kept. Change an option, or run it again.")));
    announce("Cancelled");
  }

  failed(error) {
    if (error.name === "AbortError") return this.cancelled();
    this.form().mark(error.errors || []);
    fill(this.answer, problemBox(error, { again: () => this.run() }));
  }

  busy(is) {
    this.stopButton.hidden = !is;
    this.answer.setAttribute("aria-busy", String(is));
    this.changed();
  }

  /** A job of this browser: its progress, then its result; with the picture where the input is still here. */
  async open(entry) {
    this.controller?.abort();
    this.job = null;
    const controller = new AbortController();
    this.controller = controller;
    const { call, name } = this.calls.get(entry.id) || {};
    const view = new ResultView(call || { task: entry.task, path: null }, name || entry.name);
    try {
      const job = await askJson(`jobs/${entry.id}`);
      book.update(job);
      const last = ended(job) ? job : await this.followed(job, controller.signal);
      if (last) await this.finish(last, view, controller.signal);
    } catch (error) {
      if (this.controller === controller) this.failed(error);
    }
  }
}
