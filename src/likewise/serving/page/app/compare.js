/**
 * One query answered by three systems side by side: this model, the same encoders untrained, and BM25.
 */

import { ask } from "./api.js";
import { titleOf } from "./columns.js";
import { append, fill, h, openDialog } from "./elements.js";
import { buildQuery, writeFilter } from "./query.js";
import { picture } from "./thumbnail.js";

const SHOWN = 10;
const PAUSE = 1000; // ms between two looks at how far the untrained model is
const NAMES = {
  trained: ["This model", "trained on this catalogue"],
  untrained: ["Untrained", "the same encoders as they came"],
  bm25: ["BM25", "the very words alone"],
};

/** A button that opens the comparison. */
export function compareButton(store, catalogue) {
  return h("button.toggle", { id: "compare-button", type: "button", title: "This model beside untrained encoders and BM25", onclick: () => openComparison(store.state, catalogue) }, "Compare");
}

async function openComparison(state, catalogue) {
  const status = h("div.comparing", { role: "status" });
  const columns = h("div.systems");
  const dialog = openDialog("Side by side", "compare", h("p.note", {}, "The same search, by vectors alone. Arrows say how many places further up or down this model has an item."), columns, status);
  const body = { ...buildQuery(state), where: writeFilter(state, catalogue.columns) ?? undefined, k: SHOWN };
  const show = async () => {
    const { systems, comparison } = await ask("/v1/compare", { body });
    fill(columns, ...systems.map(showSystem), comparison.state === "ready" ? null : h("section.system.missing", {}, h("h3", {}, NAMES.untrained[0]), h("p.note", {}, NAMES.untrained[1]), offer(comparison)));
    fill(status, comparison.state === "ready" && comparison.items < comparison.of ? h("p.note", {}, `All three search a sample of ${comparison.items.toLocaleString("en")} of ${comparison.of.toLocaleString("en")} items.`) : null);
    return comparison;
  };
  const offer = (comparison) => {
    if (comparison.state === "building") return h("p", {}, progress(comparison));
    const begin = h("button.primary", { type: "button", onclick: async () => {
      begin.disabled = true;
      try {
        follow(await ask("/v1/comparison", { body: {} }));
      } catch (problem) {
        fail(problem);
      }
    } }, comparison.state === "failed" ? "Try again" : "Build it now");
    return [
      comparison.detail ? h("p.problem", {}, `${comparison.detail}.`) : h("p", {}, "The untrained model has not seen the items yet. That takes seconds to minutes, on one core of the server; searches go on meanwhile. Of a catalogue of more than 10,000 items it sees a sample."),
      begin,
    ];
  };
  const follow = async (comparison) => {
    try {
      let now = comparison;
      while (now.state === "building" && dialog.open) {
        const place = columns.querySelector(".missing");
        if (place) fill(place, h("h3", {}, NAMES.untrained[0]), h("p.note", {}, NAMES.untrained[1]), h("p", {}, progress(now)), h("progress", { max: Math.max(now.items, 1), value: now.encoded, "aria-label": "Items seen" }));
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        now = await ask("/v1/comparison");
      }
      if (dialog.open) await show();
    } catch (problem) {
      fail(problem);
    }
  };
  const fail = (problem) => fill(status, h("p.problem", { role: "alert" }, problem.message));
  try {
    const comparison = await show();
    if (comparison.state === "building") follow(comparison);
  } catch (problem) {
    fail(problem);
  }
}

function progress({ encoded, items }) {
  return items ? `Seen ${encoded.toLocaleString("en")} of ${items.toLocaleString("en")} items…` : "Loading the untrained model…";
}

function showSystem({ system, hits }) {
  const [name, what] = NAMES[system];
  const list = h("ol", { "aria-label": name }, ...hits.map((hit, index) => h("li", {}, picture(hit, ""), h("span.name", {}, titleOf(hit)), system === "trained" ? null : change(hit.trained_rank, index + 1))));
  const section = h("section.system", {}, h("h3", {}, name), h("p.note", {}, what));
  append(section, [hits.length ? list : h("p", {}, "Nothing was found.")]);
  return section;
}

/** How many places further up or down the trained model has an item. */
function change(trained, rank) {
  if (trained === null) return h("span.change.down", { title: "Not among the first 200 of this model" }, "–");
  const places = rank - trained;
  if (!places) return h("span.change", { title: "The same place" }, "=");
  return h(places > 0 ? "span.change.up" : "span.change.down", { title: `Place ${trained} with this model` }, places > 0 ? `↑ ${places}` : `↓ ${-places}`);
}
