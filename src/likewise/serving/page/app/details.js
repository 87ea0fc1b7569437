/**
 * Everything about one result: its picture, its fields, and why it was found.
 */

import { ask, itemPath } from "./api.js";
import { showName, showValue, titleOf } from "./columns.js";
import { append, fill, h, icon, openDialog } from "./elements.js";
import { fieldChips, heatmapButton, markedText, queryWordChips } from "./explanations.js";
import { rightAnswerButton, thumbs } from "./judgements.js";
import { buildSearch, quoteText } from "./query.js";
import { picture } from "./thumbnail.js";

const LONGEST = 20_000; // characters of a value: a cell may hold far more than anybody reads

/**
 * Open the details of a hit.
 * @param {Object} hit
 * @param {number} rank of it among the hits, from 0; -1: it is none
 * @param {import("./state.js").Store} store
 * @param {Object} catalogue columns and features
 * @param {function} more search for items like it
 */
export async function openDetails(hit, rank, store, catalogue, more) {
  const title = titleOf(hit);
  const state = { ...store.state };
  const frame = picture(hit, title, true);
  const about = h("div.about", {}, h("p.loading", {}, "Reading…"));
  const side = h("div.large", {}, frame);
  const dialog = openDialog(title, "details", h("div.details-body", {}, side, about));
  dialog.dataset.id = hit.id;
  const judging = catalogue.features.judgements && rank >= 0;
  const actions = h("div.row", {},
    h("button.primary", { type: "button", onclick: () => {
      dialog.close();
      more(hit);
    } }, icon("like"), "More like this"),
    judging ? thumbs(store, () => hit, catalogue) : null,
    judging ? rightAnswerButton(store, catalogue) : null);
  let item;
  try {
    item = await ask(itemPath(hit.id));
  } catch (problem) {
    fill(about, h("p.problem", { role: "alert" }, problem.status === 404 ? "This item has been removed since." : problem.message));
    return;
  }
  const why = h("section.reasons", { hidden: true });
  if (item.recording) side.append(h("audio", { controls: true, preload: "none", src: item.recording, "aria-label": `Recording of ${title}` }));
  fill(about, why, ...describe(item.fields), actions);
  if (rank >= 0 && catalogue.features.explain) explain(why, side, frame, hit, rank, state, catalogue);
}

function describe(fields) {
  const parts = [];
  if (fields.description) parts.push(h("p.description", {}, cut(showValue(fields.description))));
  const rows = Object.entries(fields).filter(([name, value]) => !["title", "description", "image"].includes(name) && value !== null && value !== "" && !(Array.isArray(value) && !value.length));
  if (rows.length) parts.push(h("dl.fields", {}, ...rows.flatMap(([name, value]) => [h("dt", {}, showName(name)), h("dd", {}, ...values(value))])));
  return parts;
}

function values(value) {
  const list = Array.isArray(value) ? value : [value];
  return list.flatMap((one, index) => [index ? h("br") : null, link(one) ?? cut(showValue(one))]);
}

/** An address as a link, if it is one that does nothing but lead somewhere. */
function link(value) {
  if (typeof value !== "string" || !/^https?:\/\/\S+$/i.test(value) || value.length > 2000) return null;
  return h("a", { href: value, target: "_blank", rel: "noopener noreferrer nofollow" }, value);
}

function cut(text) {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}… (${(text.length - LONGEST).toLocaleString("en")} more characters)`;
}

/** Ask why a hit is where it is, and show it; an index that cannot say so shows nothing. */
async function explain(place, side, frame, hit, rank, state, catalogue) {
  const found = await askWhy(hit, rank, state, catalogue);
  if (!found?.explanation) return;
  const { explanation, score } = found;
  append(place, [h("h3", {}, "Why this result"), h("div.shares", { "aria-label": "Shares of the score" }, ...fieldChips(explanation, score))]);
  if (explanation.query_words?.length) append(place, [h("h4", {}, "Your words"), h("div.shares", {}, ...queryWordChips(explanation.query_words))]);
  for (const { field, text, words } of explanation.words ?? []) {
    if (words.length) append(place, [h("h4", {}, `In ${showName(field)}`), markedText(text, words)]);
  }
  place.hidden = false;
  if (catalogue.features.heatmap && hit.thumbnail && frame.querySelector("img")) side.append(heatmapButton(state, hit, frame));
}

async function askWhy(hit, rank, state, catalogue) {
  const search = { ...buildSearch(state, catalogue.columns, {}), k: 1, offset: rank, fields: ["title"] };
  for (const explain of catalogue.features.explain_words ? ["words", true] : [true]) {
    try {
      const { hits } = await ask("/v1/search", { body: { ...search, explain } });
      if (hits[0]?.id === hit.id) return hits[0];
      const where = `${search.where ? `(${search.where}) and ` : ""}id == ${quoteText(hit.id)}`; // the index has changed since
      return (await ask("/v1/search", { body: { ...search, offset: 0, where, explain } })).hits[0];
    } catch (problem) {
      if (problem.status !== 422) return null;
    }
  }
  return null;
}
