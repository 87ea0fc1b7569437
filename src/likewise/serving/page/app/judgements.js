/**
 * Judging results: thumbs, and the right answer where it is another one.
 */

import { ask, latest } from "./api.js";
import { titleOf } from "./columns.js";
import { fill, h, icon, openDialog, say } from "./elements.js";
import { buildQuery } from "./query.js";
import { picture } from "./thumbnail.js";

/** Two buttons that say whether a hit answers the search. */
export function thumbs(store, hitOf, catalogue) {
  const button = (drawing, name, relevance) => {
    const one = h("button.icon.thumb", { type: "button", title: name, "aria-label": name, "aria-pressed": "false", onclick: async () => {
      if (!(await judge(store.state, hitOf().id, relevance, catalogue))) return;
      for (const other of one.parentElement.children) other.setAttribute("aria-pressed", String(other === one));
    } }, icon(drawing));
    return one;
  };
  return h("span.thumbs", {}, button("up", "This is what I was looking for", 1), button("down", "This does not fit", 0));
}

/**
 * Save a judgement; where the visitor may only read, the buttons go.
 * @returns {Promise<boolean>} whether it was saved
 */
async function judge(state, id, relevance, catalogue) {
  const { text, image } = buildQuery(state);
  const words = (Array.isArray(text) ? text : [text]).filter(Boolean).map((one) => one.text ?? one).join(" ");
  const shown = Array.isArray(image) ? image[0].image : (image ?? null);
  try {
    await ask("/v1/judgements", { body: { query: { text: words || null, image: shown }, id, relevance } });
    say("Thank you: saved as a judgement.");
    return true;
  } catch (problem) {
    if (problem.status === 403) {
      catalogue.features.judgements = false;
      document.querySelectorAll(".thumbs, .right-answer").forEach((element) => element.remove());
      say("This server takes no judgements.");
    } else say(problem.message);
    return false;
  }
}

/** A button for "the right answer was…": the visitor looks for the item, and chooses it. */
export function rightAnswerButton(store, catalogue) {
  return h("button.quiet.right-answer", { type: "button", onclick: () => chooseAnswer(store, catalogue) }, "The right answer was…");
}

function chooseAnswer(store, catalogue) {
  const input = h("input", { type: "search", "aria-label": "Words of the right answer", placeholder: "Its title, its id or a few of its words" });
  const list = h("ul.answers", { "aria-label": "Items to choose from" });
  const dialog = openDialog("The right answer was…", "answer", h("p", {}, "Look for the item that should have come first. Your choice is saved as a judgement of this search."), input, list);
  const replace = latest();
  input.addEventListener("input", async () => {
    const text = input.value.trim();
    if (!text) return fill(list);
    try {
      const { hits } = await replace((signal) => ask("/v1/search", { body: { text, hybrid: true, k: 8, fields: ["title", "description"] }, signal }));
      fill(list, ...hits.map((hit) => h("li", {}, h("button.entry", { type: "button", onclick: async () => {
        if (await judge(store.state, hit.id, 2, catalogue)) dialog.close();
      } }, picture(hit, titleOf(hit)), h("span", {}, titleOf(hit))))));
    } catch (problem) {
      if (problem.name !== "AbortError") say(problem.message);
    }
  });
  input.focus();
}
