/**
 * Searching as one types: the latest state wins, and what is shown stays until something newer is there.
 */

import { ask, latest } from "./api.js";
import { neededFields } from "./columns.js";
import { buildSearch, usesWordsAlone } from "./query.js";
import { asksForSomething, writeHash } from "./state.js";

const PAUSE = 40; // ms after a key: hardly felt, and keys that come faster do not begin searches in vain
const LONGEST_WAIT = 10; // seconds until a server that is busy is asked again

export class Search {
  /**
   * @param {import("./state.js").Store} store
   * @param {{columns: Map<string, Object>, facts: string[], features: Object}} catalogue
   * @param {{begin: function, show: function, fail: function, clear: function}} view
   */
  constructor(store, catalogue, view) {
    this.store = store;
    this.catalogue = catalogue;
    this.view = view;
    this.replace = latest();
    store.listen((state, how) => {
      if (!how.shown) this.schedule(how.typing ? PAUSE : 0);
    });
    addEventListener("online", () => this.failed?.status === 0 && this.run());
  }

  /** Search after some milliseconds, unless something changes before. */
  schedule(pause) {
    clearTimeout(this.timer);
    if (pause) this.timer = setTimeout(() => this.run(), pause);
    else this.run();
  }

  /** Search for what the state says now. */
  async run() {
    clearTimeout(this.timer);
    const state = this.store.state;
    if (!asksForSomething(state)) {
      this.replace(async () => {});
      this.failed = null;
      return this.view.clear(state);
    }
    this.view.begin();
    const began = performance.now();
    try {
      const answer = await this.replace((signal) => this.#ask(state, signal));
      this.failed = null;
      this.view.show(state, answer, performance.now() - began);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.#fail(problem);
    }
  }

  async #ask(state, signal) {
    const { columns, facts, features } = this.catalogue;
    const body = { ...buildSearch(state, columns, features), fields: neededFields(state, facts, columns) };
    if (usesWordsAlone(state) && typeof body.text === "string") body.suggest_filter = true;
    const attempts = [body]; // damaged thresholds are refused, and reasons for too many hits
    if (body.min_score) attempts.push({ ...body, min_score: undefined });
    if (body.explain) attempts.push({ ...attempts.at(-1), explain: undefined });
    let refusal;
    for (const attempt of attempts) {
      try {
        const answer = await ask("/v1/search", { body: attempt, signal });
        if (body.explain && !attempt.explain) answer.unexplained = refusal.message;
        else if (body.min_score && !attempt.min_score) features.likely = false;
        return answer;
      } catch (problem) {
        if (problem.status !== 422) throw problem;
        refusal ??= problem;
      }
    }
    throw refusal;
  }

  #fail(problem) {
    this.failed = problem;
    if (problem.status === 401) {
      sessionStorage.setItem("after sign-in", writeHash(this.store.state));
      location.assign("/sign-in");
      return;
    }
    const passing = [0, 429, 503].includes(problem.status);
    const wait = passing ? Math.min(Math.max(problem.retryAfter, 2), LONGEST_WAIT) : 0;
    if (wait) this.timer = setTimeout(() => this.run(), wait * 1000);
    this.view.fail(problem, wait, () => this.run());
  }
}
