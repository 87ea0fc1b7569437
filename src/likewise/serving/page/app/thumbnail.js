/**
 * Pictures of items.
 */

import { h } from "./elements.js";

/** The picture of a hit over its title, which shows where there is none. */
export function picture(hit, title, eager = false) {
  const frame = h("span.picture", {}, h("span.placeholder", { "aria-hidden": "true" }, title));
  if (hit.thumbnail) {
    const image = h("img", { alt: "", decoding: "async", loading: eager ? "eager" : "lazy", draggable: false });
    image.addEventListener("error", () => image.remove()); // the original has moved since
    image.src = hit.thumbnail;
    frame.append(image);
  }
  return frame;
}
