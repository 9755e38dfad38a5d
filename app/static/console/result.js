// An answer: the picture first, then the numbers, then how to have them again.
import { ask, askJson } from "./api.js";
import { request } from "./call.js";
import { announce, copy, el, fill, save } from "./dom.js";
import { problemBox } from "./problems.js";
import { RESULTS } from "./results.js";
import { bodyFile, curl, python } from "./snippets.js";
import { ENDINGS, MOST_PANELS, TASKS } from "./tasks.js";

const PLAIN = new Set(["polarization", "indexing", "waveform"]);
/** Their pictures are drawn on white with lines: turned over at night. Patterns have colours that mean something. */

let drawn = null;
/** Address of the last picture, given back with the next: a page stays open for a night. */

/** One answer. `call.path` is null where only the numbers are known. */
export class ResultView {
  constructor(call, name) {
    this.call = call;
    this.name = name;
    this.task = TASKS[call.task];
  }

  /** Ask for numbers and picture at once, and show each when it is there. */
  async fetch(place, signal) {
    const [path, options] = request(this.call, "application/json");
    await this.show(place, await askJson(path, { ...options, signal }), signal);
  }

  /** Show an answer in JSON, and ask for its picture. */
  async show(place, answer, signal) {
    this.answer = answer;
    const { title, lead, tone } = RESULTS[this.call.task].headline(answer);
    const isOne = !this.call.series && !answer.answers;
    this.figure = el("figure.picture", { class: `picture ${PLAIN.has(this.call.task) ? "plain" : ""}` });
    fill(place, el("section.result", { "aria-label": "Answer" },
      el("header", { class: `headline ${tone}` }, el("p.name", {}, this.name), el("h2", { tabindex: -1 }, title), lead ? el("p.lead", {}, lead) : null),
      isOne && this.call.path ? this.figure : null,
      isOne && !this.call.path ? el("p.hint", {}, "The picture needs the file: drop it again and run.") : null,
      this.downloads(isOne),
      el("div.numbers", {}, RESULTS[this.call.task].numbers(answer)),
      this.call.path ? this.sameCall(isOne) : null));
    announce(`${title}. ${lead}`);
    // Who changes options one after another stays in the form; who pressed what is gone now is led to the answer.
    if (!document.activeElement || document.activeElement === document.body) place.querySelector("h2").focus({ preventScroll: true });
    if (matchMedia("(max-width: 62rem)").matches) place.scrollIntoView({ block: "start" });
    if (isOne && this.call.path) await this.draw(signal, title);
  }

  async draw(signal, title) {
    fill(this.figure, el("div.skeleton", { role: "img", "aria-label": "The picture is being drawn" }));
    try {
      const [path, options] = request(this.pictured(), "image/svg+xml");
      const blob = await (await ask(path, { ...options, signal })).blob();
      if (drawn) URL.revokeObjectURL(drawn);
      drawn = URL.createObjectURL(blob);
      const image = el("img", { src: drawn, alt: `${this.task.title} of ${this.name}: ${title}` });
      await image.decode();
      if (!PLAIN.has(this.call.task)) image.style.maxWidth = `${image.naturalWidth / 10}rem`;
      const turned = el("button.quiet.small.turn", { type: "button", "aria-pressed": "false", onclick: () => {
        turned.setAttribute("aria-pressed", String(this.figure.classList.toggle("as-it-is")));
      } }, "Original colours");
      fill(this.figure, image, turned);
    } catch (error) {
      if (error.name !== "AbortError") fill(this.figure, problemBox(error, { again: () => this.draw(signal, title) }));
    }
  }

  /** One picture holds some panels: of more patterns the first. */
  pictured() {
    const many = this.call.task === "aggregates" && this.answer.patterns.length > MOST_PANELS && !this.call.json;
    const query = this.call.query.filter(([name]) => name !== "count");
    return many ? { ...this.call, query: [...query, ["count", String(MOST_PANELS)]] } : this.call;
  }

  downloads(isOne) {
    const forms = isOne && this.call.path ? Object.keys(this.task.forms) : ["json"];
    const inOrder = ["csv", "cif", "json", "svg", "png"].filter((form) => forms.includes(form));
    const status = el("span.hint", { role: "status" });
    return el("p.actions.downloads", {}, el("span.hint", {}, "Save as"), inOrder.map((form) =>
      el("button.small", { type: "button", "data-save": form, onclick: () => this.save(form, status) }, form.toUpperCase())), status);
  }

  async save(form, status) {
    const name = `${this.name.replace(/[^\w.-]+/g, "_") || this.call.task}.${ENDINGS[this.task.forms[form]]}`;
    try {
      if (form === "json") save(JSON.stringify(this.answer), name, "application/json");
      else {
        const picture = form === "svg" || form === "png";
        const [path, options] = request(picture ? this.pictured() : this.call, this.task.forms[form]);
        save(await (await ask(path, options)).blob(), name);
      }
      status.textContent = `saved ${name}`;
    } catch (error) {
      status.textContent = error.message;
      announce(error.message, true);
    }
  }

  /** The call that was made, to be copied. */
  sameCall(isOne) {
    const forms = isOne ? Object.keys(this.task.forms) : ["json"];
    const code = el("code");
    const select = el("select", { id: "call-form" }, forms.map((form) => el("option", { value: form }, form.toUpperCase())));
    const write = { curl, python };
    let language = "curl";
    const show = () => { code.textContent = write[language](this.call, select.value); };
    const tabs = Object.keys(write).map((name) => el("button.small", { type: "button", "aria-pressed": String(name === language), "data-language": name, onclick: () => {
      language = name;
      tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.dataset.language === name)));
      show();
    } }, name === "curl" ? "curl" : "Python"));
    const copied = el("button.small", { type: "button", "data-copy": "call", onclick: () => copy(code.textContent).then(
      () => announce("Copied"), (error) => announce(error.message, true)) }, "Copy");
    select.addEventListener("change", show);
    show();
    return el("section.same", { "aria-label": "The same call" }, el("h3", {}, "The same call"),
      el("p.actions", {}, tabs, el("label", { for: "call-form" }, "answer as "), select, copied, this.body()),
      el("pre", { tabindex: 0, "aria-label": "Command" }, code));
  }

  body() {
    const name = bodyFile(this.call);
    return name ? el("button.small", { type: "button", onclick: () => save(JSON.stringify(this.call.json), name, "application/json") }, `Save ${name}`) : null;
  }
}
