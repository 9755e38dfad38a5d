// What an answer says, in numbers: one table of jobs, each with its headline and its tables.
import { el, folded, table } from "./dom.js";
import { fixed, num, plusMinus, probability, whole } from "./numbers.js";
import { cells } from "./results_indexing.js";

/**
 * For each job: `headline(answer)` gives what matters in a line and a sentence, `numbers(answer, call)` the tables.
 * `tone` is "good", "doubt" or "none".
 */
export const RESULTS = {
  polarization: { headline: decayHeadline, numbers: decays },
  indexing: cells,
  waveform: { headline: waveformHeadline, numbers: waveforms },
  aggregates: { headline: aggregateHeadline, numbers: aggregates },
};

/** Warnings of the service, each once. */
export function warnings(list, title = "What to know") {
  const texts = [...new Set(list.map((one) => (typeof one === "string" ? one : one.message)))];
  return texts.length ? el("div.note", {}, el("strong", {}, title), el("ul", {}, texts.map((text) => el("li", {}, text)))) : null;
}

const modelsLine = (models) => el("p.hint", {}, "Answered by ", models.map(({ name, version, alias }, at) =>
  [at ? ", " : "", el("a", { href: `#models/${name}/${version}` }, `${name} ${version}`), alias ? ` (${alias})` : ""]));

// --- polarization -------------------------------------------------------------------------------

/** Decays of either endpoint: `segments` of files, or `experiments`. */
const decaysOf = (answer) => (answer.segments
  ? answer.segments.filter((one) => one.prediction).map((one) => ({ ...one.prediction, segment: one }))
  : answer.experiments);

function decayHeadline(answer) {
  const found = decaysOf(answer);
  if (!found.length) return { title: "No decay could be predicted", lead: "The table says why.", tone: "none" };
  const [first] = found;
  const ends = [first.polarization[0], first.polarization.at(-1)].map((p) => fixed(p, 3)).join(" → ");
  const title = found.length > 1 ? `${found.length} decays` : `P = ${ends}`;
  const parts = [];
  if (found.length > 1) parts.push(`the first: P = ${ends}`);
  if (first.t1_h) parts.push(`T₁ = ${plusMinus(first.t1_h, first.t1_sigma_h)} h`);
  if (first.threshold) parts.push(thresholdText(first.threshold));
  return { title, lead: parts.join(" · "), tone: found.some((one) => one.warnings.length) ? "doubt" : "good" };
}

function thresholdText({ polarization, time, time_s: seconds, earliest, latest }) {
  if (seconds === null) return `stays above ${polarization}`;
  const at = time ? time.slice(0, 16).replace("T", " ") : `${num(seconds / 3600)} h after the first calibration`;
  const between = earliest && latest ? ` (1σ: ${earliest.slice(5, 16).replace("T", " ")} to ${latest.slice(5, 16).replace("T", " ")})` : "";
  return `falls under ${polarization} at ${at}${between}`;
}

function decays(answer) {
  const found = decaysOf(answer);
  const rejected = answer.segments ? answer.segments.filter((one) => !one.prediction) : [];
  return [
    found.length ? table("Decays", [
      { head: "Decay", cell: (d, at) => d.name || `experiment ${at}` },
      { head: "Set-up", cell: (d) => d.material },
      { head: "P first", num: true, cell: (d) => plusMinus(d.polarization[0], d.polarization_sigma[0]) },
      { head: "P last", num: true, cell: (d) => plusMinus(d.polarization.at(-1), d.polarization_sigma.at(-1)) },
      { head: "T₁ [h]", num: true, cell: (d) => plusMinus(d.t1_h, d.t1_sigma_h) },
      { head: "Threshold", cell: (d) => (d.threshold ? thresholdText(d.threshold) : "–") },
    ], found) : null,
    warnings(found.flatMap((d) => d.warnings)),
    found.length ? modelsLine(found[0].models) : null,
    found.slice(0, 20).map((d, at) => folded(`Curve of ${d.name || `experiment ${at}`}, ${d.time_s.length} times`, () => curve(d), found.length === 1)),
    rejected.length ? table("Not predicted", [
      { head: "Segment", cell: (s) => s.name || s.sources.join(", ") },
      { head: "Rows", num: true, cell: (s) => s.rows },
      { head: "Why", cell: (s) => s.problem || s.reason },
    ], rejected) : null,
    answer.damaged?.length ? table("Damaged lines", [
      { head: "File", cell: (d) => d.file }, { head: "Line", num: true, cell: (d) => d.line }, { head: "Why", cell: (d) => d.reason },
    ], answer.damaged) : null,
    answer.left_out?.length ? table("Left out", [{ head: "File", cell: (f) => f.file }, { head: "Why", cell: (f) => f.reason }], answer.left_out) : null,
  ];
}

function curve(d) {
  const rows = d.time_s.map((seconds, at) => at);
  return table("Predicted polarization", [
    { head: "Time", cell: (i) => (d.time ? d.time[i].slice(0, 19).replace("T", " ") : `${num(d.time_s[i], 6)} s`) },
    { head: "After [h]", num: true, cell: (i) => fixed(d.time_s[i] / 3600, 2) },
    { head: "P", num: true, cell: (i) => fixed(d.polarization[i], 4) },
    { head: "σ", num: true, cell: (i) => fixed(d.polarization_sigma[i], 4) },
    { head: "Flipping ratio", num: true, cell: (i) => num(d.flipping_ratio[i]) },
    { head: "σ", num: true, cell: (i) => num(d.flipping_ratio_sigma[i], 2) },
  ], rows);
}

// --- waveforms ----------------------------------------------------------------------------------

function waveformHeadline({ waveforms: all }) {
  if (all.length > 1) {
    const count = (n) => all.filter((one) => one.number_of_s2 === n).length;
    return { title: `${count(2)} of ${all.length} waveforms have two S2s`, lead: `${count(1)} have one, ${all.length - count(1) - count(2)} none or unknown`, tone: "good" };
  }
  const [one] = all;
  if (one.number_of_s2 === null) return { title: "Nothing can be said", lead: one.warnings.map((w) => w.message).join(" "), tone: "none" };
  const title = ["No S2", "One S2", "Two S2s"][one.number_of_s2];
  const apart = one.number_of_s2 === 2 ? ` · ${plusMinus(one.separation_us, one.sigma_us)} µs, ${plusMinus(one.separation_mm, one.sigma_mm)} mm apart` : "";
  const sure = one.p_two > 0.95 || one.p_two < 0.05;
  return { title, lead: one.p_two === null ? "" : `probability of two ${probability(one.p_two)}${apart}`, tone: sure && !one.warnings.length ? "good" : "doubt" };
}

function waveforms(answer) {
  const all = answer.waveforms;
  return [
    table("Waveforms", [
      { head: "No.", num: true, cell: (w, at) => at },
      { head: "S2s", num: true, cell: (w) => w.number_of_s2 ?? "–" },
      { head: "p(two)", num: true, cell: (w) => withBar(w.p_two) },
      { head: "Separation [µs]", num: true, cell: (w) => plusMinus(w.separation_us, w.sigma_us) },
      { head: "68 % interval [µs]", num: true, cell: (w) => (w.low68_us === null ? "–" : `${fixed(w.low68_us, 2)} to ${fixed(w.high68_us, 2)}`) },
      { head: "Separation [mm]", num: true, cell: (w) => plusMinus(w.separation_mm, w.sigma_mm) },
      { head: "Warnings", cell: (w) => w.warnings.map((one) => one.code).join(", ") || "–" },
    ], all, { most: 200 }),
    pulses(all),
    warnings(all.flatMap((one) => one.warnings)),
    modelsLine([answer.model]),
    folded("Detector that was assumed", () => table("Detector", [
      { head: "Setting", cell: ([name]) => name }, { head: "Value", num: true, cell: ([, value]) => num(value) },
    ], Object.entries(answer.detector))),
  ];
}

function pulses(all) {
  const rows = all.slice(0, 200).flatMap((one, at) => (one.pulses || []).map((pulse) => ({ at, ...pulse })));
  return rows.length ? table("Pulses", [
    { head: "Waveform", num: true, cell: (p) => p.at },
    { head: "Time [µs]", num: true, cell: (p) => fixed(p.time_us, 2) },
    { head: "Share", num: true, cell: (p) => fixed(p.share, 3) },
    { head: "Area", num: true, cell: (p) => num(p.area) },
    { head: "σ of the electrons [µs]", num: true, cell: (p) => fixed(p.sigma_us, 3) },
  ], rows) : null;
}

/** A probability with a bar beside it. */
export function withBar(p) {
  return p === null || p === undefined ? "–" : el("span.bar-cell", {}, el("meter", { min: 0, max: 1, value: p, "aria-hidden": "true" }), probability(p));
}

// --- aggregates ---------------------------------------------------------------------------------

function aggregateHeadline({ patterns }) {
  const said = patterns.filter((one) => one.count !== null);
  if (patterns.length > 1) {
    const counts = [1, 2, 3, 4, 5].map((n) => [n, said.filter((one) => one.count === n).length]).filter(([, many]) => many);
    const lead = counts.map(([n, many]) => `${many} × ${n}`).join(", ");
    return { title: `${patterns.length} patterns`, lead: `particles: ${lead || "none said"}; nothing said of ${patterns.length - said.length}`, tone: said.length ? "good" : "none" };
  }
  const [one] = patterns;
  if (one.count === null) return { title: "No number of particles is given", lead: one.reasons.join("; "), tone: "none" };
  const p = one.probability[one.count - 1];
  return { title: `${one.count} particle${one.count > 1 ? "s" : ""}`, lead: `probability ${probability(p)}`, tone: p > 0.9 && !one.warnings.length ? "good" : "doubt" };
}

function aggregates(answer) {
  const { patterns, setting } = answer;
  return [
    table("Patterns", [
      { head: "No.", num: true, cell: (p) => p.index },
      { head: "Particles", num: true, cell: (p) => (p.count === null ? `– (${p.most_probable}?)` : p.count) },
      ...[1, 2, 3, 4, 5].map((n) => ({ head: `p(${n})`, num: true, cell: (p) => withBar(p.probability[n - 1]) })),
      { head: "Unlike", num: true, title: "Probability that the pattern does not fit what is declared", cell: (p) => probability(p.unlike) },
      { head: "Radius seen [px]", num: true, cell: (p) => num(p.seen_radius_px, 3) },
      { head: "Photons", num: true, cell: (p) => whole(p.photons) },
      { head: "Centre [px]", num: true, cell: (p) => p.centre_px.map((x) => fixed(x, 1)).join(", ") },
      { head: "Beam stop [px]", num: true, cell: (p) => num(p.beam_stop_px, 3) },
    ], patterns, { most: 200 }),
    warnings(patterns.flatMap((one) => one.reasons), "Why nothing is said"),
    warnings(patterns.flatMap((one) => one.warnings)),
    el("p.hint", {}, `Read: ${answer.source}. Declared: ${setting.particle} of ${num(setting.radius_px, 3)} px on the grid, binning ${setting.binning}.`),
    modelsLine([answer.model]),
  ];
}
