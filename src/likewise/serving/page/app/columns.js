/**
 * The columns of the catalogue, as the server describes them, and how their values are shown.
 */

const PROSE = new Set(["id", "title", "description", "image"]);

/** What cards show besides the title: a price or another number, and a category. */
export function pickFacts(columns) {
  const shown = [...columns.values()].filter((column) => column.filter && !PROSE.has(column.name));
  const price = shown.find((column) => column.filter === "number" && /pri[cx]|preis|cost|amount/i.test(column.name));
  const brand = shown.find((column) => column.filter === "category" && /brand|maker|artist|author/i.test(column.name));
  const category = shown.find((column) => column.filter === "category" && column !== brand);
  return [price, brand ?? category].filter(Boolean).map((column) => column.name);
}

/** Columns that hits can be sorted and grouped by. */
export function sortable(columns) {
  return [...columns.values()].filter((column) => !["list", "other"].includes(column.kind) && !["id", "description", "image"].includes(column.name));
}

/** A cell as a person reads it. */
export function showValue(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  if (typeof value === "number") return value.toLocaleString("en", { maximumFractionDigits: 4, useGrouping: Math.abs(value) >= 10_000 });
  if (Array.isArray(value)) return value.map(showValue).join(", ");
  if (value && typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** A column's name as a label: "main_colour" is "main colour". */
export function showName(name) {
  return name.replaceAll("_", " ");
}

/** The title of a hit, or else the beginning of its description, or else its id; on one line. */
export function titleOf(hit) {
  for (const text of [hit.fields.title, hit.fields.description, hit.id]) {
    const words = text ? String(text).split(/\s+/).join(" ").trim() : "";
    if (words) return words.length > 200 ? `${words.slice(0, 200)}…` : words;
  }
  return "Untitled";
}

/** The columns that a list of hits needs. */
export function neededFields(state, facts, columns) {
  const fields = new Set(["title", ...facts]);
  if (!columns.get("title")?.filled) fields.add("description");
  if (state.sort) fields.add(state.sort.replace(/^-/, ""));
  if (state.group) fields.add(state.group);
  return [...fields];
}
