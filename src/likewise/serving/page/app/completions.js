/**
 * The row below the box: examples before anything is typed, then titles that complete it.
 */

import { ask, latest } from "./api.js";
import { byId, fill, h } from "./elements.js";

const PAUSE = 120; // ms after the last key
const SHOWN = 6;

export class Completions {
  constructor(store, settings) {
    this.store = store;
    this.examples = settings.examples.filter((title) => title.length <= 40).slice(0, SHOWN);
    this.place = byId("completions");
    this.replace = latest();
    store.listen((state, how) => this.#update(state, how));
    this.#show("Try", this.examples);
  }

  #update(state, how) {
    clearTimeout(this.timer);
    const begun = state.text.trim();
    if (!begun) {
      const nothing = !state.pictures.length && !state.sounds.length && !state.like.length;
      this.#show("Try", nothing ? this.examples : []);
    } else if (how.typing) {
      this.timer = setTimeout(() => this.#complete(begun), PAUSE);
    } else {
      this.#show("", []);
    }
  }

  async #complete(begun) {
    try {
      const path = `/v1/suggest?k=${SHOWN + 1}&q=${encodeURIComponent(begun.slice(0, 200))}`;
      const { suggestions } = await this.replace((signal) => ask(path, { signal }));
      if (this.store.state.text.trim() !== begun) return;
      const others = suggestions.filter((title) => title.toLowerCase() !== begun.toLowerCase());
      this.#show("", others.slice(0, SHOWN));
    } catch {
      // completions are no more than a help: the search itself says what is wrong
    }
  }

  #show(label, titles) {
    const buttons = titles.map((title) => h("button.completion", { type: "button", onclick: () => {
      this.store.change({ text: title, correct: true }, { push: true });
      byId("text").focus();
    } }, title));
    fill(this.place, label && titles.length ? h("span.label", {}, label) : null, ...buttons);
  }
}
