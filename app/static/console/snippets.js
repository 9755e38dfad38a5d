// The same call for a terminal and for Python. The key never stands in them: they take it from the environment.
import { address, key } from "./api.js";
import { queryOf } from "./call.js";
import { ENDINGS, TASKS } from "./tasks.js";

const LONGEST = 3000;

/** The name of the file that a large or pasted request must be saved as first; null where there is none. */
export const bodyFile = (call) => (call.json && JSON.stringify(call.json).length > LONGEST ? "request.json" : null);

/** A call as a command for a POSIX shell. */
export function curl(call, form) {
  const accept = TASKS[call.task].forms[form];
  const lines = [];
  if (call.example) lines.push(`curl -sS -O ${quoted(address(call.example))}`);
  const url = address(call.path) + (call.query.length ? `?${queryOf(call)}` : "");
  const parts = [`curl -sS --fail-with-body ${quoted(url)}`, `-H ${quoted(`Accept: ${accept}`)}`];
  if (key.get()) parts.push('-H "Authorization: Apikey $BEAMLINE_API_KEY"');
  if (call.json) {
    parts.push("-H 'Content-Type: application/json'");
    parts.push(bodyFile(call) ? `--data-binary @${bodyFile(call)}` : `--data-binary ${quoted(JSON.stringify(call.json))}`);
  }
  for (const { field, file } of call.files) parts.push(`-F ${quoted(`${field}=@${formName(file.name)}`)}`);
  if (isPicture(form)) parts.push(`-o ${result(call, form)}`);
  lines.push(parts.join(" \\\n  "));
  return lines.join("\n");
}

/** A call as Python, with httpx. */
export function python(call, form) {
  const accept = TASKS[call.task].forms[form];
  const imports = [key.get() && "import os", (isPicture(form) || call.files.length) && "from pathlib import Path"].filter(Boolean);
  const lines = [...imports, ...(imports.length ? [""] : []), "import httpx", ""];
  if (call.example) {
    const name = literal(call.files[0].file.name);
    lines.push(`Path(${name}).write_bytes(httpx.get(${literal(address(call.example))}).content)`);
  }
  lines.push("answer = httpx.post(", `    ${literal(address(call.path))},`);
  if (call.query.length) lines.push(`    params=${literal(Object.fromEntries(call.query))},`);
  lines.push(`    headers={"Accept": ${literal(accept)}${authorization()}${bodyFile(call) ? ', "Content-Type": "application/json"' : ""}},`);
  if (bodyFile(call)) lines.push(`    content=open(${literal(bodyFile(call))}, "rb").read(),`);
  else if (call.json) lines.push(`    json=${literal(call.json)},`);
  if (call.files.length) {
    const files = call.files.map(({ field, file }) =>
      `(${literal(field)}, (${literal(file.name)}, Path(${literal(file.name)}).read_bytes()))`);
    lines.push(`    files=[${files.join(", ")}],`);
  }
  lines.push(`    timeout=${patience(call)},`, ")", "answer.raise_for_status()");
  if (isPicture(form)) lines.push(`Path(${literal(result(call, form))}).write_bytes(answer.content)`);
  else lines.push(form === "json" ? "print(answer.json())" : "print(answer.text)");
  return lines.join("\n");
}

const isPicture = (form) => form === "svg" || form === "png";
const result = (call, form) => `${call.task}.${ENDINGS[TASKS[call.task].forms[form]]}`;
const authorization = () => (key.get() ? ', "Authorization": f"Apikey {os.environ[\'BEAMLINE_API_KEY\']}"' : "");
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const formName = (name) => (/^[\w.\-+ ]+$/.test(name) ? name : `"${name.replace(/["\\]/g, "\\$&")}"`);

function patience(call) {
  const seconds = Number(call.json?.max_seconds ?? Object.fromEntries(call.query).max_seconds ?? 10);
  const patterns = call.json?.patterns?.length ?? call.files.length;
  return call.isJob ? Math.ceil(seconds * Math.max(1, call.series ? patterns : 1) + 60) : 60;
}

/** A JSON value as a Python literal. */
export function literal(value) {
  if (value === null || value === undefined) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, one]) => `${literal(name)}: ${literal(one)}`).join(", ")}}`;
  }
  return typeof value === "number" ? String(value) : JSON.stringify(value);
}
