// Model cards: the part of Markdown that they use, made into elements. Nothing is ever parsed as HTML, so a card
// cannot bring markup or scripts with it.
import { el } from "./dom.js";

/** Elements for a text in Markdown; headings begin at `level`. */
export function markdown(text, level = 3) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const found = [];
  while (lines.length) {
    const block = BLOCKS.find(({ begins }) => begins.test(lines[0]));
    found.push(block ? block.take(lines, level) : paragraph(lines));
  }
  return found.filter(Boolean);
}

const BLOCKS = [
  { begins: /^\s*$/, take: (lines) => { lines.shift(); return null; } },
  { begins: /^```/, take: code },
  { begins: /^#{1,6}\s/, take: heading },
  { begins: /^\s*\|.*\|\s*$/, take: tableOf },
  { begins: /^\s*([-*]|\d+\.)\s+/, take: list },
  { begins: /^>\s?/, take: quote },
  { begins: /^(---+|\*\*\*+)\s*$/, take: (lines) => { lines.shift(); return el("hr"); } },
];

function while_(lines, test) {
  const taken = [];
  while (lines.length && test(lines[0])) taken.push(lines.shift());
  return taken;
}

function code(lines) {
  lines.shift();
  const text = while_(lines, (line) => !line.startsWith("```")).join("\n");
  lines.shift();
  return el("pre", { tabindex: 0 }, el("code", {}, text));
}

function heading(lines, level) {
  const [, marks, text] = /^(#{1,6})\s+(.*?)\s*#*$/.exec(lines.shift()) || [null, "#", ""];
  return el(`h${Math.min(6, level + marks.length - 1)}`, {}, inline(text));
}

function tableOf(lines) {
  const rows = while_(lines, (line) => /^\s*\|.*\|\s*$/.test(line)).map((line) => line.trim().slice(1, -1).split(/(?<!\\)\|/));
  const isRule = (row) => row.every((cell) => /^\s*:?-+:?\s*$/.test(cell));
  const [head, ...body] = rows;
  const isNumber = (cell = "") => cell.trim() === "" || /^[\s*`]*[-+±<>]?\s*[\d.,]+/.test(cell);
  const filled = body.filter((row) => !isRule(row));
  const numeric = head.map((_, at) => filled.every((row) => isNumber(row[at])));
  const short = head.map((_, at) => filled.every((row) => (row[at] || "").length < 40));
  const cells = (row, tag) => row.map((cell, at) => el(tag, { class: numeric[at] ? "num" : short[at] ? "short" : null }, inline(cell.trim())));
  return el("div.scroll", { tabindex: 0, role: "group", "aria-label": "Table" }, el("table", {},
    el("thead", {}, el("tr", {}, cells(head, "th"))),
    el("tbody", {}, filled.map((row) => el("tr", {}, cells(row, "td"))))));
}

function list(lines) {
  const ordered = /^\s*\d+\./.test(lines[0]);
  const items = [];
  while (lines.length && /^\s*([-*]|\d+\.)\s+/.test(lines[0])) {
    const first = lines.shift().replace(/^\s*([-*]|\d+\.)\s+/, "");
    items.push([first, ...while_(lines, (line) => /^\s+\S/.test(line) && !/^\s*([-*]|\d+\.)\s+/.test(line))].join(" "));
  }
  return el(ordered ? "ol" : "ul", {}, items.map((item) => el("li", {}, inline(item))));
}

function quote(lines) {
  const inside = while_(lines, (line) => /^>/.test(line)).map((line) => line.replace(/^>\s?/, ""));
  return el("blockquote", {}, paragraph(inside));
}

function paragraph(lines) {
  const first = lines.shift();
  const more = while_(lines, (line) => !BLOCKS.some(({ begins }) => begins.test(line)));
  return el("p", {}, inline([first, ...more].map((line) => line.trim()).join(" ")));
}

const INLINE = /(`+)([\s\S]+?)\1|\*\*(.+?)\*\*|\*([^\s*](?:[^*]*[^\s*])?)\*|\[([^\]]+)\]\(([^()\s]+)\)/;

function inline(text) {
  const parts = [];
  let rest = text;
  for (let match = INLINE.exec(rest); match; match = INLINE.exec(rest)) {
    if (match.index) parts.push(rest.slice(0, match.index));
    parts.push(spanOf(match));
    rest = rest.slice(match.index + match[0].length);
  }
  return rest ? [...parts, rest] : parts;
}

function spanOf([whole, , code_, strong, emphasis, label, target]) {
  if (code_ !== undefined) return el("code", {}, code_);
  if (strong !== undefined) return el("strong", {}, inline(strong));
  if (emphasis !== undefined) return el("em", {}, inline(emphasis));
  // Only the web: no script, no data, and no path into this service.
  return /^https?:\/\//i.test(target) ? el("a", { href: target, target: "_blank", rel: "noopener noreferrer" }, label) : whole;
}
