// Ranked cells: of one pattern, or of many.
import { announce, el, folded, table } from "./dom.js";
import { bracketed, duration, fixed, num, probability, whole } from "./numbers.js";

/** As `RESULTS` wants it. */
export const cells = { headline, numbers };

const STOPPED = {
  certain: "one cell is beyond doubt",
  settled: "the rest of the search would not change the first cell",
  complete: "everything was searched",
  deadline: "the time was up",
  cancelled: "it was told to stop",
};

/** The six constants in short. */
export function constants(cell) {
  const lengths = ["a_ang", "b_ang", "c_ang"].map((name) => fixed(cell[name], 3));
  const angles = ["alpha_deg", "beta_deg", "gamma_deg"].map((name) => (Number.isInteger(cell[name]) ? cell[name] : fixed(cell[name], 2)));
  return `${lengths.join(" ")} Å ${angles.join(" ")}°`;
}

function headline(answer) {
  if (answer.answers) return seriesHeadline(answer.answers);
  const [best] = answer.solutions;
  if (!best) return { title: "No cell explains the lines", lead: `Searched ${duration(answer.seconds)}: ${STOPPED[answer.stopped]}.`, tone: "none" };
  const sure = best.probability ?? answer.confidence;
  const symbol = best.extinctions[0] ? ` · ${best.extinctions[0].symbol}` : "";
  const found = `${best.n_indexed} of ${best.n_lines} lines, M20 = ${num(best.m20, 3)}, probability ${probability(sure)}${symbol}`;
  return { title: `${best.bravais} ${constants(best.cell)}`, lead: `${found} · ${duration(answer.seconds)}, ${STOPPED[answer.stopped]}`, tone: sure > 0.9 ? "good" : "doubt" };
}

function seriesHeadline(answers) {
  const found = answers.filter((one) => one.result?.solutions.length).length;
  return { title: `${found} of ${answers.length} patterns have a cell`, lead: "Open one for its cells.", tone: found ? "good" : "none" };
}

function numbers(answer) {
  return answer.answers ? series(answer) : ofOne(answer);
}

function ofOne(answer) {
  const lines = el("div.lines");
  const rows = [];
  const show = (at) => {
    rows.forEach((tr, other) => tr.classList.toggle("picked", other === at));
    rows.forEach((tr, other) => tr.querySelector("button").setAttribute("aria-pressed", String(other === at)));
    lines.replaceChildren(...linesOf(answer.solutions[at], at));
  };
  const choose = (solution, at) => el("button.quiet.small", {
    type: "button", "aria-pressed": "false", "aria-label": `Lines of cell ${at + 1}`,
    onclick: () => { show(at); announce(`Lines of cell ${at + 1}`); },
  }, at + 1);
  const ranked = answer.solutions.length ? table("Ranked cells", columns(choose), answer.solutions, {
    onrow: (solution, tr) => rows.push(tr),
  }) : null;
  if (answer.solutions.length) show(0);
  return [
    ranked,
    lines,
    answer.warnings.length ? el("div.note", {}, el("strong", {}, "What to know"), el("ul", {}, answer.warnings.map((text) => el("li", {}, text)))) : null,
    answer.models.length ? el("p.hint", {}, "Learned parts: ", answer.models.map(({ name, version }, at) =>
      [at ? ", " : "", el("a", { href: `#models/${name}/${version}` }, `${name} ${version}`)])) : null,
    folded(`What was searched: ${whole(answer.n_candidates)} candidates on ${answer.device}, seed ${answer.seed}`, () => searched(answer.searches)),
  ];
}

function columns(choose) {
  const constant = (name, head, digits) => ({ head, num: true, cell: (s) => bracketed(s.cell[name], s.cell_sigma[name], digits) });
  return [
    { head: "No.", cell: choose },
    { head: "Probability", num: true, title: "Calibrated probability that this cell is the lattice", cell: (s) => bar(s.probability ?? s.weight) },
    { head: "Lattice", cell: (s) => s.bravais },
    { head: "M20", num: true, title: "De Wolff's figure of merit", cell: (s) => num(s.m20, 3) },
    { head: "Indexed", num: true, cell: (s) => `${s.n_indexed}/${s.n_lines}` },
    constant("a_ang", "a [Å]", 4), constant("b_ang", "b [Å]", 4), constant("c_ang", "c [Å]", 4),
    constant("alpha_deg", "α [°]", 2), constant("beta_deg", "β [°]", 2), constant("gamma_deg", "γ [°]", 2),
    { head: "V [Å³]", num: true, cell: (s) => fixed(s.volume_ang3, 1) },
    { head: "Symbol", title: "Most probable extinction symbol", cell: (s) => s.extinctions[0]?.symbol ?? "–" },
    { head: "F20", num: true, title: "Smith and Snyder's figure of merit", cell: (s) => num(s.f20, 3) },
  ];
}

const bar = (p) => el("span.bar-cell", {}, el("meter", { min: 0, max: 1, value: p, "aria-hidden": "true" }), probability(p));

function linesOf(solution, at) {
  const groups = solution.extinctions.slice(0, 3).map((e) => `${e.symbol} (${e.space_groups.slice(0, 4).join(", ")}${e.space_groups.length > 4 ? ", …" : ""})`);
  const shift = solution.zero_shift_deg ? `Zero shift ${solution.zero_shift_deg.toFixed(3)}°. ` : "";
  const relatives = solution.relatives.length ? `Related by a sub- or superlattice to no. ${solution.relatives.map((i) => i + 1).join(", ")}. ` : "";
  const inAngle = solution.lines.some((line) => line.two_theta_observed_deg !== null);
  return [
    el("p", {}, `Cell ${at + 1}: ${shift}${relatives}`, groups.length ? `Extinction symbols with their space groups: ${groups.join("; ")}.` : ""),
    folded(`Lines of cell ${at + 1}`, () => table(`Lines of cell ${at + 1}`, [
      { head: "h k l", cell: (l) => (l.hkl ? l.hkl.join(" ") : el("em", {}, "not indexed")) },
      ...(inAngle ? [
        { head: "2θ observed [°]", num: true, cell: (l) => fixed(l.two_theta_observed_deg, 3) },
        { head: "2θ calculated [°]", num: true, cell: (l) => fixed(l.two_theta_calculated_deg, 3) },
        { head: "Δ2θ [°]", num: true, cell: (l) => fixed(l.delta_two_theta_deg, 3) },
      ] : []),
      { head: "d observed [Å]", num: true, cell: (l) => fixed(l.d_observed_ang, 4) },
      { head: "d calculated [Å]", num: true, cell: (l) => fixed(l.d_calculated_ang, 4) },
    ], solution.lines), true),
  ];
}

function searched(searches) {
  return table("Searches", [
    { head: "Lattice", cell: (s) => s.lattice },
    { head: "By", cell: (s) => s.generator },
    { head: "Candidates", num: true, cell: (s) => whole(s.n_candidates) },
    { head: "Complete", cell: (s) => (s.complete ? "yes" : "no") },
    { head: "Time", num: true, cell: (s) => duration(s.seconds) },
  ], searches);
}

function series({ answers, skipped = [] }) {
  const name = (one, at) => one.file ?? one.result?.name ?? `pattern ${at}`;
  const best = (one) => one.result?.solutions[0];
  return [
    table("Patterns", [
      { head: "Pattern", cell: name },
      { head: "Lattice", cell: (one) => best(one)?.bravais ?? "–" },
      { head: "Cell [Å, °]", cell: (one) => (best(one) ? constants(best(one).cell) : one.error?.detail ?? "no cell") },
      { head: "Probability", num: true, cell: (one) => (best(one) ? bar(best(one).probability ?? best(one).weight) : "–") },
      { head: "M20", num: true, cell: (one) => num(best(one)?.m20, 3) },
      { head: "Indexed", num: true, cell: (one) => (best(one) ? `${best(one).n_indexed}/${best(one).n_lines}` : "–") },
    ], answers),
    answers.slice(0, 100).filter((one) => one.result).map((one, at) => folded(`Cells of ${name(one, at)}`, () => ofOne(one.result))),
    skipped.length ? table("Left out", [{ head: "File", cell: (f) => f.file }, { head: "Why", cell: (f) => f.reason }], skipped) : null,
  ];
}
