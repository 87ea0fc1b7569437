/**
 * What is searched for and how it is shown: one object, which the address of the page remembers.
 *
 * @typedef {{text: string, weight: number}} Words
 * @typedef {{id: string, title: string, weight: number}} Liked
 * @typedef {{data: string, preview: string, weight: number, name: string}} Media pictures and recordings, as data: URLs
 * @typedef {{values?: Array<string|boolean>, least?: string, greatest?: string}} Filter
 */

export const FIRST_PAGE = 24;

/** Nothing that is searched for. */
export function emptyState() {
  return {
    text: "", // in the box
    words: /** @type {Words[]} */ ([]), // further ones
    minus: /** @type {Words[]} */ ([]),
    like: /** @type {Liked[]} */ ([]),
    pictures: /** @type {Media[]} */ ([]),
    sounds: /** @type {Media[]} */ ([]),
    balance: 0.5, // share of pictures and sounds
    filters: /** @type {Map<string, Filter>} */ (new Map()),
    conditions: /** @type {string[]} */ ([]), // filters in writing
    exact: true, // also search by the very words
    correct: true, // misspelt words
    group: "", // a column
    sort: "", // a column, with a minus for descending; empty: by relevance
    why: false,
    count: FIRST_PAGE,
  };
}

/** The state, those who want to know of its changes, and the address that remembers it. */
export class Store {
  constructor() {
    this.state = emptyState();
    this.listeners = [];
    addEventListener("popstate", () => this.restore());
    addEventListener("hashchange", () => this.restore());
  }

  /** Call a function after each change, with what kind of change it was. */
  listen(listener) {
    this.listeners.push(listener);
  }

  /**
   * Change the state.
   * @param {Object} changes of its parts
   * @param {{push?: boolean, typing?: boolean, shown?: boolean}} how push: one can go back to what was before;
   *   typing: more may follow at once; shown: only what is shown changes, and not what is searched for
   */
  change(changes, how = {}) {
    const searching = !how.shown && !("count" in changes);
    Object.assign(this.state, searching ? { count: FIRST_PAGE } : {}, changes);
    const address = `#${writeHash(this.state)}`;
    if (address !== (location.hash || "#")) history[how.push ? "pushState" : "replaceState"](null, "", address);
    this.#tell(how);
  }

  /** Take over what the address says; pictures and sounds stay only while one types. */
  restore() {
    const hash = location.hash.slice(1);
    if (hash === writeHash(this.state)) return;
    this.state = readHash(hash);
    this.#tell({ restored: true });
  }

  #tell(how) {
    for (const listener of this.listeners) listener(this.state, how);
  }
}

/** Whether there is anything to search for; what is not wanted does not count. */
export function asksForSomething(state) {
  const { text, words, like, pictures, sounds } = state;
  return Boolean(text.trim() || words.some((one) => one.text.trim()) || like.length || pictures.length || sounds.length);
}

/** The state as the part of an address behind #; without pictures and sounds, which are too large for one. */
export function writeHash(state) {
  const parts = new URLSearchParams();
  if (state.text.trim()) parts.append("q", state.text.trim());
  for (const { text, weight } of state.words) if (text.trim()) parts.append("words", `${weight}~${text.trim()}`);
  for (const { text, weight } of state.minus) if (text.trim()) parts.append("minus", `${weight}~${text.trim()}`);
  for (const { id, title, weight } of state.like) parts.append("like", JSON.stringify([id, title.slice(0, 80), weight]));
  for (const [column, filter] of state.filters) parts.append("filter", JSON.stringify([column, filter]));
  for (const condition of state.conditions) parts.append("where", condition);
  if (!state.exact) parts.append("exact", "no");
  if (!state.correct) parts.append("correct", "no");
  if (state.group) parts.append("group", state.group);
  if (state.sort) parts.append("sort", state.sort);
  if (state.why) parts.append("why", "yes");
  if (state.count !== FIRST_PAGE) parts.append("show", state.count);
  return parts.toString();
}

/** The state that an address stands for; what cannot be understood is left out, as anybody may have written it. */
export function readHash(hash) {
  const parts = new URLSearchParams(hash);
  const state = emptyState();
  state.text = (parts.get("q") ?? "").slice(0, 10_000);
  state.words = parts.getAll("words").slice(0, 16).flatMap(readWords);
  state.minus = parts.getAll("minus").slice(0, 16).flatMap(readWords);
  for (const text of parts.getAll("like").slice(0, 16)) {
    const [id, title, weight] = readList(text);
    if (typeof id === "string" && id) state.like.push({ id, title: String(title ?? id), weight: readWeight(weight) });
  }
  for (const text of parts.getAll("filter").slice(0, 50)) {
    const [column, filter] = readList(text);
    const read = readFilter(filter);
    if (typeof column === "string" && read) state.filters.set(column, read);
  }
  state.conditions = parts.getAll("where").slice(0, 20);
  state.exact = parts.get("exact") !== "no";
  state.correct = parts.get("correct") !== "no";
  state.group = parts.get("group") ?? "";
  state.sort = parts.get("sort") ?? "";
  state.why = parts.get("why") === "yes";
  state.count = Math.min(Math.max(Math.round(Number(parts.get("show"))) || FIRST_PAGE, 1), 240);
  return state;
}

function readWords(text) {
  const cut = text.indexOf("~");
  return cut < 0 ? [] : [{ weight: readWeight(text.slice(0, cut)), text: text.slice(cut + 1, 10_000) }];
}

function readWeight(value) {
  const weight = Number(value);
  return weight > 0 && weight <= 10 ? weight : 1;
}

function readList(text) {
  try {
    const list = JSON.parse(text);
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}

function readFilter(filter) {
  if (typeof filter !== "object" || filter === null) return null;
  const { values, least, greatest } = filter;
  if (Array.isArray(values)) {
    const kept = values.filter((value) => typeof value === "string" || typeof value === "boolean");
    return kept.length ? { values: kept } : null;
  }
  const bounds = {};
  if (typeof least === "string") bounds.least = least;
  if (typeof greatest === "string") bounds.greatest = greatest;
  return Object.keys(bounds).length ? bounds : null;
}
