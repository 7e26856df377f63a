"use strict";
// The details of one video, loaded in chunks when needed: frames with boxes, windows on a time line, reasons, facts.
const details = {
  chunks: new Map(),  // number -> facts of its rows; while it loads, a list of those who wait
  KEPT: 60,

  load(row, then) {
    const number = Math.floor(row / model.chunkRows), place = row % model.chunkRows;
    const chunk = details.chunks.get(number);
    if (chunk?.facts) { then(chunk.facts[place]); return; }
    if (chunk) { chunk.waiting.push([place, then]); return; }
    details.chunks.set(number, { waiting: [[place, then]] });
    const script = document.createElement("script");
    script.src = `data/details-${number}.js`;
    script.onload = () => script.remove();
    document.head.append(script);
  },

  arrived(number, facts) {
    const { waiting } = details.chunks.get(number);
    details.chunks.set(number, { facts });
    for (const [place, then] of waiting) then(facts[place]);
    for (const old of details.chunks.keys()) {
      if (details.chunks.size <= details.KEPT) break;
      if (details.chunks.get(old).facts && old !== number) details.chunks.delete(old);
    }
  },

  show(row) {
    details.row = row;
    const panel = document.getElementById("detail");
    if (row < 0) { panel.replaceChildren(make("p", words.say("choose"))); return; }
    details.load(row, (facts) => {
      if (details.row !== row) return;
      panel.replaceChildren(make("h2", model.ids[row]), ...frames(facts), ...player(row), ...reasons(row, facts), ...factsOf(row, facts));
      clearTimeout(details.playing);  // only the video that the focus rests on is played: decoders are few
      if (!matchMedia("(prefers-reduced-motion: reduce)").matches) details.playing = setTimeout(details.play, 500);
    });
  },

  play() {
    const video = document.querySelector("#detail video");
    if (video) { if (video.paused) video.play().catch(() => {}); else video.pause(); }
  },
};

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function drawn(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function frames({ strip, region, crop }) {
  if (!strip?.file) return strip?.reason ? [make("p", words.say("noStrip", strip.reason), "warning")] : [];
  const grid = make("div", undefined, "frames"), last = strip.frame_seconds.length - 1;
  strip.frame_seconds.forEach((seconds, index) => {
    const frame = make("div", undefined, "frame");
    frame.style.backgroundImage = `url("${strip.file}")`;
    frame.style.backgroundPosition = `${(100 * index) / last}% 0`;
    frame.append(make("small", `${seconds.toFixed(1)} s`));
    for (const found of region?.regions ?? []) frame.append(box(found.box, strip, found.label, ""));
    if (region?.crop) {
      const [left, top, width, height] = region.crop.rect;
      frame.append(box([left, top, left + width, top + height], strip, "crop", "crop"));
    }
    grid.append(frame);
  });
  return region?.regions?.length || crop ? [grid, make("p", words.say("boxes"), "falls")] : [grid];
}

// A box in source pixels, as per cent of a 16:9 frame in which the source is letterboxed.
function box([x1, y1, x2, y2], { width, height }, label, className) {
  const scale = Math.min(16 / width, 9 / height), left = (16 - width * scale) / 2, top = (9 - height * scale) / 2;
  const element = make("i", undefined, className);
  element.title = label;
  element.style.left = `${(100 * (left + x1 * scale)) / 16}%`;
  element.style.top = `${(100 * (top + y1 * scale)) / 9}%`;
  element.style.width = `${(100 * (x2 - x1) * scale) / 16}%`;
  element.style.height = `${(100 * (y2 - y1) * scale) / 9}%`;
  return element;
}

function player(row) {
  if (model.about.media === null || model.outcomes.codes[row]) return [];
  const video = make("video");
  Object.assign(video, { muted: true, loop: true, controls: true, preload: "none" });
  video.src = model.about.media + model.sources[row].split("/").map(encodeURIComponent).join("/");
  video.addEventListener("error", () => video.replaceWith(make("p", words.say("unreachable"), "falls")));
  return [video];
}

function reasons(row, facts) {
  const parts = [make("h2", words.say("why"))];
  const change = model.changes.names[model.changes.codes[row]];
  if (change) parts.push(make("p", `⇄ ${words.say("change")}: ${change}`));
  if (facts.error) parts.push(make("p", `✕ ${facts.error.code} (${facts.error.stage}): ${facts.error.message}`, "failed"));
  model.outputs.forEach((output, index) => {
    const judged = facts.judged[output.key];
    if (!judged) return;
    const { value } = model.thresholds[index], score = output.score[row], falls = score >= Math.fround(value);
    const text = words.say(falls ? "above" : "below", output.key, score.toFixed(2), value.toFixed(2), Math.abs(score - value).toFixed(2));
    parts.push(make("p", `${falls ? "△" : "○"} ${text}`, falls ? "drop" : "keep"));
    if (output.isWindows) parts.push(...timeline(judged, value));
    else parts.push(make("p", runnerUp(judged[0]), "falls"));
  });
  return parts;
}

function runnerUp([, , label, , probabilities]) {
  const rest = Object.entries(probabilities).filter(([name]) => name !== label).sort((a, b) => b[1] - a[1]);
  const own = label in probabilities ? `${label} ${probabilities[label].toFixed(2)}` : label;
  return rest.length ? `${own} · ${words.say("runnerUp", rest[0][0], rest[0][1].toFixed(2))}` : own;
}

function timeline(windows, threshold) {
  const end = Math.max(...windows.map((window) => window[1])), over = windows.filter((window) => window[3] >= threshold).length;
  const picture = drawn("svg", { class: "timeline", viewBox: "0 0 400 34", preserveAspectRatio: "none", role: "img" });
  windows.forEach(([start, stop, label, unwanted], index) => {
    const x = (400 * start) / end, y = index % 2 ? 18 : 1;  // windows overlap: two lanes
    const bar = drawn("rect", { x, y, width: Math.max(2, (400 * (stop - start)) / end - 1), height: 14, class: unwanted >= threshold ? "dropped" : "kept" });
    bar.append(drawn("title", {}, words.say("window", start, stop, label, unwanted.toFixed(2))));
    picture.append(bar, drawn("text", { x: x + 2, y: y + 10 }, unwanted.toFixed(2)));
  });
  return [picture, make("p", words.say("windows", over, windows.length), "falls")];
}

function factsOf(row, { strip, stages, tier, device, signals }) {
  const table = make("dl", undefined, "facts");
  const line = (key, value) => { if (value) table.append(make("dt", words.say(key)), make("dd", String(value))); };
  line("source", model.sources[row]);
  line("tag", model.tags.names[model.tags.codes[row]]);
  if (strip?.file) {
    line("duration", `${strip.duration_seconds} s`);
    line("size", `${strip.width} × ${strip.height}`);
    line("fps", strip.frames_per_second);
    line("codec", strip.codec);
    line("bytes", strip.size_bytes.toLocaleString(words.language));
  }
  line("tier", tier);
  line("device", device);
  line("signals", Object.entries(signals ?? {}).map(([name, value]) => `${name} ${value}`).join(", "));
  line("stages", Object.entries(stages ?? {}).map(([name, value]) => `${name} ${Math.round(value)}`).join(", "));
  return [make("h2", words.say("facts")), table];
}
