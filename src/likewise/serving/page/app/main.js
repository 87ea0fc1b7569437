/**
 * The search page: puts its parts together.
 */

import { ask } from "./api.js";
import { pickFacts, titleOf } from "./columns.js";
import { Completions } from "./completions.js";
import { Composer } from "./composer.js";
import { openDetails } from "./details.js";
import { byId, fill, icon } from "./elements.js";
import { Filters } from "./filters.js";
import { buildGallery } from "./gallery.js";
import { showHelp, watchKeys } from "./keyboard.js";
import { Results } from "./results.js";
import { Search } from "./search.js";
import { Store, asksForSomething } from "./state.js";

const settings = JSON.parse(document.querySelector("meta[name=settings]").content);
const store = new Store();
const features = { ...settings.features, explain: settings.explains, likely: true };
const catalogue = { columns: new Map(), facts: [], features, signedIn: settings.signed_in };

new Composer(store, settings);
new Completions(store, settings);
const results = new Results(store, catalogue, { open, more });
const search = new Search(store, catalogue, {
  begin: () => results.begin(),
  show: (state, answer, took) => {
    results.show(state, answer, took);
    filters?.count();
  },
  fail: (problem, wait, again) => results.fail(problem, wait, again),
  clear: (state) => {
    showGallery(state);
    filters?.count();
  },
});
let filters = null;

setUpTools();
watchKeys(store);
begin();

async function begin() {
  const kept = sessionStorage.getItem("after sign-in");
  sessionStorage.removeItem("after sign-in");
  if (kept && !location.hash) history.replaceState(null, "", `#${kept}`);
  const columns = ask("/v1/columns").then(({ columns }) => {
    catalogue.columns = new Map(columns.map((column) => [column.name, column]));
    catalogue.facts = pickFacts(catalogue.columns);
  }, () => {}); // a page without filters still searches
  const filtered = location.hash.includes("filter=");
  if (filtered) await columns; // the kinds of columns say how filters are written
  if (location.hash.length > 1) store.restore();
  else showGallery(store.state);
  await columns;
  if (catalogue.columns.size) filters = new Filters(store, catalogue.columns);
  if (asksForSomething(store.state)) search.run(); // again, with what cards show of the columns
}

async function showGallery(state) {
  try {
    const content = await buildGallery(state, catalogue, settings.examples, (hit) => openDetails(hit, -1, store, catalogue, more));
    if (!asksForSomething(store.state)) results.clear(...content);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    results.clear();
    search.view.fail(problem, 0, () => showGallery(store.state));
  }
}

function open(hit) {
  const rank = results.answer?.hits.findIndex((one) => one.id === hit.id) ?? -1;
  openDetails(hit, rank, store, catalogue, more);
}

/** Search for items like one, in place of everything else but the filters. */
function more(hit) {
  const liked = { id: hit.id, title: titleOf(hit), weight: 1 };
  store.change({ like: [liked], text: "", words: [], minus: [], pictures: [], sounds: [] }, { push: true });
  scrollTo({ top: 0, behavior: "instant" });
}

function setUpTools() {
  const help = byId("help-button");
  fill(help, icon("keyboard"));
  help.addEventListener("click", showHelp);
  const theme = byId("theme-button");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const showTheme = () => {
    fill(theme, icon(isDark() ? "sun" : "moon"));
    theme.setAttribute("aria-pressed", String(isDark()));
  };
  theme.addEventListener("click", () => {
    const chosen = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = chosen;
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      // it holds until the page is closed
    }
    showTheme();
  });
  dark.addEventListener("change", showTheme);
  showTheme();
  byId("sign-out").hidden = !settings.signed_in;
}
