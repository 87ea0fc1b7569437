/**
 * Elements of the page. Texts of items may hold anything, so they only ever become text nodes.
 */

const SVG = "http://www.w3.org/2000/svg";

/** Shapes on a grid of 24 × 24. */
const ICONS = {
  search: ["M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14Z", "m20 20-4-4"],
  picture: ["M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1Z", "m4 17 5-5 4 4 3-3 4 4", "M15 9h.01"],
  camera: ["M4 8h3l2-3h6l2 3h3a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1Z", "M12 10a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7Z"],
  sound: ["M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3Z", "M6 11a6 6 0 0 0 12 0", "M12 17v4"],
  plus: ["M12 5v14", "M5 12h14"],
  minus: ["M5 12h14"],
  close: ["m6 6 12 12", "m18 6-12 12"],
  like: ["M9 4a5 5 0 1 0 0 10 5 5 0 0 0 0-10Z", "M15 10a5 5 0 1 1-5 5"],
  up: ["M7 11v9H4v-9h3Zm0 0 4-7a2 2 0 0 1 3 2l-1 4h6a1.5 1.5 0 0 1 1.5 2l-1.8 7a1.5 1.5 0 0 1-1.5 1H7"],
  down: ["M17 13V4h3v9h-3Zm0 0-4 7a2 2 0 0 1-3-2l1-4H5a1.5 1.5 0 0 1-1.5-2l1.8-7A1.5 1.5 0 0 1 6.800 4H17"],
  sun: ["M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Z", "M12 2v2", "M12 20v2", "m5 5 1.400 1.400", "m17.600 17.600 1.400 1.400", "M2 12h2", "M20 12h2", "m5 19 1.400-1.400", "m17.600 6.400 1.400-1.400"],
  moon: ["M20 14.500A8.500 8.500 0 0 1 9.500 4 8.500 8.500 0 1 0 20 14.500Z"],
  keyboard: ["M4 6h16a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1Z", "M7 10h.01", "M12 10h.01", "M17 10h.01", "M8 14h8"],
  filter: ["M4 6h16", "M7 12h10", "M10 18h4"],
  link: ["M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1", "M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1"],
  code: ["m8 7-5 5 5 5", "m16 7 5 5-5 5"],
  check: ["m5 12 5 5 9-10"],
};

/**
 * Build an element.
 * @param {string} tag such as "button" or "li.card"
 * @param {Object} properties of the element; "dataset", "aria-…", "on…" listeners; null and undefined are left out
 * @param {...(Node|string|number|null|undefined|false)} children texts become text nodes
 */
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (key === "dataset") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for" || key === "list") element.setAttribute(key, value);
    else element[key] = value;
  }
  append(element, children);
  return element;
}

/** Append children as `h` takes them. */
export function append(element, children) {
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  }
}

/** Put children in place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

/** A drawing for a button; it says nothing to those who do not see it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "drawing");
  for (const shape of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", shape);
    svg.append(path);
  }
  return svg;
}

/** A button that is a drawing, with a name for everybody. */
export function iconButton(drawing, name, onclick, properties = {}) {
  return h("button.icon", { type: "button", "aria-label": name, title: name, onclick, ...properties }, icon(drawing));
}

/** An element of the page's HTML. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Show an element in the top layer below another one until a click elsewhere or Escape.
 * @param {Element} anchor the focus comes back to it
 * @param {HTMLElement} content
 */
export function openPopover(anchor, content) {
  const shell = h("div.popover", { popover: "auto" }, content);
  document.body.append(shell);
  shell.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    const held = shell.contains(document.activeElement);
    shell.remove();
    if (held && anchor.isConnected) anchor.focus();
  });
  shell.showPopover();
  const place = anchor.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, innerWidth - shell.offsetWidth - 8));
  const below = place.bottom + 6;
  const top = below + shell.offsetHeight < innerHeight ? below : Math.max(8, place.top - shell.offsetHeight - 6);
  shell.style.left = `${left}px`;
  shell.style.top = `${top}px`;
  shell.querySelector("button, input, select")?.focus();
  return () => shell.isConnected && shell.hidePopover();
}

/**
 * Show a dialog; it goes when it is closed by its button, Escape, or a click beside it.
 * @param {string} name of the dialog, for its heading
 * @param {string} kind its class
 */
export function openDialog(name, kind, ...children) {
  const before = document.activeElement;
  const heading = h("h2", { id: "dialog-name" }, name);
  const close = iconButton("close", "Close", () => dialog.close());
  close.classList.add("close");
  const dialog = h(`dialog.${kind}`, { "aria-labelledby": "dialog-name" }, h("div.dialog-top", {}, heading, close), ...children);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Say something in passing, at the bottom of the window. */
export function say(sentence) {
  let place = document.querySelector(".said");
  if (!place) {
    place = h("div.said", { role: "status", popover: "manual" });
    document.body.append(place);
  }
  if (place.matches(":popover-open")) place.hidePopover();
  place.showPopover(); // again, so that it lies above a dialog that has been opened since
  place.textContent = sentence;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => place.isConnected && place.matches(":popover-open") && place.hidePopover(), 3500);
}
