/**
 * Filters from the catalogue's own columns: values with counts, ranges, yes and no.
 */

import { ask, latest } from "./api.js";
import { showName, showValue } from "./columns.js";
import { append, byId, fill, h, icon } from "./elements.js";
import { asksForSomething } from "./state.js";
import { buildSearch } from "./query.js";

const FEW = 6; // values before "more"
const MANY = 40;
const MOST_COLUMNS = 12;
const PAUSE = 250; // ms after results, until values are counted among them

export class Filters {
  /**
   * @param {import("./state.js").Store} store
   * @param {Map<string, Object>} columns of /v1/columns, by name
   */
  constructor(store, columns) {
    this.store = store;
    this.columns = columns;
    this.shown = [...columns.values()].filter(isUseful).slice(0, MOST_COLUMNS);
    this.open = new Set(this.shown.slice(0, 4).map((column) => column.name));
    this.long = new Set(); // columns all of whose values are shown
    this.counts = new Map(); // column → value → how many of the best hits have it
    this.replace = latest();
    this.place = byId("filters");
    this.place.hidden = false;
    store.listen((state, how) => {
      if (!how.typing && !how.shown) this.#show();
    });
    this.#show();
  }

  /** Count the values among the best hits, once nobody types any more. */
  count() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#count(), PAUSE);
  }

  async #count() {
    const facets = this.shown.filter((column) => column.values.length).map((column) => column.name).slice(0, 8);
    if (!facets.length) return;
    if (!asksForSomething(this.store.state)) {
      this.counts.clear();
      return this.#show();
    }
    const search = buildSearch({ ...this.store.state, why: false, count: 1, group: "" }, this.columns, {});
    try {
      const answer = await this.replace((signal) => ask("/v1/search", { body: { ...search, facets, fields: ["id"] }, signal }));
      this.counts = new Map(Object.entries(answer.facets).map(([column, values]) => [column, new Map(values.map(({ value, count }) => [value, count]))]));
      if (!this.place.contains(document.activeElement) || document.activeElement.type === "checkbox") this.#show();
    } catch {
      // the search itself says what is wrong
    }
  }

  #show() {
    const focused = this.place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const state = this.store.state;
    const active = state.filters.size + state.conditions.length;
    const list = h("div.columns", {}, ...this.shown.map((column) => this.#column(column)), this.#writing());
    const toggle = h("button.toggle", { type: "button", dataset: { key: "toggle" }, "aria-expanded": String(this.place.classList.contains("open")), onclick: () => {
      const open = this.place.classList.toggle("open");
      toggle.setAttribute("aria-expanded", String(open));
    } }, icon("filter"), "Filters", active ? h("span.badge", {}, active) : null);
    const clear = active ? h("button.quiet", { type: "button", dataset: { key: "clear" }, onclick: () => this.store.change({ filters: new Map(), conditions: [] }, { push: true }) }, "Clear all") : null;
    fill(this.place, h("div.filters-top", {}, toggle, clear), list);
    if (focused) [...this.place.querySelectorAll("[data-key]")].find((element) => element.dataset.key === focused)?.focus({ preventScroll: true });
  }

  #column(column) {
    const filter = this.store.state.filters.get(column.name);
    const details = h("details.column", { open: this.open.has(column.name) || Boolean(filter) }, h("summary", { dataset: { key: `${column.name}\n` } }, showName(column.name), filter ? h("span.dot", { title: "filtered" }) : null));
    details.addEventListener("toggle", () => this.open[details.open ? "add" : "delete"](column.name));
    append(details, [column.filter === "category" || column.filter === "boolean" ? this.#values(column, filter) : this.#range(column, filter)]);
    return details;
  }

  #values(column, filter) {
    const counts = this.counts.get(column.name);
    const chosen = new Set(filter?.values ?? []);
    const known = new Map(column.values.map(({ value, count }) => [value, counts ? 0 : count]));
    for (const [value, count] of counts ?? []) known.set(value, count);
    for (const value of chosen) if (!known.has(value)) known.set(value, 0);
    const sorted = [...known].sort((a, b) => chosen.has(b[0]) - chosen.has(a[0]) || b[1] - a[1]);
    const all = this.long.has(column.name);
    const rows = sorted.slice(0, all ? MANY : Math.max(FEW, chosen.size)).map(([value, count]) => {
      const box = h("input", { type: "checkbox", checked: chosen.has(value), dataset: { key: `${column.name}\n${value}` } });
      box.addEventListener("change", () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        this.#set(column.name, chosen.size ? { values: [...chosen] } : null);
      });
      return h("label.value", {}, box, h("span.name", {}, showValue(value)), h("span.number", {}, count ? showValue(count) : ""));
    });
    const more = sorted.length > FEW ? h("button.quiet", { type: "button", dataset: { key: `${column.name}\nmore` }, "aria-label": all ? `Fewer values of ${showName(column.name)}` : `More values of ${showName(column.name)}`, onclick: () => {
      this.long[all ? "delete" : "add"](column.name);
      this.#show();
    } }, all ? "fewer" : "more") : null;
    return h("div.values", { role: "group", "aria-label": showName(column.name) }, ...rows, more);
  }

  #range(column, filter) {
    const date = column.filter === "date";
    const bound = (end, name, known) => {
      const input = h("input", { type: date ? "date" : "number", step: "any", value: filter?.[end] ?? "", dataset: { key: `${column.name}\n${end}` }, "aria-label": `${showName(column.name)} ${name}`, placeholder: known === null ? name : showValue(Math.round(known * 100) / 100) });
      input.addEventListener("change", () => {
        const bounds = { ...this.store.state.filters.get(column.name), [end]: input.value };
        if (!input.value) delete bounds[end];
        this.#set(column.name, Object.keys(bounds).length ? bounds : null);
      });
      return input;
    };
    return h("div.range", {}, bound("least", "from", column.least), h("span", { "aria-hidden": "true" }, "–"), bound("greatest", "to", column.greatest));
  }

  #writing() {
    const input = h("input", { type: "text", placeholder: "price < 50 and stock > 0", "aria-label": "A filter in writing", dataset: { key: "writing" }, spellcheck: false, maxLength: 1000 });
    const form = h("form", {}, input);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const condition = input.value.trim();
      if (condition) this.store.change({ conditions: [...this.store.state.conditions, condition] }, { push: true });
    });
    return h("details.column.writing", {}, h("summary", { dataset: { key: "writing\n" } }, "Write a filter"), form);
  }

  #set(column, filter) {
    const filters = new Map(this.store.state.filters);
    if (filter) filters.set(column, filter);
    else filters.delete(column);
    this.store.change({ filters }, { push: true });
  }
}

/** Whether a filter by a column could part the items. */
function isUseful(column) {
  if (!column.filter) return false;
  if (column.filter === "category") return column.values.length > 1;
  return column.filter === "boolean" || column.filter === "date" || column.least === null || column.least < column.greatest;
}

/** The active filters of a state as chips, each with what takes it away. */
export function activeFilters(store) {
  const { filters, conditions } = store.state;
  const chip = (text, remove) => h("button.active", { type: "button", title: "Remove this filter", "aria-label": `Remove the filter ${text}`, onclick: remove }, text, icon("close"));
  const chips = [...filters].map(([column, filter]) => chip(describe(column, filter), () => {
    const rest = new Map(store.state.filters);
    rest.delete(column);
    store.change({ filters: rest }, { push: true });
  }));
  return [...chips, ...conditions.map((condition, index) => chip(condition, () => store.change({ conditions: store.state.conditions.filter((_, place) => place !== index) }, { push: true })))];
}

function describe(column, { values, least, greatest }) {
  const name = showName(column);
  if (values) return `${name}: ${values.map(showValue).join(", ")}`;
  if (least === undefined) return `${name} ≤ ${greatest}`;
  return greatest === undefined ? `${name} ≥ ${least}` : `${name} ${least} – ${greatest}`;
}
