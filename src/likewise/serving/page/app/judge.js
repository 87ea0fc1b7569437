/**
 * The page for judging: one query at a time, its hits, and what somebody says of them.
 *
 * Searches are sent as batches of one, which the server does not count as queries that somebody asks.
 */

import { ask, itemPath, latest, Problem } from "./api.js";
import { titleOf } from "./columns.js";
import { byId, fill, h, icon } from "./elements.js";

const HITS = 12;
const QUERIES = 200;
const WAIT = 150; // milliseconds after the last key until items are looked for
const FITS = 1, MISSES = 0, RIGHT = 2;

/** What is being judged. */
const state = {
  queries: [], // that are still to be judged: {text, asked}
  judged: 0,
  total: 0,
  current: null, // {text, asked, hits: [hit], said: Map of id → {relevance, judgement}}
  chosen: -1,
  done: [], // what can be taken back: {query, id, before}
};

async function search(text, k, options = {}, signal = undefined) {
  const { answers } = await ask("/v1/search/batch", {
    body: { searches: [{ text, k, fields: ["title"], ...options }] },
    signal,
  });
  if (!answers[0].hits) throw new Problem(answers[0].status, answers[0].detail);
  return answers[0].hits;
}

function tell(message) {
  byId("message").textContent = message;
  byId("message").hidden = !message;
}

/** Run an action; what goes wrong is told. */
async function trying(action) {
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 401) location.reload(); // the session is over: the server asks for a key
    tell(error.message);
  }
}

function showProgress() {
  byId("progress").textContent = state.total ? `${state.judged} of ${state.total} judged` : "";
  byId("bar").hidden = !state.total;
  byId("bar").max = Math.max(state.total, 1);
  byId("bar").value = state.judged;
  byId("undo").disabled = !state.done.length;
}

async function loadQueries() {
  const found = await ask(`/v1/judgements/queries?limit=${QUERIES}`);
  Object.assign(state, { queries: found.queries, judged: found.judged, total: found.total });
}

async function showNext() {
  if (!state.queries.length) await loadQueries();
  const query = state.queries.shift();
  if (query) return show(query);
  state.current = null;
  render();
  tell(
    state.total
      ? "All queries are judged. You can judge another one below."
      : "There are no queries to judge yet. Type one below, or start the server with --collect-queries or --queries-to-judge FILE.",
  );
}

async function show(query, said = undefined) {
  const [hits, listed] = await Promise.all([
    search(query.text, HITS),
    said ? { judgements: [] } : ask(`/v1/judgements?query=${encodeURIComponent(query.text)}&limit=1000`),
  ]);
  tell("");
  const known = listed.judgements.filter((one) => one.image === null);
  said ??= new Map(known.map((one) => [one.id, { relevance: one.relevance, judgement: one.judgement, earlier: true }]));
  state.current = { ...query, hits, said };
  state.chosen = -1;
  render();
  scrollTo({ top: 0 });
}

function render() {
  const { current } = state;
  for (const id of ["query", "right"]) byId(id).hidden = !current;
  byId("hint").hidden = !current || !current.hits.length;
  fill(byId("hits"), ...(current?.hits ?? []).map(card));
  byId("right-words").value = "";
  fill(byId("answers"));
  if (current) {
    byId("asked").textContent = `“${current.text}”`;
    const times = current.asked > 1 ? `asked ${current.asked} times` : current.asked ? "asked once" : "";
    byId("how-often").textContent = current.hits.length ? times : "Nothing is found for it.";
  }
  showProgress();
}

function picture(hit) {
  if (!hit.thumbnail) return null;
  return h("img", { src: hit.thumbnail, alt: "", loading: "lazy", decoding: "async", onerror: ({ target }) => target.replaceWith("no picture") });
}

function card(hit, place) {
  const thumb = (drawing, relevance, name) =>
    h("button", { type: "button", "aria-label": `${name}: ${titleOf(hit)}`, title: name, "aria-pressed": "false", dataset: { relevance }, onclick: () => queue(() => judge(hit, relevance)) }, icon(drawing));
  const made = h("li.hit", { dataset: { id: hit.id } },
    h("span.number", { "aria-hidden": "true" }, place + 1),
    h("div.picture", {}, picture(hit) ?? "no picture"),
    h("div.about", {}, h("p.title", {}, titleOf(hit)), h("p.muted", {}, hit.id), h("p.said")),
    h("div.thumbs", {}, thumb("up", FITS, "It fits"), thumb("down", MISSES, "It does not fit")));
  mark(made, state.current.said.get(hit.id), place);
  return made;
}

/** Show on a card what was said of its item, and whether it is chosen. */
function mark(made, said, place) {
  made.classList.toggle("fits", said !== undefined && said.relevance > 0);
  made.classList.toggle("misses", said !== undefined && said.relevance <= 0);
  made.toggleAttribute("aria-current", false);
  if (place === state.chosen) made.setAttribute("aria-current", "true");
  const words = said === undefined ? "" : said.relevance >= RIGHT ? "The right answer" : said.relevance > 0 ? "It fits" : "It does not fit";
  made.querySelector(".said").textContent = words;
  for (const button of made.querySelectorAll(".thumbs button")) {
    const pressed = said !== undefined && (said.relevance > 0) === (Number(button.dataset.relevance) > 0);
    button.setAttribute("aria-pressed", String(pressed));
  }
}

function markAll() {
  [...byId("hits").children].forEach((made, place) => mark(made, state.current.said.get(made.dataset.id), place));
  showProgress();
}

/** Keep what is said of an item as an answer to the query that is shown. */
async function judge(hit, relevance) {
  const query = state.current;
  const before = query.said.get(hit.id);
  await save(query, hit.id, relevance);
  if (!state.current?.hits.some((one) => one.id === hit.id) && state.current === query) {
    query.hits = [...query.hits, hit];
    byId("hits").append(card(hit, query.hits.length - 1));
  }
  state.done.push({ query, id: hit.id, before });
  tell("");
  markAll();
}

async function save(query, id, relevance) {
  const answer = await ask("/v1/judgements", { body: { query: { text: query.text }, id, relevance } });
  const isFirst = !query.said.size;
  query.said.set(id, { relevance, judgement: answer.judgement });
  if (isFirst && query.asked) state.judged += 1;
}

async function undo() {
  const last = state.done.at(-1);
  if (!last) return;
  const { query, id, before } = last;
  if (before) {
    await save(query, id, before.relevance);
  } else {
    await ask(`/v1/judgements/${query.said.get(id).judgement}`, { method: "DELETE" });
    query.said.delete(id);
    if (!query.said.size && query.asked) state.judged -= 1;
  }
  state.done.pop();
  if (state.current?.text === query.text) markAll();
  else {
    if (state.current?.asked) state.queries.unshift({ text: state.current.text, asked: state.current.asked });
    await show({ text: query.text, asked: query.asked }, query.said);
    for (const other of state.done) if (other.query === query) other.query = state.current;
  }
  showProgress();
}

function choose(place) {
  if (!state.current || place >= state.current.hits.length) return;
  state.chosen = place;
  markAll();
  byId("hits").children[place]?.scrollIntoView({ block: "nearest" });
}

async function judgeChosen(relevance) {
  const hit = state.current?.hits[state.chosen];
  if (!hit) return;
  await judge(hit, relevance);
  const last = state.current.hits.length - 1;
  state.chosen = state.chosen < last ? state.chosen + 1 : -1;
  markAll();
}

const KEYS = {
  y: () => judgeChosen(FITS),
  n: () => (state.chosen >= 0 ? judgeChosen(MISSES) : showNext()),
  s: () => showNext(),
  u: () => undo(),
  Escape: () => choose(-1),
  "/": () => byId("right-words").focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input")) {
    if (event.key === "Escape") event.target.blur?.();
    return;
  }
  const place = "123456789".indexOf(event.key);
  const action = place >= 0 ? () => choose(place) : KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  queue(action);
});

/** Actions one after another, as each looks at what the one before has left. */
let last = Promise.resolve();
function queue(action) {
  last = last.then(() => trying(async () => action()));
}

const look = latest();
let timer = 0;
byId("right-words").addEventListener("input", () => {
  clearTimeout(timer);
  look(async (signal) => {
    timer = setTimeout(() => trying(() => findAnswers(signal)), WAIT);
  });
});

/** Items whose id or words were typed, to choose the right answer from. */
async function findAnswers(signal) {
  const words = byId("right-words").value.trim();
  if (!words) return fill(byId("answers"));
  const byName = ask(itemPath(words), { signal }).catch((error) => {
    if (error.name === "AbortError") throw error;
    return null;
  });
  const [named, found] = await Promise.all([byName, search(words, 8, { hybrid: true }, signal)]);
  const items = named ? [named, ...found.filter((hit) => hit.id !== named.id)] : found;
  const entry = (hit) =>
    h("li", {}, h("button", { type: "button", onclick: () => queue(() => chooseAnswer(hit)) },
      picture(hit) ?? h("span.blank"),
      h("span", {}, titleOf(hit), h("span.muted", {}, ` ${hit.id}`))));
  fill(byId("answers"), ...(items.length ? items.map(entry) : [h("li.muted", {}, "No item is like that.")]));
}

async function chooseAnswer(hit) {
  await judge(hit, RIGHT);
  byId("right-words").value = "";
  fill(byId("answers"));
}

byId("another").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("another-words").value.trim().replace(/\s+/g, " ");
  if (!text) return;
  queue(async () => {
    if (state.current?.asked && !state.current.said.size) state.queries.unshift({ text: state.current.text, asked: state.current.asked });
    await show({ text, asked: 0 });
    byId("another-words").value = "";
    byId("another-words").blur();
  });
});

byId("undo").addEventListener("click", () => queue(undo));
byId("skip").addEventListener("click", () => queue(showNext));
byId("next").addEventListener("click", () => queue(showNext));
queue(showNext);
