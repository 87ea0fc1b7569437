/**
 * The box in which a search is put together: words, further words, pictures, recordings, items, what is not wanted.
 */

import { append, byId, fill, h, icon, iconButton, openPopover, say } from "./elements.js";
import { chooseFile, readPicture, readSound, recordSound, takePhoto, watchForPictures } from "./media.js";

const MOST_TERMS = 16;

export class Composer {
  /**
   * @param {import("./state.js").Store} store
   * @param {Object} settings of the server
   */
  constructor(store, settings) {
    this.store = store;
    this.settings = settings;
    this.text = byId("text");
    this.text.addEventListener("input", () => store.change({ text: this.text.value, correct: true }, { typing: true }));
    byId("query").addEventListener("submit", (event) => {
      event.preventDefault();
      store.change({ text: this.text.value }, { push: true });
    });
    fill(byId("lens"), icon("search"));
    this.#showWays();
    const range = byId("balance-range");
    range.addEventListener("input", () => store.change({ balance: Number(range.value) }, { typing: true }));
    watchForPictures((file) => this.addPicture(file));
    store.listen((state, how) => this.#show(state, how));
    this.#show(store.state, {});
  }

  /** Search with a picture, too. */
  async addPicture(file) {
    await this.#addMedia("pictures", () => readPicture(file, this.settings.image_bytes));
  }

  /** Search with a recording, too. */
  async addSound(file) {
    await this.#addMedia("sounds", () => readSound(file, this.settings.audio_bytes));
  }

  async #addMedia(part, read) {
    try {
      const media = await read();
      const others = this.store.state[part];
      if (others.length >= MOST_TERMS) return say("There are enough of these.");
      this.store.change({ [part]: [...others, media] }, { push: true });
    } catch (error) {
      say(error.message);
    }
  }

  #showWays() {
    const ways = byId("ways");
    ways.append(
      iconButton("picture", "Search with a picture", async () => {
        const file = await chooseFile("image/*");
        if (file) this.addPicture(file);
      }, { id: "picture-button" }),
      iconButton("camera", "Search with the camera", () => takePhoto((file) => this.addPicture(file)), { id: "camera-button" }),
    );
    if (this.settings.audio) ways.append(iconButton("sound", "Search with a sound", (event) => this.#offerSounds(event.currentTarget), { id: "sound-button" }));
    ways.append(iconButton("plus", "Add to the search", (event) => this.#offerParts(event.currentTarget), { id: "add-button" }));
  }

  #offerSounds(anchor) {
    this.#offer(anchor, [
      ["sound", "Record", () => recordSound((file) => this.addSound(file))],
      ["plus", "Choose a file", async () => {
        const file = await chooseFile("audio/*");
        if (file) this.addSound(file);
      }],
    ]);
  }

  #offerParts(anchor) {
    const state = this.store.state;
    const add = (part) => () => {
      this.store.change({ [part]: [...this.store.state[part], { text: "", weight: 1 }].slice(0, MOST_TERMS) }, { shown: true });
      byId("chips").querySelector(`[data-part="${part}"]:last-of-type input`)?.focus();
    };
    const parts = [
      ["plus", "More words", add("words")],
      ["minus", "Without these words", add("minus")],
      ["picture", "A picture", () => byId("picture-button").click()],
    ];
    if (this.settings.audio) parts.push(["sound", "A sound", () => byId("sound-button").click()]);
    if (state.text.trim()) parts.push(["search", "Keep these words, and begin new ones", () => {
      const words = [...this.store.state.words, { text: this.store.state.text, weight: 1 }].slice(0, MOST_TERMS);
      this.store.change({ words, text: "" }, { push: true });
      this.text.focus();
    }]);
    this.#offer(anchor, parts);
  }

  #offer(anchor, parts) {
    const menu = h("div.menu", {}, ...parts.map(([drawing, name, run]) => h("button.entry", { type: "button", onclick: () => {
      close();
      run();
    } }, icon(drawing), name)));
    const close = openPopover(anchor, menu);
  }

  #show(state, how) {
    const perceived = [state.pictures.length && "Picture", state.sounds.length && "Sound"].filter(Boolean);
    const others = state.text.trim() || state.like.length || state.words.some((one) => one.text.trim());
    byId("balance").hidden = !(perceived.length && others);
    byId("balance-range").value = state.balance;
    byId("balance-other").textContent = perceived.join(" and ") || "Picture";
    if (this.text.value.trim() !== state.text.trim()) this.text.value = state.text;
    this.text.placeholder = perceived.length ? "Add words, such as “in blue”" : state.like.length ? "Add words" : "Describe what you are looking for";
    if (how.typing) return; // or else a chip that is being written would lose the cursor
    const chips = byId("chips");
    fill(chips);
    append(chips, [
      ...state.like.map((one, index) => this.#chip("like", index, one, h("span.name", {}, `like ${one.title}`))),
      ...state.pictures.map((one, index) => this.#chip("pictures", index, one, one.preview ? h("img", { src: one.preview, alt: one.name }) : h("span.name", {}, one.name))),
      ...state.sounds.map((one, index) => this.#chip("sounds", index, one, h("span.name", {}, one.name))),
      ...state.words.map((one, index) => this.#chip("words", index, one, this.#chipInput("words", index, one, "Further words"))),
      ...state.minus.map((one, index) => this.#chip("minus", index, one, this.#chipInput("minus", index, one, "Words for what is not wanted"))),
    ]);
    chips.hidden = !chips.childElementCount;
  }

  #chip(part, index, term, content) {
    const drawing = { like: "like", pictures: null, sounds: "sound", words: "plus", minus: "minus" }[part];
    const name = { like: term.title, pictures: "picture", sounds: "sound", words: term.text || "further words", minus: term.text || "unwanted words" }[part];
    const weight = h("button.weight", { type: "button", title: "Weight", "aria-label": `Weight of ${name}: ${term.weight}`, onclick: () => this.#weigh(part, index, weight) }, `×${term.weight}`);
    const remove = iconButton("close", `Remove ${name}`, () => {
      this.store.change({ [part]: this.store.state[part].filter((_, place) => place !== index) }, { push: true });
      this.text.focus();
    });
    const only = part !== "minus" && ["like", "pictures", "sounds", "words"].reduce((sum, one) => sum + this.store.state[one].length, 0) + Boolean(this.store.state.text.trim()) < 2;
    return h(`span.chip.${part}`, { dataset: { part } }, drawing && icon(drawing), content, only ? null : weight, remove);
  }

  #chipInput(part, index, term, name) {
    const input = h("input", { value: term.text, "aria-label": name, placeholder: part === "minus" ? "without…" : "and…", size: Math.max(8, term.text.length), maxLength: 10_000 });
    input.addEventListener("input", () => {
      input.size = Math.max(8, input.value.length);
      const terms = this.store.state[part].map((one, place) => (place === index ? { ...one, text: input.value } : one));
      this.store.change({ [part]: terms }, { typing: true });
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Backspace" && !input.value) {
        event.preventDefault();
        this.store.change({ [part]: this.store.state[part].filter((_, place) => place !== index) }, { push: true });
        this.text.focus();
      }
    });
    return input;
  }

  #weigh(part, index, anchor) {
    const term = this.store.state[part][index];
    const range = h("input", { type: "range", min: 0.1, max: 3, step: 0.1, value: term.weight, "aria-label": "Weight" });
    const shown = h("output", {}, `×${term.weight}`);
    range.addEventListener("input", () => {
      const weight = Number(range.value);
      fill(shown, `×${weight}`);
      anchor.textContent = `×${weight}`;
      const terms = this.store.state[part].map((one, place) => (place === index ? { ...one, weight } : one));
      this.store.change({ [part]: terms }, { typing: true });
    });
    openPopover(anchor, h("label.weigher", {}, "less", range, "more", shown));
  }
}
