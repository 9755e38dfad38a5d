// Making elements without markup in strings: text is always text, whatever a file or a card holds.

/**
 * Make an element.
 * @param {string} tag its name, with classes behind dots: "p.note".
 * @param {object} attributes attributes; functions are listeners ("onclick"), false and null are left out.
 * @param {...(Node|string|number|null|Array)} children texts and nodes.
 */
export function el(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** Replace what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Say something to those who listen to the page; `urgent` interrupts. */
export function announce(text, urgent = false) {
  byId(urgent ? "alert" : "live").textContent = text;
}

/**
 * A table that scrolls by itself, also with the keyboard.
 * @param {string} caption what it shows; heard and seen.
 * @param {Array<{head: string, cell: function, num?: boolean, title?: string}>} columns how to show a row.
 * @param {Array} rows the rows; `onrow(row, tr, index)` may add to each.
 */
export function table(caption, columns, rows, { onrow = null, most = 500 } = {}) {
  const shown = rows.slice(0, most);
  const head = columns.map((c) => el("th", { scope: "col", class: c.num ? "num" : null, title: c.title }, c.head));
  const body = shown.map((row, index) => {
    const tr = el("tr", {}, columns.map((c) => el("td", { class: c.num ? "num" : null }, c.cell(row, index))));
    if (onrow) onrow(row, tr, index);
    return tr;
  });
  const more = rows.length > most ? ` (the first ${most} of ${rows.length}; CSV has all)` : "";
  return el("div.scroll", { tabindex: 0, role: "group", "aria-label": caption },
    el("table", {}, el("caption", {}, caption + more), el("thead", {}, el("tr", {}, head)), el("tbody", {}, body)));
}

/** Folded content; `body` is called when it is first opened. */
export function folded(title, body, open = false) {
  const inside = el("div.inside");
  const node = el("details", { open }, el("summary", {}, title), inside);
  const once = () => { if (node.open && !inside.hasChildNodes()) inside.append(...[body()].flat(2)); };
  node.addEventListener("toggle", once);
  once();
  return node;
}

/** Copy a text; also where the page came without TLS, where browsers offer no clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return;
  } catch {
    // Not a secure context, or not allowed: the old way.
  }
  const area = el("textarea", { "aria-hidden": "true", readonly: true, class: "unseen" });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!done) throw new Error("the browser did not let the page copy");
}

/** Save bytes or text under a name. */
export function save(content, name, type = "application/octet-stream") {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const address = URL.createObjectURL(blob);
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Read or write what the browser keeps; a browser that keeps nothing is no error. */
export const kept = {
  get(name, store = localStorage) {
    try { return store.getItem(`beamline.${name}`); } catch { return null; }
  },
  set(name, value, store = localStorage) {
    try {
      if (value === null) store.removeItem(`beamline.${name}`);
      else store.setItem(`beamline.${name}`, value);
    } catch { /* full, or forbidden */ }
  },
};
