/**
 * The hits: cards that stay the same elements while the same items are found, so that nothing flickers.
 */

import { showName, showValue, sortable, titleOf } from "./columns.js";
import { compareButton } from "./compare.js";
import { byId, fill, h, icon } from "./elements.js";
import { fieldChips } from "./explanations.js";
import { activeFilters } from "./filters.js";
import { thumbs } from "./judgements.js";
import { usesWordsAlone } from "./query.js";
import { copyMenu } from "./snippets.js";
import { picture } from "./thumbnail.js";

export class Results {
  /**
   * @param {import("./state.js").Store} store
   * @param {Object} catalogue columns, facts and features
   * @param {{open: function, more: function}} actions what a card does
   */
  constructor(store, catalogue, actions) {
    this.store = store;
    this.catalogue = catalogue;
    this.actions = actions;
    this.cards = new Map(); // id → element
    this.found = byId("found");
    this.answer = null;
    store.listen((state, how) => {
      if (how.shown && this.answer) this.show(state, this.answer, this.took);
    });
  }

  /** A search is under way: what is shown stays. */
  begin() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => byId("progress").classList.add("on"), 250);
    this.found.setAttribute("aria-busy", "true");
  }

  /** Show the answer of a search. */
  show(state, answer, took) {
    this.#end();
    this.answer = answer;
    this.took = took;
    this.shownFor = state;
    byId("problem").hidden = true;
    const hits = sortHits(answer.hits, state.sort);
    const likely = hits.filter((hit) => hit.likely !== false);
    const unlikely = hits.filter((hit) => hit.likely === false);
    const lists = [];
    if (!hits.length) lists.push(this.#nothing());
    else if (!likely.length) lists.push(h("p.note", {}, "Nothing here is likely to be what you are looking for. The nearest items are below."));
    if (likely.length) lists.push(this.#list(likely, "results"));
    if (unlikely.length) lists.push(h("h3.divider", {}, "Less likely"), this.#list(unlikely, "less likely results"));
    if (answer.hits.length >= state.count && state.count < 240 && !state.group) lists.push(this.#more());
    const focused = this.found.contains(document.activeElement) ? document.activeElement : null;
    fill(this.found, ...lists);
    if (focused) { // which it loses while it is moved, or drawn anew
      const place = focused.isConnected ? focused : this.cards.get(focused.closest(".card")?.dataset.id)?.querySelector(".open");
      place?.focus({ preventScroll: true });
    }
    const kept = new Set(hits.map((hit) => hit.id));
    for (const id of this.cards.keys()) if (!kept.has(id)) this.cards.delete(id);
    this.#showBar(state, answer, took);
    this.#showHints(state, answer);
  }

  /** Show something else in place of hits. */
  clear(...content) {
    this.#end();
    this.answer = null;
    this.cards.clear();
    byId("problem").hidden = true;
    byId("bar").hidden = true;
    fill(byId("hints"), ...activeFilters(this.store));
    fill(this.found, ...content);
  }

  /** Say what went wrong; hits of before stay, as they may still be of use. */
  fail(problem, wait, again) {
    this.#end();
    const place = byId("problem");
    place.hidden = false;
    const sentence = problem.message.charAt(0).toUpperCase() + problem.message.slice(1);
    const when = wait ? ` Trying again in ${wait} s.` : "";
    fill(place, h("span", {}, `${sentence}${/[.?!]$/.test(sentence) ? "" : "."}${when}`), h("button.quiet", { type: "button", onclick: again }, "Try again"));
    if (this.store.state.conditions.length || this.store.state.filters.size) fill(byId("hints"), ...activeFilters(this.store));
  }

  #end() {
    clearTimeout(this.waiting);
    byId("progress").classList.remove("on");
    this.found.removeAttribute("aria-busy");
  }

  #list(hits, name) {
    return h(name === "results" ? "ul.cards" : "ul.cards.dimmed", { "aria-label": name }, ...hits.map((hit) => this.#card(hit)));
  }

  /** The card of a hit: the one that is there already, with what may have changed. */
  #card(hit) {
    const state = this.store.state;
    let card = this.cards.get(hit.id);
    const look = JSON.stringify([hit.thumbnail, hit.fields.title, state.group, state.sort]);
    if (!card || card.dataset.look !== look) {
      card = this.#build(hit, look);
      this.cards.set(hit.id, card);
    }
    card.hit = hit;
    const score = card.querySelector(".score");
    score.querySelector(".number").textContent = hit.score.toFixed(2);
    score.querySelector(".filled").style.setProperty("--share", String(Math.max(0, Math.min(1, hit.score))));
    const why = card.querySelector(".why");
    why.hidden = !hit.explanation;
    fill(why, ...(hit.explanation ? fieldChips(hit.explanation, hit.score, 3) : []));
    return card;
  }

  #build(hit, look) {
    const title = titleOf(hit);
    const state = this.store.state;
    const column = state.sort.replace(/^-/, "");
    const named = [...new Set([state.group, column, ...this.catalogue.facts])].filter((name) => name && name !== "title");
    const facts = named.filter((name) => hit.fields[name] !== null && hit.fields[name] !== undefined && hit.fields[name] !== "").slice(0, 3);
    const card = h("li.card", { dataset: { id: hit.id, look } },
      h("button.open", { type: "button", "aria-label": `Details of ${title}`, onclick: () => this.actions.open(card.hit) },
        picture(hit, title), h("span.title", {}, title)),
      facts.length ? h("p.facts", {}, ...facts.map((name) => h("span.fact", { title: showName(name) }, showValue(hit.fields[name])))) : null,
      h("div.why", { hidden: true }),
      h("div.foot", {},
        h("span.score", { title: "How well it fits" }, h("span.meter", { "aria-hidden": "true" }, h("span.filled")), h("span.number")),
        this.catalogue.features.judgements ? thumbs(this.store, () => card.hit, this.catalogue) : null,
        h("button.more-like", { type: "button", "aria-label": `More like ${title}`, title: "More like this", onclick: () => this.actions.more(card.hit) }, icon("like"), h("span", {}, "Similar"))));
    return card;
  }

  #more() {
    const count = Math.min(this.store.state.count * 2, 240);
    return h("div.row", {}, h("button.more", { type: "button", onclick: () => this.store.change({ count }, {}) }, "Show more"));
  }

  #nothing() {
    const filtered = this.store.state.filters.size || this.store.state.conditions.length;
    return h("div.nothing", {}, h("p", {}, filtered ? "No item meets these filters." : "Nothing was found."),
      filtered ? h("button.primary", { type: "button", onclick: () => this.store.change({ filters: new Map(), conditions: [] }, { push: true }) }, "Remove the filters") : null);
  }

  #showBar(state, answer, took) {
    const bar = byId("bar");
    if (bar.hidden || bar.dataset.ready !== "yes") {
      bar.dataset.ready = "yes";
      this.heading = h("h2.heading");
      this.timing = h("details.timing", {}, h("summary"), h("dl"));
      this.tools = h("div.view");
      fill(bar, h("div", { role: "status" }, this.heading), this.timing, this.tools);
      bar.hidden = false;
    }
    const count = answer.hits.length;
    fill(this.heading, count === 1 ? "1 result" : `${count} results`);
    this.#showTiming(answer.took_ms, took);
    const look = JSON.stringify([state.sort, state.group, state.exact, state.why, usesWordsAlone(state)]);
    if (this.tools.dataset.look !== look) {
      this.tools.dataset.look = look;
      const key = this.tools.contains(document.activeElement) ? document.activeElement.id : "";
      fill(this.tools, ...this.#viewTools(state));
      if (key) byId(key)?.focus();
    }
  }

  #showTiming(stages, took) {
    const [summary, list] = this.timing.children;
    fill(summary, `${Math.round(took)} ms`);
    summary.title = "Milliseconds from the request to the results";
    const names = { encode: "understanding the query", search: "searching", fetch: "reading the items", total: "in the server", explain: "explaining" };
    fill(list, ...Object.entries(stages).flatMap(([stage, ms]) => [h("dt", {}, names[stage] ?? stage), h("dd", {}, `${ms.toFixed(1)} ms`)]),
      h("dt", {}, "until shown"), h("dd", {}, `${took.toFixed(1)} ms`));
  }

  #viewTools(state) {
    const columns = sortable(this.catalogue.columns);
    const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);
    const sort = h("select", { id: "sort", onchange: () => this.store.change({ sort: sort.value }, { push: true, shown: this.catalogue.facts.includes(sort.value.replace(/^-/, "")) || !sort.value }) },
      option("", "relevance", state.sort),
      ...columns.flatMap(({ name }) => [option(name, `${showName(name)} ↑`, state.sort), option(`-${name}`, `${showName(name)} ↓`, state.sort)]));
    const groups = columns.filter((column) => column.name !== "title" && ["category", "boolean", "year"].includes(column.filter));
    const group = h("select", { id: "group", onchange: () => this.store.change({ group: group.value }, { push: true }) },
      option("", "no group", state.group), ...groups.map(({ name }) => option(name, showName(name), state.group)));
    const toggle = (id, name, title, part) => {
      const button = h("button.toggle", { id, type: "button", title, "aria-pressed": String(state[part]), onclick: () => this.store.change({ [part]: !this.store.state[part], count: this.store.state.count }, { push: true }) }, name);
      return button;
    };
    return [
      h("label.choice", {}, "Sort by", sort),
      groups.length ? h("label.choice", {}, "Group by", group) : null,
      this.catalogue.features.explain ? toggle("why-button", "Why?", "Show what each result owes its place to", "why") : null,
      usesWordsAlone(state) ? toggle("exact-button", "Exact words", "Search by the very words and numbers, too", "exact") : null,
      this.catalogue.features.comparison ? compareButton(this.store, this.catalogue) : null,
      copyMenu(this.store, this.catalogue),
    ];
  }

  #showHints(state, answer) {
    const hints = activeFilters(this.store);
    for (const { given, searched } of answer.did_you_mean ?? []) {
      hints.push(h("p.hint", {}, "Showing results for ", h("strong", {}, searched), ". ",
        h("button.quiet", { type: "button", onclick: () => this.store.change({ correct: false }, { push: true }) }, `Search instead for ${given}`)));
    }
    const suggested = answer.suggested_filter;
    if (suggested) {
      hints.push(h("button.suggested", { type: "button", title: suggested.because, onclick: () => this.store.change({ text: suggested.text, conditions: [...state.conditions, suggested.filter] }, { push: true }) },
        icon("filter"), `Only ${suggested.filter.replaceAll("`", "")}`));
    }
    if (answer.unexplained) hints.push(h("p.hint", {}, `There are no reasons to show: ${answer.unexplained}.`));
    fill(byId("hints"), ...hints);
  }
}

/** Hits in the order of a column; those without a value come last, and equals stay by relevance. */
export function sortHits(hits, sort) {
  if (!sort) return hits;
  const column = sort.replace(/^-/, "");
  const sign = sort.startsWith("-") ? -1 : 1;
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
  const filled = hits.filter((hit) => hit.fields[column] !== null && hit.fields[column] !== undefined);
  const blank = hits.filter((hit) => !filled.includes(hit));
  return [...filled.sort((a, b) => sign * compare(a.fields[column], b.fields[column])), ...blank];
}
