"use strict";
// The list of videos: only the rows in view exist as elements; a long list is scrolled on a shortened scale.
const ROW_HEIGHT = 104, MAX_HEIGHT = 8e6;  // pixels; browsers cap the height of an element

const list = {
  focus: 0,  // position in model.shown
  elements: new Map(),

  start(onFocus) {
    list.scroll = document.getElementById("scroll");
    list.space = document.getElementById("space");
    list.onFocus = onFocus;
    list.scroll.addEventListener("scroll", list.draw, { passive: true });
    new ResizeObserver(list.draw).observe(list.scroll);
    list.space.addEventListener("click", (event) => {
      const element = event.target.closest(".video");
      if (element) list.go(Number(element.dataset.position));
    });
  },

  get height() { return model.shown.length * ROW_HEIGHT; },
  get scale() {
    const view = list.scroll.clientHeight, real = Math.max(list.height - view, 1);
    return Math.max(Math.min(MAX_HEIGHT, list.height) - view, 1) / real;
  },

  refresh() {
    list.space.style.height = `${Math.min(MAX_HEIGHT, Math.max(list.height, 1))}px`;
    list.redraw();
    list.go(Math.min(list.focus, model.shown.length - 1));
  },

  // Makes the elements in view anew: their texts and marks depend on thresholds and decisions.
  redraw() {
    for (const element of list.elements.values()) element.remove();
    list.elements.clear();
    list.draw();
    if (model.shown.length) list.onFocus(model.shown[list.focus]);
  },

  go(position) {
    list.focus = Math.max(0, Math.min(position, model.shown.length - 1));
    const top = list.focus * ROW_HEIGHT, seen = list.scroll.scrollTop / list.scale, view = list.scroll.clientHeight;
    if (top < seen) list.scroll.scrollTop = top * list.scale;
    else if (top + ROW_HEIGHT > seen + view) list.scroll.scrollTop = (top + ROW_HEIGHT - view) * list.scale;
    list.draw();
    list.onFocus(model.shown.length ? model.shown[list.focus] : -1);
  },

  draw() {
    const scrolled = list.scroll.scrollTop, seen = scrolled / list.scale;
    const first = Math.max(0, Math.floor(seen / ROW_HEIGHT) - 2);
    const last = Math.min(model.shown.length, Math.ceil((seen + list.scroll.clientHeight) / ROW_HEIGHT) + 2);
    for (const [position, element] of list.elements) {
      if (position < first || position >= last) { element.remove(); list.elements.delete(position); }
    }
    for (let position = first; position < last; position++) {
      let element = list.elements.get(position);
      if (!element) {
        element = list.element(position);
        list.elements.set(position, element);
        list.space.append(element);
      }
      element.style.top = `${position * ROW_HEIGHT - seen + scrolled}px`;
      element.classList.toggle("focused", position === list.focus);
      element.setAttribute("aria-selected", String(position === list.focus));
      if (position === list.focus) list.scroll.setAttribute("aria-activedescendant", element.id);
    }
    list.scroll.querySelector(".empty")?.remove();
    if (!model.shown.length) {
      const empty = document.createElement("p");
      empty.className = "empty";
      empty.textContent = words.say("none", model.rows);
      list.scroll.append(empty);
    }
  },

  element(position) {
    const row = model.shown[position], element = document.createElement("div");
    element.className = "video";
    element.id = `video-${row}`;
    element.dataset.position = position;
    element.setAttribute("role", "option");
    const name = document.createElement("div"), id = document.createElement("b"), state = document.createElement("span");
    name.className = "name";
    id.textContent = model.ids[row];
    [state.textContent, state.className] = list.state(row);
    name.append(state, id);
    const line = document.createElement("div");
    line.className = "line";
    line.textContent = list.summary(row);
    element.append(name, line);
    details.load(row, (facts) => {
      if (!facts.strip?.file) return;
      const image = document.createElement("img");
      image.src = facts.strip.file;
      image.alt = "";
      element.append(image);
    });
    return element;
  },

  state(row) {
    if (model.outcomes.codes[row]) return [`✕ ${model.outcomes.names[model.outcomes.codes[row]]}`, "failed"];
    if (model.decisions[row]) return model.decisions[row] === KEEP ? [`● ${words.say("keep")}`, "keep"] : [`▲ ${words.say("drop")}`, "drop"];
    return model.falls[row] ? ["△", "drop"] : ["○", "keep"];
  },

  summary(row) {
    const parts = model.outputs
      .filter((output) => !Number.isNaN(output.score[row]))
      .map((output) => `${output.key} ${output.score[row].toFixed(2)} ${output.labels[output.label[row]]}`);
    const tag = model.tags.names[model.tags.codes[row]];
    const change = model.changes.names[model.changes.codes[row]];
    return [...(change ? [change] : []), ...(tag ? [tag] : []), ...parts].join(" · ");
  },
};
