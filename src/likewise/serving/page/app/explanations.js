/**
 * Why a result is where it is: shares of fields and words, and a map over its picture.
 */

import { ask, itemPath } from "./api.js";
import { showName } from "./columns.js";
import { fill, h } from "./elements.js";
import { buildQuery } from "./query.js";

/**
 * Shares of fields, words and the boost as chips, the largest first.
 * @param {Object} explanation of a hit
 * @param {number} score that the shares add up to
 * @param {number} most chips
 */
export function fieldChips(explanation, score, most = Infinity) {
  const parts = Object.entries(explanation.fields).map(([name, share]) => [showName(name), share, "field"]);
  for (const { term, share } of explanation.terms ?? []) parts.push([`“${term}”`, share, "term"]);
  if (explanation.boost) parts.push(["boost", explanation.boost, "boost"]);
  const whole = Math.max(Math.abs(score), ...parts.map(([, share]) => Math.abs(share)), 1e-9);
  return parts
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .slice(0, most)
    .map(([name, share, kind]) => {
      const chip = h(`span.share.${kind}`, { title: `${share.toFixed(3)} of ${score.toFixed(3)}` }, h("span.name", {}, name), h("span.number", {}, share.toFixed(2)));
      chip.style.setProperty("--share", String(Math.min(1, Math.abs(share) / whole)));
      if (share < 0) chip.classList.add("against");
      return chip;
    });
}

/** A text whose words are shaded by their shares. */
export function markedText(text, words) {
  const most = Math.max(...words.map((word) => Math.abs(word.share)), 1e-9);
  const letters = [...text]; // offsets count characters, not halves of them
  const parts = [];
  let place = 0;
  for (const { start, end, share } of [...words].sort((a, b) => a.start - b.start)) {
    if (start < place || end <= start || end > letters.length) continue;
    parts.push(letters.slice(place, start).join(""));
    const mark = h("mark", { title: share.toFixed(3) }, letters.slice(start, end).join(""));
    mark.style.setProperty("--share", String(Math.abs(share) / most));
    if (share < 0) mark.classList.add("against");
    parts.push(mark);
    place = end;
  }
  parts.push(letters.slice(place).join(""));
  return h("p.marked", {}, ...parts);
}

/** Words of the query with their shares, as chips. */
export function queryWordChips(words) {
  const most = Math.max(...words.map((word) => Math.abs(word.share)), 1e-9);
  return words.map(({ word, share }) => {
    const chip = h("span.share.term", { title: share.toFixed(3) }, h("span.name", {}, word), h("span.number", {}, share.toFixed(2)));
    chip.style.setProperty("--share", String(Math.abs(share) / most));
    if (share < 0) chip.classList.add("against");
    return chip;
  });
}

/**
 * A button that lays a map of what matters over the picture of an item.
 * @param {Object} state that the item was found for
 * @param {Object} hit
 * @param {HTMLElement} frame of its picture
 */
export function heatmapButton(state, hit, frame) {
  const button = h("button.toggle", { type: "button", "aria-pressed": "false" }, "Where in the picture?");
  let map = null;
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!on));
    if (map) {
      map.hidden = on;
      return;
    }
    button.disabled = true;
    try {
      const key = new URL(hit.thumbnail, location.href).searchParams.get("picture");
      const { text, image, audio, like, minus, image_weight } = buildQuery(state);
      map = drawHeatmap(await ask(itemPath(hit.id, "/heatmap"), { body: { text, image, audio, like, minus, image_weight, picture: key ?? undefined } }));
      frame.append(map);
      frame.parentElement.classList.add("mapped");
    } catch (problem) {
      fill(button, [404, 422].includes(problem.status) ? "There is no map of this picture" : problem.message);
      button.setAttribute("aria-pressed", "false");
      return;
    }
    button.disabled = false;
  });
  return button;
}

/** What each region of a picture adds (warm) or takes away (cool), as a canvas that is stretched over it. */
export function drawHeatmap({ rows, columns, values, width, height }) {
  const canvas = h("canvas.heatmap", { width: columns, height: rows, role: "img", "aria-label": "Map of what in the picture fits the search" });
  if (width && height) canvas.style.aspectRatio = `${width} / ${height}`;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  values.flat().forEach((value, index) => {
    const strength = Math.min(1, Math.abs(value));
    const colour = value >= 0 ? [239, 68, 68] : [59, 130, 246];
    pixels.data.set([...colour, Math.round(190 * strength)], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}
