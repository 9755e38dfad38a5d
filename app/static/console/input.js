// What is given: a file that is dropped, chosen or pasted, and the job that it is for.
import { announce, el, fill, save } from "./dom.js";
import { bytes } from "./numbers.js";
import { recognise } from "./recognise.js";
import { TASKS } from "./tasks.js";

/** The upper half of the form. `given` and `task` are what was chosen last. */
export class InputView {
  constructor(ongiven, ontask) {
    this.ongiven = ongiven;
    this.ontask = ontask;
    this.given = null;
    this.task = "polarization";
    this.picker = el("input.unseen", { type: "file", id: "file", multiple: true, onchange: () => this.take([...this.picker.files]) });
    this.chosen = el("div.chosen", { hidden: true });
    this.takes = el("p.hint", { id: "takes" });
    this.drop = el("div.drop", {}, this.picker,
      el("label", { for: "file" }, el("strong", {}, "Drop a file"), " or ", el("span.link", {}, "choose one")), this.pasting());
    this.jobs = el("fieldset.jobs", {}, el("legend", {}, "What is it?"), Object.entries(TASKS).map(([name, { title }], at) => this.choice(name, title, at)));
    this.node = el("div.input", {}, this.drop, this.chosen, this.jobs, this.takes);
    this.choose(this.task, false);
    this.listen();
  }

  /** Name of what was given. */
  get name() {
    return this.given ? this.given.files.map((file) => file.name).join(", ").slice(0, 80) : "";
  }

  choice(name, title, at) {
    const input = el("input", { type: "radio", name: "job", value: name, onchange: () => this.choose(name) });
    return el("label", { title: `${TASKS[name].question} (${at + 1})` }, input, el("span", {}, title));
  }

  pasting() {
    const area = el("textarea", { id: "paste", rows: 5, spellcheck: "false", placeholder: "Columns, a list of lines, a .fli, or a request in JSON" });
    const use = el("button", { type: "button", onclick: () => { if (area.value.trim()) this.takeText(area.value); } }, "Use this text");
    this.pasteFold = el("details", {}, el("summary", {}, "or paste text"), el("label", { for: "paste" }, "Text of a measurement"), area, use);
    this.pasteArea = area;
    return this.pasteFold;
  }

  listen() {
    const isFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
    addEventListener("dragover", (event) => { if (isFiles(event)) { event.preventDefault(); document.body.classList.add("dragging"); } });
    addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
    addEventListener("drop", (event) => {
      document.body.classList.remove("dragging");
      if (!isFiles(event)) return;
      event.preventDefault();
      location.hash = "#analyse";
      this.take([...event.dataTransfer.files]);
    });
    addEventListener("paste", (event) => {
      if (event.target.closest?.("input, textarea, select, dialog")) return;
      const { files } = event.clipboardData;
      const text = event.clipboardData.getData("text");
      if (files.length) this.take([...files]);
      else if (text.trim()) this.takeText(text);
    });
  }

  async takeText(text) {
    const isJson = /^\s*[{[]/.test(text);
    const file = new File([text], isJson ? "pasted.json" : "pasted.txt");
    const isDecay = /polari[sz]er cell info/i.test(text);
    await this.take([isDecay ? new File([text], "pasted.fli") : file], { pasted: true });
  }

  /** Take files, and guess what they are. */
  async take(files, more = {}) {
    if (!files.length) return;
    const found = await recognise(files);
    this.given = { files, ...found, ...more };
    this.picker.value = "";
    this.pasteFold.open = false;
    if (this.given.task) this.choose(this.given.task, false);
    this.show();
    this.ongiven(this.given);
  }

  show() {
    const { files, why, sure, pasted } = this.given;
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const guess = sure ? why : `${why}: is “${TASKS[this.task].title}” right?`;
    const keep = pasted ? el("button.quiet.small", { type: "button", onclick: () => save(files[0], files[0].name) }, "Save") : null;
    const remove = el("button.quiet.small", { type: "button", "aria-label": `Remove ${this.name}`, onclick: () => this.remove() }, "Remove");
    fill(this.chosen, el("span", {}, el("strong", {}, this.name), ` ${files.length > 1 ? `${files.length} files, ` : ""}${bytes(size)}`), keep, remove,
      el("span", { class: sure ? "hint" : "hint doubt" }, guess));
    this.chosen.hidden = false;
    announce(`${this.name}: ${guess}`);
  }

  remove() {
    this.given = null;
    this.chosen.hidden = true;
    this.ongiven(null);
    this.picker.focus();
  }

  choose(task, byHand = true) {
    this.task = task;
    for (const input of this.jobs.querySelectorAll("input")) input.checked = input.value === task;
    this.takes.textContent = `${TASKS[task].question} Takes ${TASKS[task].takes}.`;
    this.picker.accept = "";
    if (byHand) this.ontask();
  }

  /** What `callOf` takes: a request in JSON stays one only for the job that it was made for. */
  request() {
    const { files, json, series, task, example } = this.given;
    const isSame = task === this.task;
    return { task: this.task, files, json: isSame ? json : null, series: isSame && series, example };
  }
}
