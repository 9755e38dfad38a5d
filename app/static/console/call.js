// A call of the service: what is sent where. The page sends it, and the copied commands say the same.
import { TASKS } from "./tasks.js";

/**
 * Put a request together.
 * @param {object} input what was given: `task`, `files`, and `json` and `series` where it was recognised as such.
 * @param {object} values options by name.
 * @returns {{task: string, path: string, query: Array, json: object|null, files: Array, isJob: boolean, series: boolean}}
 */
export function callOf(input, values) {
  const task = TASKS[input.task];
  return input.json ? ofJson(input, task, values) : ofFiles(input, task, values);
}

function ofJson(input, task, values) {
  const series = Boolean(input.series && task.json.series);
  const lists = task.json.lists || [];
  const said = Object.entries(values).map(([name, value]) =>
    [name, lists.includes(name) && typeof value === "string" ? value.split(",").map(Number) : value]);
  const json = input.task === "polarization"
    ? ofDecays(input.json, Object.fromEntries(said))
    : { ...input.json, ...Object.fromEntries(said) };
  const path = series ? task.json.series.path : task.json.path;
  return { task: input.task, path, query: [], json, files: [], headers: {}, isJob: Boolean(task.isJob), series };
}

/** Two options of a file belong to each experiment of a request. */
function ofDecays(body, { threshold_polarization: threshold, step_s: step, ...others }) {
  const experiments = (Array.isArray(body.experiments) ? body.experiments : []).map((one) => ({
    ...one,
    ...(threshold !== undefined && { threshold_polarization: threshold }),
    ...(step !== undefined && { predict_at: { step_s: step } }),
  }));
  return { ...body, experiments, ...others };
}

function ofFiles(input, task, values) {
  const form = task.file;
  const series = Boolean(form.series && (input.files.length > 1 || input.series));
  const { path, field } = series ? form.series : form;
  const isBeside = (file) => form.beside && input.files.length > 1 && /mask/i.test(file.name);
  const files = input.files.map((file) => ({ field: isBeside(file) ? form.beside : field, file }));
  const query = Object.entries(values).map(([name, value]) => [name, Array.isArray(value) ? value.join(",") : String(value)]);
  const example = input.example ? `static/console/examples/${input.example}` : null;
  return { task: input.task, path, query, json: null, files, headers: {}, example, isJob: Boolean(task.isJob), series };
}

/** Options that a JSON request holds are shown in the form; the rest of it stays as it is. */
export function split(json, known, lists = []) {
  const options = {};
  const rest = { ...json };
  for (const { name, json: inJson, type } of known) {
    const value = rest[name];
    const isPlain = ["string", "number", "boolean"].includes(typeof value);
    const isList = Array.isArray(value) && !value.some((one) => typeof one === "object") && (type === "array" || lists.includes(name));
    if (!inJson || !(isPlain || isList)) continue;
    options[name] = lists.includes(name) ? value.join(",") : value;
    delete rest[name];
  }
  return { options, rest };
}

/** A call as `api.ask` takes it. */
export function request(call, accept, headers = {}) {
  const all = { Accept: accept, ...call.headers, ...headers };
  const path = call.path + (call.query.length ? `?${queryOf(call)}` : "");
  if (call.json) {
    return [path, { method: "POST", headers: { ...all, "Content-Type": "application/json" }, body: JSON.stringify(call.json) }];
  }
  const body = new FormData();
  for (const { field, file } of call.files) body.append(field, file, file.name);
  return [path, { method: "POST", headers: all, body }];
}

/** The query of a call, readable: commas stay commas. */
export const queryOf = (call) => new URLSearchParams(call.query).toString().replaceAll("%2C", ",");

/** A random name for a call; `crypto.randomUUID` is missing where the page came without TLS. */
export function randomName() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
