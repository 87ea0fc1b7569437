/**
 * What is shown before anything is searched for: some items of the catalogue, to begin with.
 */

import { ask, latest } from "./api.js";
import { titleOf } from "./columns.js";
import { h } from "./elements.js";
import { picture } from "./thumbnail.js";
import { writeFilter } from "./query.js";

const replace = latest();

/**
 * Items from all over the catalogue, as the nearest ones to examples; none if the server has none.
 * @param {Object} state its filters count
 * @param {Object} catalogue
 * @param {string[]} examples titles
 * @param {function} open
 */
export async function buildGallery(state, catalogue, examples, open) {
  const invitation = h("p.invitation", {}, "Type a few words, or show a picture: drop it here, paste it, or take one.");
  if (!examples.length) return [invitation];
  const where = writeFilter(state, catalogue.columns) ?? undefined;
  const searches = examples.map((text) => ({ text, where, k: 2, fields: ["title", ...catalogue.facts] }));
  const { answers } = await replace((signal) => ask("/v1/search/batch", { body: { searches }, signal }));
  const failed = answers.find((answer) => answer.status);
  if (failed) throw Object.assign(new Error(failed.detail), { status: failed.status });
  const items = new Map(answers.flatMap((answer) => answer.hits).map((hit) => [hit.id, hit]));
  const pictured = [...items.values()].sort((a, b) => Boolean(b.thumbnail) - Boolean(a.thumbnail)).slice(0, 12);
  if (!pictured.length) return [h("p.invitation", {}, "No item meets these filters.")];
  return [invitation, h("ul.cards.gallery", { "aria-label": "Items of the catalogue" }, ...pictured.map((hit) =>
    h("li.card", { dataset: { id: hit.id } }, h("button.open", { type: "button", "aria-label": `Details of ${titleOf(hit)}`, onclick: () => open(hit) }, picture(hit, titleOf(hit)), h("span.title", {}, titleOf(hit))))))];
}
