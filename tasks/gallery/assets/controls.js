"use strict";
// The left side: filters, a histogram with its threshold for each output, a cross table whose cells open their videos.
const BINS = 40;

const controls = {
  start(onChange, onThreshold) {
    Object.assign(controls, { onChange, onThreshold });
    controls.cross = [0, Math.min(1, model.facets().length - 1)];
    controls.build();
  },

  build() {
    const side = document.getElementById("controls");
    const search = make("input");
    Object.assign(search, { type: "search", id: "search", value: model.filter.text, placeholder: words.say("search") });
    search.setAttribute("aria-label", words.say("search"));
    search.addEventListener("input", () => { model.filter.text = search.value.toLowerCase(); controls.onChange(); });
    const clear = make("button", words.say("clear"));
    clear.id = "clear";
    clear.addEventListener("click", () => { model.clear(); controls.build(); controls.onChange(); });
    side.replaceChildren(
      search,
      ...(model.changes.names.some((name) => name) ? [
        controls.choice("change", words.say("change"), model.changes.names, model.filter.change, (value) => { model.filter.change = value; }),
      ] : []),
      controls.choice("tag", words.say("tag"), model.tags.names, model.filter.tag, (value) => { model.filter.tag = value; }),
      controls.choice("outcome", words.say("outcome"), controls.outcomeNames(), model.filter.outcome, (value) => { model.filter.outcome = value; }),
      controls.choice("decision", words.say("decision"), ["undecided", "keep", "drop"].map((key) => words.say(key)), model.filter.decision,
        (value) => { model.filter.decision = value; }),
      clear, controls.sorting(), ...model.outputs.map((_, index) => controls.output(index)), controls.crossTable(),
    );
  },

  outcomeNames() { return model.outcomes.names.map((name, index) => (index ? name : words.say("ok"))); },

  choice(id, title, names, chosen, set) {
    const label = make("label", title), select = make("select");
    select.id = id;
    select.append(new Option(words.say("any"), -1), ...names.map((name, index) => new Option(name || "–", index)));
    select.value = chosen;
    select.addEventListener("change", () => { set(Number(select.value)); controls.onChange(); });
    label.append(select);
    return label;
  },

  sorting() {
    const label = make("label", words.say("sort")), select = make("select");
    select.id = "sort";
    select.append(new Option(words.say("order"), "order"), new Option(words.say("id"), "id"));
    model.outputs.forEach(({ key }, index) => {
      for (const by of ["descending", "ascending", "border"]) select.append(new Option(`${key}: ${words.say(by)}`, `${by} ${index}`));
    });
    select.value = controls.sortValue();
    select.addEventListener("change", () => controls.sortBy(select.value));
    label.append(select);
    return label;
  },

  sortValue() {
    const { by, output, isDescending } = model.sort;
    return output < 0 ? by : `${by === "border" ? by : isDescending ? "descending" : "ascending"} ${output}`;
  },

  sortBy(value) {
    const [by, output] = value.split(" ");
    model.sort = { by: output && by !== "border" ? "score" : by, output: output ? Number(output) : -1, isDescending: by === "descending" };
    list.focus = 0;
    controls.onChange();
  },

  output(index) {
    const part = make("section"), output = model.outputs[index], threshold = model.thresholds[index];
    const counts = model.histogram(index, BINS), highest = Math.max(...counts, 1);
    const picture = drawn("svg", { class: "histogram", viewBox: `0 0 ${BINS} 10`, preserveAspectRatio: "none", role: "img" });
    const bars = Array.from(counts, (count, bin) => drawn("rect", { x: bin, y: 10 - (10 * count) / highest, width: 0.9, height: (10 * count) / highest }));
    const mark = drawn("line", { y1: 0, y2: 10, "vector-effect": "non-scaling-stroke" });
    picture.append(...bars, mark);
    const slider = make("input"), isOn = make("input"), falls = make("span"), value = make("output"), line = make("div", undefined, "falls");
    Object.assign(slider, { type: "range", min: 0, max: 1, step: 0.01, value: threshold.value });
    slider.setAttribute("aria-label", output.key);
    slider.dataset.output = output.key;
    Object.assign(isOn, { type: "checkbox", checked: threshold.isOn });
    isOn.setAttribute("aria-label", output.key);
    const border = make("button", words.say("border"));
    border.type = "button";
    border.addEventListener("click", () => { controls.sortBy(`border ${index}`); document.getElementById("sort").value = controls.sortValue(); });
    const draw = () => {
      bars.forEach((bar, bin) => bar.setAttribute("class", (bin + 1) / BINS > threshold.value ? "dropped" : "kept"));
      mark.setAttribute("x1", threshold.value * BINS);
      mark.setAttribute("x2", threshold.value * BINS);
      value.textContent = threshold.value.toFixed(2);
      falls.textContent = `${words.say("falls", model.fallCounts[index])}${threshold.isOn ? "" : ` (${words.say("off")})`}`;
    };
    const changed = () => { controls.onThreshold(); draw(); };
    slider.addEventListener("input", () => { Object.assign(threshold, { value: Number(slider.value), isOn: true }); isOn.checked = true; changed(); });
    isOn.addEventListener("change", () => { threshold.isOn = isOn.checked; changed(); });
    line.append(isOn, value, falls, border);
    draw();
    part.append(make("h2", output.key), picture, slider, line,
      controls.choice(`label-${index}`, words.say("label"), output.labels, model.filter.labels[index], (chosen) => { model.filter.labels[index] = chosen; }));
    return part;
  },

  crossTable() {
    const part = make("section"), facets = model.facets();
    const choose = (place, title) => {
      const label = make("label", title), select = make("select");
      select.append(...facets.map(({ name }, index) => new Option(name, index)));
      select.value = controls.cross[place];
      select.addEventListener("change", () => { controls.cross[place] = Number(select.value); part.replaceWith(controls.crossTable()); });
      label.append(select);
      return label;
    };
    const [first, second] = controls.cross.map((index) => facets[index]), counts = model.crossTable(first, second);
    const table = make("table"), head = make("tr");
    table.id = "cross";
    head.append(make("th"), ...second.values.map((name) => make("th", name || "–")));
    table.append(head, ...first.values.map((name, value) => {
      const line = make("tr");
      line.append(make("th", name || "–"), ...Array.from(counts[value], (count, other) => {
        const cell = make("td"), open = make("button", String(count));
        open.addEventListener("click", () => { model.clear(); first.set(value); second.set(other); controls.build(); controls.onChange(); });
        cell.append(open);
        return cell;
      }));
      return line;
    }));
    part.append(make("h2", words.say("cross")), choose(0, words.say("rows")), choose(1, words.say("columns")), table);
    return part;
  },
};
