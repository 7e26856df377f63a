"use strict";
// The data and every computation on them: no element of the page is touched here.
const typed = (text, kind) => new kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const KEEP = 1, DROP = 2;

const model = {
  load(table) {
    Object.assign(model, {
      about: table, rows: table.rows, ids: table.ids, sources: table.sources, chunkRows: table.chunkRows,
      ordinals: typed(table.ordinals, Uint32Array),
      changes: { names: table.changes.names, codes: typed(table.changes.codes, Uint32Array) },
      tags: { names: table.tags.names, codes: typed(table.tags.codes, Uint32Array) },
      outcomes: { names: table.failures.names, codes: typed(table.failures.codes, Uint32Array) },
      strips: typed(table.strips, Uint8Array),
      outputs: table.outputs.map((output) => ({
        ...output, label: typed(output.label, Uint8Array), score: typed(output.score, Float32Array),
      })),
      decisions: new Uint8Array(table.rows), history: [],
      filter: { text: "", tag: -1, change: -1, outcome: -1, decision: -1, labels: table.outputs.map(() => -1) },
      thresholds: table.outputs.map(({ start }) => ({ value: start ?? 0.5, isOn: start !== null })),
      sort: { output: -1, by: "order", isDescending: true },
    });
    model.searchable = model.ids.map((id, row) => `${id}\n${model.sources[row]}`.toLowerCase());
    model.naturalIds = model.ids.map((id) => id.replace(/\d+/g, (digits) => digits.padStart(12, "0")));  // 2 before 10
    model.falls = new Uint8Array(model.rows);
    model.refresh();
  },

  // Marks the rows that fall by any threshold; a failed row neither stays nor falls.
  applyThresholds() {
    const { falls, outputs, thresholds, outcomes } = model;
    falls.fill(0);
    model.fallCounts = outputs.map(({ score }, index) => {
      const { isOn } = thresholds[index], value = Math.fround(thresholds[index].value);  // scores have single precision
      let count = 0;
      for (let row = 0; row < score.length; row++) {
        if (score[row] >= value) { count++; if (isOn) falls[row] = 1; }
      }
      return count;
    });
    let dropped = 0, failed = 0;
    for (let row = 0; row < falls.length; row++) { dropped += falls[row]; failed += outcomes.codes[row] !== 0; }
    model.totals = { dropped, failed, kept: model.rows - dropped - failed };
  },

  // The tests that a row must pass to be shown, cheapest first.
  tests() {
    const { filter } = model, tests = [];
    const equal = (codes, value) => { if (value >= 0) tests.push((row) => codes[row] === value); };
    equal(model.tags.codes, filter.tag);
    equal(model.changes.codes, filter.change);
    equal(model.outcomes.codes, filter.outcome);
    equal(model.decisions, filter.decision);
    model.outputs.forEach((output, index) => equal(output.label, filter.labels[index]));
    if (filter.text) {
      const tags = model.tags.names.map((name) => name.toLowerCase().includes(filter.text));
      tests.push((row) => tags[model.tags.codes[row]] || model.searchable[row].includes(filter.text));
    }
    return tests;
  },

  refresh() {
    model.applyThresholds();
    const shown = new Uint32Array(model.rows), tests = model.tests();
    let count = 0;
    for (let row = 0; row < model.rows; row++) {
      let passes = true;
      for (let index = 0; passes && index < tests.length; index++) passes = tests[index](row);
      if (passes) shown[count++] = row;
    }
    model.shown = model.sorted(shown.subarray(0, count));
  },

  // A threshold moves marks and counts; which videos are shown does not depend on it, their order may.
  moveThreshold() {
    model.applyThresholds();
    if (model.sort.by === "border") model.shown = model.sorted(model.shown);
  },

  sorted(rows) {
    const { by, output, isDescending } = model.sort;
    if (by === "order") return rows;
    if (by === "id") return rows.sort((a, b) => (model.naturalIds[a] < model.naturalIds[b] ? -1 : 1));
    const { score } = model.outputs[output], { value } = model.thresholds[output];
    const key = by === "border" ? (row) => Math.abs(score[row] - value) : (row) => (isDescending ? -score[row] : score[row]);
    const keys = new Float32Array(model.rows);  // a row without a score comes last
    for (const row of rows) { const found = key(row); keys[row] = Number.isNaN(found) ? Infinity : found; }
    return rows.sort((a, b) => keys[a] - keys[b] || a - b);
  },

  histogram(index, bins) {
    const counts = new Uint32Array(bins);
    for (const score of model.outputs[index].score) {
      if (!Number.isNaN(score)) counts[Math.min(bins - 1, Math.max(0, Math.floor(score * bins)))]++;
    }
    return counts;
  },

  // The columns that a cross table can be made of: name, names of the values, and the value's number in each row.
  facets() {
    return [
      ...model.outputs.map((output, index) => (
        { name: output.key, values: output.labels, of: output.label, set: (value) => { model.filter.labels[index] = value; } })),
      { name: "outcome", values: model.outcomes.names, of: model.outcomes.codes, set: (value) => { model.filter.outcome = value; } },
      { name: "tag", values: model.tags.names, of: model.tags.codes, set: (value) => { model.filter.tag = value; } },
      { name: "decision", values: ["undecided", "keep", "drop"], of: model.decisions, set: (value) => { model.filter.decision = value; } },
    ];
  },

  crossTable(first, second) {
    const counts = first.values.map(() => new Uint32Array(second.values.length));
    for (let row = 0; row < model.rows; row++) {
      if (first.of[row] < counts.length && second.of[row] < second.values.length) counts[first.of[row]][second.of[row]]++;
    }
    return counts;
  },

  clear() {
    model.filter = { text: "", tag: -1, change: -1, outcome: -1, decision: -1, labels: model.outputs.map(() => -1) };
  },

  decide(row, decision) {
    model.history.push([row, model.decisions[row]]);
    model.decisions[row] = decision;
  },

  undo() {
    const last = model.history.pop();
    if (last) model.decisions[last[0]] = last[1];
    return last && last[0];
  },

  // One line for each decision in the table's order: an input table for tamis, and what import reads back.
  exported() {
    const lines = [];
    for (let row = 0; row < model.rows; row++) {
      if (!model.decisions[row]) continue;
      const slash = model.sources[row].indexOf("/");
      lines.push(JSON.stringify({
        video_id: model.ids[row], oss_bucket: model.sources[row].slice(0, slash), video_path: model.sources[row].slice(slash + 1),
        video_tag: model.tags.names[model.tags.codes[row]], info: "", run_id: model.about.run, ordinal: model.ordinals[row],
        decision: model.decisions[row] === KEEP ? "keep" : "drop",
      }) + "\n");
    }
    return lines.join("");
  },

  // Takes over the decisions of an exported file; returns how many lines belong to no video of this gallery.
  imported(text) {
    const byOrdinal = new Map(Array.from(model.ordinals, (ordinal, row) => [ordinal, row]));
    let foreign = 0;
    for (const line of text.split("\n").filter(Boolean)) {
      let found;
      try { found = JSON.parse(line); } catch { foreign++; continue; }
      const row = found.run_id === model.about.run ? byOrdinal.get(found.ordinal) : undefined;
      if (row === undefined || !["keep", "drop"].includes(found.decision)) { foreign++; continue; }
      model.decide(row, found.decision === "keep" ? KEEP : DROP);
    }
    return foreign;
  },
};
