// Which job a file is for, by its name and its first bytes. A guess, which the user may override.
import { TASKS } from "./tasks.js";

const HEAD = 65_536;
const ENDINGS = {
  fli: ["polarization", "a D3 instrument file"],
  xy: ["indexing", "a powder pattern"], xye: ["indexing", "a powder pattern"], chi: ["indexing", "a powder pattern"],
  gsa: ["indexing", "a GSAS pattern"], gsas: ["indexing", "a GSAS pattern"], fxye: ["indexing", "a GSAS pattern"],
  xrdml: ["indexing", "a Panalytical pattern"], uxd: ["indexing", "a Bruker pattern"],
  ras: ["indexing", "a Rigaku pattern"], raw: ["indexing", "a powder pattern"],
  pkslst: ["indexing", "a list of lines"],
  tif: ["aggregates", "a detector image"], tiff: ["aggregates", "a detector image"],
  png: ["aggregates", "a detector image"], cxi: ["aggregates", "a CXI file"],
};

/**
 * Guess what files are for.
 * @param {File[]} files what was given, in order.
 * @returns {Promise<{task: string|null, why: string, sure: boolean, json?: object}>}
 */
export async function recognise(files) {
  const file = files.find((one) => !/mask/i.test(one.name)) || files[0];
  const ending = (/\.([a-z0-9]+)$/i.exec(file.name) || ["", ""])[1].toLowerCase();
  const head = new Uint8Array(await file.slice(0, HEAD).arrayBuffer());
  const said = await byContent(file, head);
  if (said) return said;
  if (ENDINGS[ending]) return { task: ENDINGS[ending][0], why: ENDINGS[ending][1], sure: true };
  return byText(file.name, head);
}

async function byContent(file, head) {
  const begins = (...bytes) => bytes.every((byte, at) => head[at] === byte);
  if (begins(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59)) return ofNumpy(head);
  if (begins(0x89, 0x48, 0x44, 0x46)) return ofHdf5(file.name);
  if (begins(0x50, 0x4b)) return ofZip(file);
  if (begins(0x89, 0x50, 0x4e, 0x47) || begins(0x49, 0x49, 0x2a) || begins(0x4d, 0x4d, 0x00, 0x2a)) {
    return { task: "aggregates", why: "a detector image", sure: true };
  }
  const first = new TextDecoder().decode(head.slice(0, 200)).trimStart()[0];
  return first === "{" || first === "[" ? ofJson(file) : null;
}

function ofNumpy(head) {
  const shape = /'shape':\s*\(([\d,\s]*)\)/.exec(new TextDecoder("latin1").decode(head.slice(0, 1024)));
  const sizes = shape ? shape[1].split(",").filter((part) => part.trim()).map(Number) : [];
  const why = `an array of ${sizes.join(" × ") || "one number"}`;
  const isImage = sizes.length === 3 || (sizes.length === 2 && sizes[0] > 15 && sizes[1] < 4 * sizes[0]);
  return { task: isImage ? "aggregates" : "waveform", why, sure: sizes.length !== 2 || sizes[1] === 5000 || sizes[0] === sizes[1] };
}

function ofHdf5(name) {
  if (/\.cxi$/i.test(name)) return { task: "aggregates", why: "a CXI file", sure: true };
  const task = /wave|s2|pulse/i.test(name) ? "waveform" : "aggregates";
  return { task, why: "an HDF5 file, which may hold either patterns or waveforms", sure: false };
}

async function ofZip(file) {
  const tail = await file.slice(Math.max(0, file.size - 1_000_000)).arrayBuffer();
  const names = new TextDecoder("latin1").decode(tail);
  const holds = (pattern) => pattern.test(names);
  if (holds(/\.npy/) && !holds(/\.(fli|xye?)/i)) {
    const task = /image|pattern|mask|frame/i.test(names + file.name) ? "aggregates" : "waveform";
    return { task, why: "arrays of NumPy", sure: false };
  }
  if (holds(/\.fli|_Parameters\.txt/i)) return { task: "polarization", why: "a zip of D3 files", sure: true };
  if (holds(/\.(xye?|chi|gsas?|fxye|xrdml|uxd|ras|raw)/i)) return { task: "indexing", why: "a zip of patterns", sure: true, series: true };
  return { task: "indexing", why: "a zip", sure: false, series: true };
}

async function ofJson(file) {
  let json;
  try {
    json = JSON.parse(await file.text());
  } catch (error) {
    return { task: null, why: `JSON that cannot be read: ${error.message}`, sure: false };
  }
  for (const [task, { json: form }] of Object.entries(TASKS)) {
    const named = form.names.find((name) => name in json);
    const isSeries = form.series && Array.isArray(json[form.series.name]) && isLines(json[form.series.name][0]);
    if (isSeries || (named && !isLines(json.patterns?.[0]))) {
      return { task, why: `a request with ${isSeries ? form.series.name : named}`, sure: true, json, series: isSeries };
    }
  }
  return { task: null, why: "JSON that is no request of this service", sure: false, json };
}

const isLines = (one) => one !== null && typeof one === "object" && TASKS.indexing.json.names.some((name) => name in one);

function byText(name, head) {
  const text = new TextDecoder().decode(head);
  if (/polari[sz]er cell info/i.test(text)) return { task: "polarization", why: "a D3 instrument file", sure: true };
  if (/_Parameters\.txt$/i.test(name)) return { task: "polarization", why: "half of a D3 text pair", sure: true };
  const rows = text.split("\n").filter((line) => /^\s*-?[\d.]+([eE][-+]?\d+)?(\s|,|;|$)/.test(line)).length;
  if (rows >= 50) return { task: "indexing", why: `columns of ${head.length < HEAD ? rows : `${rows} or more`} rows`, sure: true };
  if (rows >= 3) return { task: "indexing", why: `a list of ${rows} lines`, sure: true };
  return { task: null, why: "a kind of file that is not known here", sure: false };
}
