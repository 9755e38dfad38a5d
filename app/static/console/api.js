// Talking to the service: problems as errors, the key, and streams of events.
import { kept } from "./dom.js";

const BASE = new URL(".", document.baseURI);

/** The absolute address of a path of the service, under whatever prefix a proxy gives it. */
export const address = (path) => new URL(path, BASE).href;

/** An answer of the service that is no result (RFC 9457), or no answer at all. */
export class Problem extends Error {
  constructor(told, { status = 0, retryAfter = null, requestId = null } = {}) {
    super(told.detail || told.title);
    this.title = told.title || "The service answered with an error";
    this.detail = told.detail || "";
    this.kind = (told.type || "").split("/").pop();
    this.errors = told.errors || [];
    this.requestId = told.request_id || requestId;
    this.status = status || told.status || 0;
    this.retryAfter = retryAfter;
  }
}

export const key = {
  get: () => kept.get("key", sessionStorage),
  set: (value) => kept.set("key", value, sessionStorage),
  /** Asks a person for a key; resolves to false where they have none. Set by the page. */
  ask: async () => false,
};

/**
 * Ask the service.
 * @returns {Promise<Response>} an answer that is a success; a 401 asks for a key and tries again.
 * @throws {Problem} any other answer.
 */
export async function ask(path, { method = "GET", headers = {}, body = null, signal = null } = {}) {
  for (;;) {
    const response = await sent(path, { method, headers: withKey(headers), body, signal, cache: "no-store" });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401 || !(await key.ask(problem))) throw problem;
  }
}

/** The same, read as JSON. */
export const askJson = async (path, options) => (await ask(path, options)).json();

async function sent(path, options) {
  try {
    return await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({
      title: "The service does not answer",
      detail: "Nothing came back. The service may be starting or stopped, or the network is away.",
    });
  }
}

function withKey(headers) {
  const secret = key.get();
  return secret ? { ...headers, Authorization: `Apikey ${secret}` } : headers;
}

async function problemOf(response) {
  const facts = {
    status: response.status,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
    requestId: response.headers.get("X-Request-ID"),
  };
  const told = await response.json().catch(() => null);
  if (told && typeof told === "object" && told.title) return new Problem(told, facts);
  return new Problem({
    title: `The answer was ${response.status} ${response.statusText}`.trim(),
    detail: "It does not come from the service itself. A proxy on the way may have a limit or a time-out of its own.",
  }, facts);
}

const FINAL = new Set(["done", "failed", "cancelled"]);

/** Whether a job has ended. */
export const ended = (job) => FINAL.has(job.state);

/**
 * Follow a job: gives it at once and with every change, until it has ended. Comes back after a lost connection.
 * EventSource could do this, but not with a key.
 */
export async function* follow(id, signal) {
  let last = null;
  let wait = 500;
  while (!signal?.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const response = await ask(`jobs/${id}/events`, { headers, signal });
      if (response.status === 204) return;
      for await (const event of events(response.body)) {
        wait = 500;
        last = event.id || last;
        if (!event.data) continue;
        const job = JSON.parse(event.data);
        yield job;
        if (ended(job)) return;
      }
    } catch (error) {
      if (signal?.aborted || error.name === "AbortError") return;
      // A problem of the job itself will not mend; a network, a restart or a proxy's time-out will.
      if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, 8000);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield eventOf(part);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(text) {
  const event = { id: "", data: "" };
  for (const line of text.split("\n")) {
    const [name, ...value] = line.split(":");
    if (name in event) event[name] += (event[name] && "\n") + value.join(":").replace(/^ /, "");
  }
  return event;
}
