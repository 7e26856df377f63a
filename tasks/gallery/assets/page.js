"use strict";
// Puts the parts together: keys, decisions, language. Decisions stay in this browser until they are exported.
const page = {
  start(table) {
    model.load(table);
    page.storage = `tamis ${table.run}`;
    page.restore();
    words.language = page.stored("tamis language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");
    list.start(details.show);
    controls.start(page.refresh, page.moveThreshold);
    page.translate();
    for (const [id, act] of Object.entries({ undo: page.undo, export: page.export, keys: page.help, language: page.switchLanguage })) {
      document.getElementById(id).addEventListener("click", act);
    }
    document.getElementById("import").addEventListener("change", page.import);
    document.addEventListener("keydown", page.key);
    list.scroll.focus();
  },

  refresh() {
    model.refresh();
    list.refresh();
    page.count();
  },

  moveThreshold() {
    model.moveThreshold();
    list.redraw();
    page.count();
  },

  count() {
    let keep = 0, drop = 0;
    for (const decision of model.decisions) { keep += decision === KEEP; drop += decision === DROP; }
    const { kept, dropped, failed } = model.totals;
    document.getElementById("counts").textContent = words.say("counts", model.shown.length, model.rows, kept, dropped, keep, drop, failed);
  },

  translate() {
    document.documentElement.lang = words.language;
    document.getElementById("run").textContent = `${model.about.tables} · ${model.about.run}`;
    for (const id of ["undo", "export", "keys", "language"]) document.getElementById(id).textContent = words.say(id);
    document.getElementById("import-label").textContent = words.say("import");
    const warning = document.getElementById("untrained");
    warning.hidden = !model.about.isUntrained;
    warning.textContent = words.say("untrained");
    const keys = make("dl");
    for (const [key, meaning] of TEXTS[words.language].help) {
      const name = make("dt");
      name.append(...key.split(" ").map((one) => make("kbd", one)));
      keys.append(name, make("dd", meaning));
    }
    document.getElementById("help").replaceChildren(keys);
    controls.build();
    page.refresh();
  },

  switchLanguage() {
    words.language = words.language === "en" ? "zh" : "en";
    page.store("tamis language", words.language);
    page.translate();
  },

  help() {
    const help = document.getElementById("help"), button = document.getElementById("keys");
    help.hidden = !help.hidden;
    button.setAttribute("aria-expanded", String(!help.hidden));
  },

  decide(decision) {
    if (!model.shown.length) return;
    model.decide(model.shown[list.focus], decision);
    page.decided();
    if (decision) list.go(list.focus + 1);
  },

  undo() {
    const row = model.undo();
    if (row === undefined) return;
    page.decided();
    const position = model.shown.indexOf(row);
    if (position >= 0) list.go(position);
  },

  // A decision changes marks and counts, but not which videos are shown: the list does not move under the hand.
  decided() {
    list.redraw();
    page.count();
    page.store(page.storage, model.exported());
  },

  export() {
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([model.exported()], { type: "application/jsonl" }));
    link.download = `decisions-${model.about.run}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  },

  async import(event) {
    const [file] = event.target.files;
    if (!file) return;
    model.imported(await file.text());
    event.target.value = "";
    page.decided();
  },

  restore() { model.imported(page.stored(page.storage) ?? ""); model.history = []; },
  stored(key) { try { return localStorage.getItem(key); } catch { return null; } },
  store(key, value) { try { localStorage.setItem(key, value); } catch { /* a full or forbidden storage: export still works */ } },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = /^(INPUT|SELECT)$/.test(event.target.tagName);
    if (event.key === "Escape") { list.scroll.focus(); event.preventDefault(); return; }
    if (isTyping) return;
    const act = page.keys[event.key];
    if (act && !(event.key === " " && event.target.tagName === "BUTTON")) { act(); event.preventDefault(); }
  },

  keys: {
    j: () => list.go(list.focus + 1), ArrowDown: () => list.go(list.focus + 1),
    k: () => list.go(list.focus - 1), ArrowUp: () => list.go(list.focus - 1),
    PageDown: () => list.go(list.focus + 10), PageUp: () => list.go(list.focus - 10),
    Home: () => list.go(0), End: () => list.go(model.shown.length - 1),
    "+": () => page.decide(KEEP), "-": () => page.decide(DROP), 0: () => page.decide(0), u: () => page.undo(),
    " ": () => details.play(), "?": () => page.help(), "/": () => document.getElementById("search").focus(),
    b: () => { const chosen = Math.max(0, model.sort.output); controls.sortBy(`border ${chosen}`); document.getElementById("sort").value = controls.sortValue(); },
  },
};

function tamisTable(table) { page.start(table); }
function tamisDetails(number, facts) { details.arrived(number, facts); }
