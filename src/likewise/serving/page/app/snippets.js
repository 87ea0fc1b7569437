/**
 * The search as a link, a curl command and a Python program.
 */

import { h, icon, openPopover, say } from "./elements.js";
import { buildSearch } from "./query.js";

/** A button with what can be copied. */
export function copyMenu(store, catalogue) {
  const button = h("button.toggle", { id: "copy-button", type: "button", title: "Copy this search" }, icon("code"), "Copy");
  button.addEventListener("click", () => {
    const state = store.state;
    const pictures = state.pictures.length + state.sounds.length;
    const copy = (name, text, note = "") => h("button.entry", { type: "button", onclick: async () => {
      close();
      say((await copied(text())) ? `Copied.${note}` : "The browser does not let this page copy.");
    } }, name);
    const menu = h("div.menu", {},
      copy("Copy the link", () => location.href, pictures ? " Pictures and sounds are not in the link." : ""),
      copy("Copy as curl", () => writeCurl(state, catalogue)),
      copy("Copy as Python", () => writePython(state, catalogue)),
      pictures ? h("p.note", {}, "Pictures and sounds are not in the link; programs read them from files.") : null);
    const close = openPopover(button, menu);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { value: text, readOnly: true }); // where the page is not on a secure address
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

/** The body of the search, with names of files in place of pictures and sounds. */
function describeSearch(state, catalogue) {
  const body = buildSearch(state, catalogue.columns, catalogue.features);
  const files = [];
  for (const [part, stem] of [["image", "picture"], ["audio", "recording"]]) {
    const media = part === "image" ? state.pictures : state.sounds;
    media.forEach((one, index) => files.push([part, fileName(one, stem, index)]));
    delete body[part];
  }
  return { body, files };
}

function fileName(media, stem, index) {
  const known = media.name.match(/[\w-]+\.\w{1,5}$/);
  if (known) return known[0];
  return `${stem}${index ? index + 1 : ""}.${stem === "picture" ? "jpg" : "wav"}`;
}

/** A command for a shell. */
export function writeCurl(state, catalogue) {
  const { body, files } = describeSearch(state, catalogue);
  const parts = [`curl ${location.origin}/v1/search`];
  if (catalogue.signedIn) parts.push('-H "X-API-Key: $LIKEWISE_KEY"');
  const json = quoteForShell(JSON.stringify(body));
  if (files.length) parts.push(`--form-string query=${json}`, ...files.map(([part, name]) => `-F ${part}=@${name}`));
  else parts.push("-H 'Content-Type: application/json'", `-d ${json}`);
  return parts.join(" \\\n  ");
}

function quoteForShell(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A program that needs httpx. */
export function writePython(state, catalogue) {
  const { body, files } = describeSearch(state, catalogue);
  const lines = [...(files.length ? ["import json", ""] : []), "import httpx", ""];
  if (catalogue.signedIn) lines.splice(0, 0, "import os");
  lines.push(`search = ${python(body)}`);
  const headers = catalogue.signedIn ? ', headers={"X-API-Key": os.environ["LIKEWISE_KEY"]}' : "";
  const address = JSON.stringify(`${location.origin}/v1/search`);
  if (files.length) {
    lines.push(`files = [${files.map(([part, name]) => `(${JSON.stringify(part)}, open(${JSON.stringify(name)}, "rb"))`).join(", ")}]`);
    lines.push(`answer = httpx.post(${address}, data={"query": json.dumps(search)}, files=files${headers})`);
  } else lines.push(`answer = httpx.post(${address}, json=search${headers})`);
  lines.push("answer.raise_for_status()", 'for hit in answer.json()["hits"]:', '    print(hit["score"], hit["id"], hit["fields"].get("title"))', "");
  return lines.join("\n");
}

/** A value as Python writes it. */
function python(value, indent = "") {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map((one) => python(one, indent)).join(", ")}]`;
  if (typeof value === "object") {
    const inner = Object.entries(value).filter(([, one]) => one !== undefined).map(([key, one]) => `${JSON.stringify(key)}: ${python(one, indent)}`);
    return `{${inner.join(", ")}}`;
  }
  return JSON.stringify(value); // JSON's strings and numbers are Python's, too
}
