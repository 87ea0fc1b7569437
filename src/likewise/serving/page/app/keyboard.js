/**
 * The keys of the page.
 */

import { byId, h, openDialog } from "./elements.js";

const KEYS = [
  ["/", "go to the search box"],
  ["↓", "from the box to the results"],
  ["← ↑ → ↓", "from result to result"],
  ["Enter", "open a result"],
  ["m", "more like the chosen result"],
  ["Esc", "close what is open; from the results back to the box; in the box, clear it"],
  ["?", "this list"],
];

/** Listen to keys anywhere on the page. */
export function watchKeys(store) {
  const text = byId("text");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open], .popover:popover-open")) return;
    const writing = event.target.matches("input:not([type=checkbox], [type=range]), select, textarea");
    const card = event.target.closest?.(".card");
    if (event.key === "/" && !writing) {
      event.preventDefault();
      text.focus();
      text.select();
    } else if (event.key === "?" && !writing) {
      event.preventDefault();
      showHelp();
    } else if (event.key === "ArrowDown" && event.target === text) {
      const first = document.querySelector(".card .open");
      if (first) event.preventDefault();
      first?.focus();
    } else if (event.key === "Escape" && event.target === text && text.value) {
      event.preventDefault();
      store.change({ text: "" }, { push: true });
    } else if (event.key === "Escape" && !writing) {
      text.focus();
    } else if (card && event.key === "m") {
      card.querySelector(".more-like")?.click();
    } else if (card && event.key.startsWith("Arrow")) {
      const next = neighbour(card, event.key);
      if (next || event.key === "ArrowUp") event.preventDefault();
      if (next) next.querySelector(".open").focus();
      else if (event.key === "ArrowUp") text.focus();
    }
  });
}

/** The card in a direction, by where cards lie, as their number in a row follows the window. */
function neighbour(card, key) {
  const cards = [...document.querySelectorAll(".card")];
  const index = cards.indexOf(card);
  if (key === "ArrowRight") return cards[index + 1];
  if (key === "ArrowLeft") return cards[index - 1];
  const place = card.getBoundingClientRect();
  const sign = key === "ArrowDown" ? 1 : -1;
  const middle = place.left + place.width / 2;
  const others = cards.map((one) => ({ one, box: one.getBoundingClientRect() })).filter(({ box }) => sign * (box.top - place.top) > 4);
  const distance = ({ box }) => [sign * (box.top - place.top), Math.abs(box.left + box.width / 2 - middle)];
  others.sort((a, b) => distance(a)[0] - distance(b)[0] || distance(a)[1] - distance(b)[1]);
  return others[0]?.one;
}

/** A dialog with all keys. */
export function showHelp() {
  openDialog("Keyboard", "help", h("dl.keys", {}, ...KEYS.flatMap(([keys, what]) => [h("dt", {}, ...keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, what)])));
}
