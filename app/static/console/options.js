// The form of a job's options, made from what the service says of them.
import { el } from "./dom.js";
import { TASKS } from "./tasks.js";

const UNITS = {
  ang: "Å", ang3: "Å³", deg: "°", s: "s", us: "µs", ns: "ns", mm: "mm", um: "µm", nm: "nm", px: "px", ev: "eV",
  phd_per_electron: "phd", mm_per_us: "mm/µs", cm2_per_s: "cm²/s",
};

const NAMES = { threshold_polarization: "Threshold", max_seconds: "Longest search", step_s: "Step of the curve", show: "Show in the picture", pulses: "Tell the pulses", correction: "Correction of the slope" };

/** Name and unit for people: `two_theta_min_deg` is "Two theta min" in °. */
export function labelOf(name) {
  if (name === "max_seconds") return { words: NAMES[name], unit: "s" };
  const unit = Object.keys(UNITS).sort((a, b) => b.length - a.length).find((end) => name.endsWith(`_${end}`));
  const words = (unit ? name.slice(0, -unit.length - 1) : name).replaceAll("_", " ");
  if (name in NAMES) return { words: NAMES[name], unit: unit ? UNITS[unit] : "" };
  return { words: words[0].toUpperCase() + words.slice(1), unit: unit ? UNITS[unit] : "" };
}

/**
 * The form of one job.
 * @param {string} task name of the job.
 * @param {Array} known what the service says of its options.
 * @param {function} onchange called after each change.
 */
export class Options {
  constructor(task, known, onchange) {
    this.task = task;
    const first = TASKS[task].first;
    const byName = new Map(known.map((option) => [option.name, option]));
    const inFront = first.map((name) => byName.get(name)).filter(Boolean);
    const behind = known.filter((option) => !first.includes(option.name));
    this.fields = new Map([...inFront, ...behind].map((option) => [option.name, new Field(task, option, onchange)]));
    const node = (option) => this.fields.get(option.name).node;
    this.node = el("div.options", {},
      el("div.grid", {}, inFront.map(node)),
      behind.length ? el("details", {}, el("summary", {}, "Advanced options"), el("div.grid", {}, behind.map(node))) : null);
    this.set(TASKS[task].defaults || {});
  }

  /** What was said, by name; what is as the service has it anyway is left out. */
  values() {
    const found = {};
    for (const [name, field] of this.fields) {
      const value = field.node.hidden ? null : field.value();
      if (value !== null) found[name] = value;
    }
    return found;
  }

  /** Set some; the others stay. */
  set(values) {
    for (const [name, value] of Object.entries(values)) this.fields.get(name)?.set(value);
  }

  /** Back to the service's own. */
  reset() {
    for (const field of this.fields.values()) field.set(null);
    this.set(TASKS[this.task].defaults || {});
  }

  /** Show those that go with a file, or with a request in JSON. */
  showFor(json) {
    const also = TASKS[this.task].json.also || [];
    for (const [name, field] of this.fields) field.node.hidden = Boolean(json) && !field.option.json && !also.includes(name);
  }

  /** Mark the fields that a problem names; gives those found. */
  mark(errors) {
    for (const field of this.fields.values()) field.mark("");
    return errors.filter(({ loc, msg }) => {
      const field = this.fields.get(String(loc.filter((part) => typeof part === "string").at(-1)));
      field?.mark(msg.replace(`${field.option.name}: `, ""));
      return field;
    });
  }
}

class Field {
  constructor(task, option, onchange) {
    this.option = option;
    const id = `option-${task}-${option.name}`;
    const { words, unit } = labelOf(option.name);
    this.error = el("p.field-error", { id: `${id}-error`, hidden: true });
    this.control = controlOf(option, id);
    const text = [words, unit ? el("span.unit", {}, ` [${unit}]`) : null];
    const hint = el("p.hint", { id: `${id}-hint` }, plain(option.description));
    this.isGroup = this.control.tagName === "FIELDSET";
    if (this.isGroup) this.control.prepend(el("legend", {}, text));
    this.control.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    const isCheck = this.control.type === "checkbox";
    const label = this.isGroup ? null : el("label", { for: id, title: option.name }, text);
    this.node = el(isCheck ? "div.field.check" : this.isGroup ? "div.field.wide" : "div.field", {},
      isCheck ? [this.control, label] : [label, this.control], hint, this.error);
    this.node.addEventListener("input", () => { this.mark(""); onchange(); });
  }

  value() {
    const { option, control } = this;
    if (this.isGroup) {
      const chosen = [...control.querySelectorAll("input:checked")].map((box) => box.value);
      return chosen.length ? chosen : null;
    }
    if (control.type === "checkbox") return control.checked === Boolean(option.default) ? null : control.checked;
    const text = control.value.trim();
    if (text === "") return null;
    const value = typed(option, text);
    return String(value) === String(option.default) ? null : value;
  }

  set(value) {
    const { control } = this;
    if (this.isGroup) {
      for (const box of control.querySelectorAll("input")) box.checked = (value || []).includes(box.value);
    } else if (control.type === "checkbox") {
      control.checked = value ?? Boolean(this.option.default);
    } else if (control.tagName === "SELECT") {
      control.value = value === null ? String(this.option.default ?? "") : String(value);
    } else {
      control.value = value === null ? "" : String(value);
    }
  }

  mark(text) {
    this.error.textContent = text;
    this.error.hidden = !text;
    this.control.toggleAttribute("aria-invalid", Boolean(text));
    const fold = text && this.node.closest("details");
    if (fold) fold.open = true;
  }
}

function controlOf(option, id) {
  if (option.enum || (option.type === "boolean" && option.default === undefined)) return selectOf(option, id);
  if (option.type === "boolean") return el("input", { id, type: "checkbox", checked: option.default });
  if (option.items?.enum) {
    return el("fieldset.chips", { id }, option.items.enum.map((value) =>
      el("label", {}, el("input", { type: "checkbox", value }), el("span", {}, value))));
  }
  const isNumber = option.type === "number" || option.type === "integer";
  return el("input", {
    id,
    type: "text",  // a field of numbers would hide from the page what is not one, and take no decimal comma
    inputmode: isNumber ? "decimal" : null,
    placeholder: option.default ?? "automatic",
    autocomplete: "off",
    spellcheck: "false",
  });
}

function selectOf(option, id) {
  const given = option.enum || ["true", "false"];
  const names = option.enum ? given : ["yes", "no"];
  const automatic = option.default === undefined ? [el("option", { value: "" }, "automatic")] : [];
  return el("select", { id }, automatic, given.map((value, at) =>
    el("option", { value, selected: String(value) === String(option.default) }, names[at])));
}

function typed(option, text) {
  if (option.type === "boolean") return text === "true";
  if (option.type === "array") {
    const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
    return option.items?.type === "integer" ? parts.map(Number) : parts;
  }
  if (option.type !== "number" && option.type !== "integer") return text;
  const number = Number(text.replace(",", "."));
  return Number.isNaN(number) ? text : number;  // what is no number goes to the service, which says so
}

const plain = (text) => text.replaceAll("`", "");
