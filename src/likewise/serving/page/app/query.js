/**
 * The state as a search of the API: the body of POST /v1/search.
 */

/** A column as filters write it. */
export function quoteColumn(name) {
  return `\`${name.replaceAll("`", "``")}\``;
}

/** A text as filters write it. */
export function quoteText(text) {
  return `"${text.replace(/[\\"]/g, "\\$&")}"`;
}

/**
 * The filter of a state in writing; null where there is none.
 * @param {Object} state
 * @param {Map<string, Object>} columns of /v1/columns, by name
 */
export function writeFilter(state, columns) {
  const conditions = state.conditions.map((condition) => `(${condition})`);
  for (const [name, filter] of state.filters) {
    const written = writeCondition(name, filter, columns.get(name)?.filter);
    if (written) conditions.push(written);
  }
  return conditions.length ? conditions.join(" and ") : null;
}

function writeCondition(name, { values, least, greatest }, kind) {
  const column = quoteColumn(name);
  if (values) {
    if (values.some((value) => typeof value === "boolean")) return `(${values.map((value) => `${column} == ${value}`).join(" or ")})`;
    return `${column} in [${values.map(quoteText).join(", ")}]`;
  }
  const bounds = [];
  if (kind === "date") {
    if (isDay(least)) bounds.push(`${column} >= ${quoteText(least)}`);
    if (isDay(greatest)) bounds.push(`${column} < ${quoteText(dayAfter(greatest))}`);
  } else {
    if (isNumber(least)) bounds.push(`${column} >= ${Number(least)}`);
    if (isNumber(greatest)) bounds.push(`${column} <= ${Number(greatest)}`);
  }
  return bounds.join(" and ");
}

function isNumber(text) {
  return typeof text === "string" && text.trim() !== "" && Number.isFinite(Number(text));
}

function isDay(text) {
  return typeof text === "string" && /^\d{4}-\d{2}-\d{2}$/.test(text) && !Number.isNaN(Date.parse(text));
}

/** The day after one, since a date may have a time behind it. */
function dayAfter(day) {
  return new Date(Date.parse(day) + 86_400_000).toISOString().slice(0, 10);
}

/**
 * The parts of a search that say what is looked for.
 * @returns {Object} text, image, audio, like, minus and image_weight, as far as they are there
 */
export function buildQuery(state) {
  const query = {};
  const words = [{ text: state.text, weight: 1 }, ...state.words].filter((one) => one.text.trim());
  if (words.length) query.text = terms(words.map(({ text, weight }) => ({ text: text.trim(), weight })), "text");
  const minus = state.minus.filter((one) => one.text.trim());
  if (minus.length) query.minus = terms(minus.map(({ text, weight }) => ({ text: text.trim(), weight })), "text");
  if (state.like.length) query.like = terms(state.like.map(({ id, weight }) => ({ id, weight })), "id");
  if (state.pictures.length) query.image = terms(state.pictures.map(({ data, weight }) => ({ image: data, weight })), "image");
  if (state.sounds.length) query.audio = terms(state.sounds.map(({ data, weight }) => ({ audio: data, weight })), "audio");
  const perceived = state.pictures.length + state.sounds.length;
  if (perceived && (words.length || state.like.length)) query.image_weight = state.balance;
  return query;
}

/**
 * Whether a search is by words and nothing else, so that the very words may count, too: beside a picture, words such as
 * "in blue" say what should be different, and would outweigh it.
 */
export function usesWordsAlone(state) {
  const words = [{ text: state.text }, ...state.words].some((one) => one.text.trim());
  return words && !state.pictures.length && !state.sounds.length && !state.like.length;
}

/** One term of weight 1 is written as itself, so that what is copied reads well. */
function terms(all, part) {
  return all.length === 1 && all[0].weight === 1 ? all[0][part] : all;
}

/**
 * The body of a search.
 * @param {Object} state
 * @param {Map<string, Object>} columns
 * @param {{likely?: boolean, explain?: boolean}} features of the server that may be asked for
 */
export function buildSearch(state, columns, features) {
  const search = buildQuery(state);
  const where = writeFilter(state, columns);
  if (where) search.where = where;
  const onlyWords = usesWordsAlone(state);
  if (onlyWords && state.exact) search.hybrid = state.correct ? true : { correct: false };
  if (state.group) search.group_by = state.group;
  if (features.likely) search.min_score = "auto";
  if (state.why && features.explain) search.explain = true;
  search.k = state.count;
  return search;
}
