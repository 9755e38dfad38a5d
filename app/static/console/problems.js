// Errors, told kindly: what happened, where, what to do, and the id that finds it in the logs.
import { address } from "./api.js";
import { announce, copy, el } from "./dom.js";

const TO_DO = {
  page: "This is no fault of the service or of your file. Load the page again; if it stays, say so to whoever runs the service.",
  0: "Look whether the service runs, then try again. Nothing that you have put in is lost.",
  400: "The request could not be read. Try the file as the instrument wrote it.",
  401: "Enter a key of this service; whoever runs it gives you one.",
  403: "Your key does not allow this. Ask whoever runs the service for one that does.",
  404: "It is not here, or not yours. Check the name, or the model and version among the options.",
  410: "Its result is no longer kept. Run it again.",
  413: "Send less at once: part of the file, or fewer images or times. The limits are settings of the service.",
  415: "Choose the job that takes this kind of file, or save the data in one of the formats that it takes.",
  422: "Correct what is named here, among the options or in the file, and run again.",
  429: "The service has more work than it takes at a time. Nothing is wrong with yours.",
  500: "Nothing you did should cause this. Try again; if it stays, give the request id to whoever runs the service.",
  502: "A proxy on the way cannot reach the service.",
  503: "Something that the service needs is not there yet. It may mend itself in a moment.",
};

/** What to do about a problem. */
export const advice = (problem) => TO_DO[problem.status] || TO_DO[problem.status >= 500 ? 500 : 400];

/**
 * Show a problem.
 * @param {Error} error a `Problem`, or an error of the page itself.
 * @param {{again?: function}} actions what the buttons do.
 */
export function problemBox(error, { again = null } = {}) {
  const problem = error.title === undefined ? ofThePage(error) : error;
  announce(`${problem.title}. ${problem.detail}`, true);
  const button = again && el("button", { type: "button", onclick: again }, "Try again");
  if (button && problem.retryAfter) countDown(button, problem.retryAfter);
  return el("section.problem", { "aria-label": "Error" },
    el("h2", {}, problem.title),
    problem.detail ? el("p.what", {}, problem.detail) : null,
    fieldList(problem),
    el("p", {}, advice(problem)),
    button ? el("p.actions", {}, button) : null,
    el("p.hint", {}, facts(problem)));
}

function ofThePage(error) {
  return {
    title: "This page made a mistake", detail: String(error.message || error), errors: [], status: "page", kind: "",
    requestId: null, retryAfter: null,
  };
}

function fieldList(problem) {
  const unsaid = problem.errors.filter(({ msg }) => !problem.detail.includes(msg));
  if (!unsaid.length && problem.errors.length < 2) return null;
  return el("ul.fields", {}, problem.errors.map(({ loc, msg }) => el("li", {}, el("code", {}, loc.join(".")), ` ${msg}`)));
}

function facts(problem) {
  const parts = [];
  if (problem.status > 0) parts.push(`HTTP ${problem.status}`);
  if (problem.kind) parts.push(el("a", { href: address(`problems/${problem.kind}`), target: "_blank", rel: "noopener" }, "about this kind of error"));
  if (problem.requestId) {
    const button = el("button.quiet.small", { type: "button" }, "Copy");
    button.addEventListener("click", () => copy(problem.requestId).then(() => announce("Request id copied")));
    parts.push(["request id ", el("code", {}, problem.requestId), " ", button]);
  }
  return parts.flatMap((part, at) => (at ? [" · ", part] : [part]));
}

function countDown(button, seconds) {
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    button.textContent = left > 0 ? `Try again (wanted in ${left} s)` : "Try again";
    if (left > 0 && button.isConnected) setTimeout(tick, 250);
  };
  setTimeout(tick, 0);
}
