/**
 * Requests to the server, whose problems are sentences for the visitor.
 */

/** What a request ended with, as RFC 9457 says it; status 0 where the server was not reached. */
export class Problem extends Error {
  constructor(status, detail, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter; // seconds
  }
}

/**
 * Ask the server, and read its answer as JSON.
 * @param {string} path
 * @param {{method?: string, body?: Object, signal?: AbortSignal}} options a body makes it a POST
 * @returns {Promise<Object|null>} null for an answer without content
 * @throws {Problem} anything but an answer; an AbortError where the signal came first
 */
export async function ask(path, { method = "GET", body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : method,
      headers: body ? { "Content-Type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer.");
  }
  if (answer.status === 204) return null;
  if (answer.ok) return answer.json();
  const said = await answer.json().catch(() => ({}));
  if (signal?.aborted) throw new DOMException("another search has begun", "AbortError");
  throw new Problem(answer.status, said.detail ?? answer.statusText, Number(answer.headers.get("Retry-After")) || 0);
}

/** The path of an item. */
export function itemPath(id, part = "") {
  return `/v1/items/${encodeURIComponent(id)}${part}`;
}

/**
 * A function that aborts what it was called for before.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} run
 */
export function latest() {
  let controller = null;
  return (run) => {
    controller?.abort();
    controller = new AbortController();
    return run(controller.signal);
  };
}
