// Mark nuclei with a class: by clicks, by regions, and one suggested nucleus after the other. Each mark
// is kept at once.

import { request } from "./answer.js";
import { changeOf } from "./comparison.js";
import { download, element } from "./elements.js";
import { Kinds } from "./marking_kinds.js";
import { listenToMarkingKeys } from "./marking_keys.js";
import { MarkingPanel } from "./marking_panel.js";
import { featureOf, Marks } from "./marks.js";
import { KeptMarks } from "./marks_kept.js";
import { MarksLayer } from "./marks_layer.js";
import { Suggestions } from "./suggestions.js";

const OPEN = "marking is open"; // from slide to slide
const OFTEN = 2000; // ms: how often to look for what other pages have marked
const REACH = 12; // pixels of the screen from a mark that still hit it
const HINT = "Its class marks it, or x; y agrees, j goes on, Esc ends.";
const HINT_OF_DIFFERENCES = "Its class marks it, or x; j goes on, Esc ends.";
const NEAR = 40; // magnification at which a suggested nucleus is looked at

export class Marking {
  constructor(slide, panel) {
    Object.assign(this, { slide, panel, tool: null, suggestion: null, done: [], unsent: 0, lost: new Set() });
    this.kept = new KeptMarks(slide);
    this.kinds = new Kinds(slide.view);
    this.turn = Promise.resolve();
    panel.hidden = true; // until there are nuclei
    this.shown = new MarkingPanel(panel, this.kinds, {
      choose: (kind) => (this.tool === kind ? this.take(null) : this.choose(kind)),
      remove: () => this.take(this.tool === "remove" ? null : "remove"),
      type: (name, colour) => this.choose(this.kinds.type(name, colour)),
      forget: (kind) => this.forget(kind),
      region: () => this.beginRegion(),
      undo: () => this.undo(),
      export: () => this.export(),
      suggest: () => this.suggest(),
      agree: () => this.agree(),
    }, this.kept.isLocal
      ? "Marks are kept in this browser and for this address alone: export them to keep them."
      : "Each mark is kept at once, in annotations.geojson beside the result.");
    this.listen();
  }

  async load() {
    const { slide } = this;
    this.marks = new Marks(slide.nuclei, slide.view);
    this.layer = new MarksLayer(slide);
    this.panel.hidden = false;
    try {
      this.receive(await this.kept.read());
      this.isReady = true;
    } catch (error) {
      this.shown.say(error.message); // and nothing can be marked: what is there must not be replaced
      this.shown.show(null, new Map(), false);
    }
  }

  close() {
    clearInterval(this.looking);
    this.panel.open = false;
    this.panel.replaceChildren();
  }

  listen() {
    const { signal } = this.slide;
    const look = () => { if (this.panel.open) this.look(); };
    this.panel.addEventListener("toggle", () => {
      sessionStorage.setItem(OPEN, this.panel.open);
      clearInterval(this.looking);
      if (this.panel.open) this.looking = setInterval(look, OFTEN);
      else this.cancel();
      look();
    }, { signal });
    this.panel.open = sessionStorage.getItem(OPEN) === "true";
    window.addEventListener("focus", look, { signal });
    window.addEventListener("storage", look, { signal });
    listenToMarkingKeys(() => this.isReady && this.panel.open, {
      choose: (place) => { if (this.kinds.classes[place]) this.choose(this.kinds.classes[place]); },
      x: () => this.choose(this.kinds.none),
      a: () => this.choose(this.kinds.missing),
      e: () => this.take("remove"),
      g: () => this.beginRegion(),
      j: () => this.suggest(),
      y: () => this.agree(),
      undo: () => this.undo(),
      cancel: () => this.cancel(),
    }, signal);
  }

  // ---- classes and tools

  // A class names the suggested nucleus; without one, it is what clicks mark from now on.
  choose(kind) {
    if (!this.isReady) return;
    if (this.suggestion && !kind.isMissing) {
      this.mark(this.suggestion.row, kind);
      this.suggest();
      return;
    }
    this.take(kind);
  }

  take(tool) {
    if (!this.isReady) return;
    this.endSuggestion();
    this.slide.ruler.drop();
    this.slide.regions.drop();
    this.tool = tool;
    this.shown.say(hintOf(tool));
    this.show();
  }

  forget(kind) {
    this.kinds.forget(kind);
    this.take(null);
    this.shown.offerColour();
  }

  cancel() {
    if (this.slide.regions.corners) {
      setTimeout(() => this.showCursor()); // the region alone is given up
      return;
    }
    this.take(null);
  }

  // ---- marking

  // Take a click on the map, if nuclei are being marked.
  click(event) {
    if (!this.tool) return false;
    const { scale, overlay, map, near } = this.slide;
    const place = scale.toPixels(event.lngLat);
    if (this.tool === "remove") {
      this.removeAt(place);
      return true;
    }
    const row = overlay.at(event) - 1;
    if (row < 0 && map.getZoom() < near && !overlay.isDots) this.shown.say("Zoom in, until nuclei are outlined.");
    else if (this.tool.isMissing) this.markMissing(place, row);
    else if (row < 0) this.shown.say("There is no nucleus here. If one is missing, mark that: key a.");
    else this.mark(row, this.tool);
    return true;
  }

  mark(row, kind) {
    const { x, y } = this.slide.nuclei;
    const before = this.marks.ofNucleus.get(row);
    if (before && this.kinds.find(before.label) === kind) return;
    const feature = featureOf({ type: "Point", coordinates: [round(x[row]), round(y[row])] }, kind);
    this.change([[feature, row]], before ? [before] : [], row);
  }

  markMissing(place, row) {
    const { width, height } = this.slide.view;
    if (row >= 0) {
      this.shown.say("There is a nucleus here: mark its class.");
      return;
    }
    if (place[0] < 0 || place[1] < 0 || place[0] > width || place[1] > height) return;
    this.change([[featureOf({ type: "Point", coordinates: place.map(round) }, this.tool), -1]], []);
  }

  beginRegion() {
    if (!this.isReady) return;
    const { tool } = this;
    if (!tool || tool === "remove" || tool.isMissing) {
      this.shown.say("Choose the class of the nuclei in the region first.");
      return;
    }
    this.endSuggestion();
    this.slide.ruler.drop();
    this.slide.regions.begin((ring) => {
      const closed = [...ring, ring[0]].map((corner) => corner.map(round));
      this.change([[featureOf({ type: "Polygon", coordinates: [closed] }, tool)]], []);
      this.showCursor();
    });
  }

  removeAt(place) {
    const { view, map } = this.slide;
    const mark = this.marks.at(place, REACH * 2 ** (view.full - map.getZoom()));
    if (mark) this.change([], [mark]);
    else this.shown.say("There is no mark here.");
  }

  // `added` are pairs of a feature and the index of its nucleus; `row` is of a nucleus to come back to.
  change(added, removed, row) {
    this.done.push({ added, removed, row });
    this.shown.say(hintOf(this.tool));
    this.apply(added, removed);
  }

  undo() {
    const last = this.done.pop();
    if (!last) {
      this.shown.say("There is nothing to undo on this page.");
      return;
    }
    const added = last.added.map(([{ id }]) => this.marks.byId.get(id)).filter(Boolean);
    this.apply(last.removed.map((mark) => [mark.feature, mark.nucleus]), added);
    if (this.suggestion && last.row >= 0) this.lookAt({ row: last.row, why: "undone" });
  }

  // Change marks here at once, then where they are kept; if that fails, not here either.
  apply(added, removed) {
    this.put(added, removed);
    this.unsent += 1;
    this.turn = this.turn.then(async () => {
      try {
        await this.kept.change(added.map(([feature]) => feature), removed.map(({ id }) => id));
      } catch (error) {
        for (const [{ id }] of added) this.lost.add(id); // never kept: later changes do not bring them back
        this.put(removed.filter(({ id }) => !this.lost.has(id)).map((mark) => [mark.feature, mark.nucleus]),
          added.map(([{ id }]) => this.marks.byId.get(id)));
        this.done = [];
        this.kept.version = null; // it may have been kept all the same: read again
        this.hasLost = true;
        this.shown.say(`Not saved: ${error.message}`);
      } finally {
        this.unsent -= 1;
      }
    });
  }

  put(added, removed) {
    for (const mark of removed) if (mark) this.marks.remove(mark);
    for (const [feature, row] of added) this.marks.add(feature, row);
    this.draw();
  }

  // ---- what others mark, and what is shown

  look() {
    this.turn = this.turn.then(async () => {
      if (!this.isReady || this.slide.signal.aborted) return;
      try {
        const features = await this.kept.read();
        if (features && this.unsent) this.kept.version = null; // older than what is here: read again
        else if (features) this.receive(features);
        this.hasLost = false;
      } catch (error) {
        if (!this.hasLost) this.shown.say(error.message); // that marks are lost says more
      }
    });
  }

  receive(features) {
    if (!features || this.slide.signal.aborted) return;
    this.marks.replace(features);
    const labels = new Map(this.marks.all.map((mark) => [mark.key, mark]));
    for (const { label, colour } of labels.values()) this.kinds.know(label, colour);
    this.shown.offerColour();
    this.draw();
  }

  draw() {
    const { all } = this.marks;
    const kinds = new Map(all.map(({ key, label }) => [key, label]));
    for (const [key, label] of kinds) kinds.set(key, this.kinds.know(label));
    for (const mark of all) mark.colour = kinds.get(mark.key).colour;
    this.layer.draw(all);
    this.show();
  }

  show() {
    this.shown.show(this.tool, this.marks.counts(), this.done.length > 0);
    this.showCursor();
  }

  showCursor() {
    this.slide.map.getCanvas().style.cursor = this.tool ? "crosshair" : "";
  }

  export() {
    const text = JSON.stringify({ type: "FeatureCollection", slide: this.slide.name,
      features: this.marks.all.map(({ feature }) => feature) });
    download(new Blob([text], { type: "application/geo+json" }), `${this.slide.name}.geojson`);
  }

  // ---- suggestions

  suggest() {
    if (!this.isReady) return;
    if (!this.suggestion) {
      this.take(null);
      this.suggestions ??= this.beginSuggestions();
    }
    this.suggestions.learn(this.marks.marked()); // also of other pages
    const next = this.suggestions.next();
    if (next) this.lookAt(next);
    else {
      this.take(null);
      this.shown.say("All nuclei are marked.");
    }
  }

  beginSuggestions() {
    const { nuclei, view, folder } = this.slide;
    const suggestions = new Suggestions(nuclei, view);
    if (view.other) { // which may take a while the first time: until then, there are others
      request(`${folder}/differing.json`).then((answer) => answer.json())
        .then((differing) => suggestions.differ(differing), () => {});
    }
    return suggestions;
  }

  lookAt({ row, why }) {
    const { map, nuclei, scale, chosen, view } = this.slide;
    const { name } = view.classes.find(({ id }) => id === nuclei.class[row]);
    const says = view.comparison ? null : name;
    this.suggestion = { row, id: row + 1, why: view.comparison ? changeOf(view.comparison, row) : why, says };
    map.jumpTo({
      center: scale.toMap(nuclei.x[row], nuclei.y[row]),
      zoom: Math.max(map.getZoom(), scale.zoomOf(NEAR)),
    });
    const { scrollTop } = element("panel");
    chosen.choose(row + 1);
    element("panel").scrollTop = scrollTop; // classes rather than the nucleus' figures stay in sight
    this.shown.suggested(this.suggestion);
    this.shown.say(says ? HINT : HINT_OF_DIFFERENCES);
  }

  endSuggestion() {
    if (!this.suggestion) return;
    this.suggestion = null;
    this.slide.chosen.choose(null);
    this.shown.suggested(null);
    this.shown.say("");
  }

  // The suggested nucleus is of the class that the network says.
  agree() {
    if (this.suggestion?.says) this.choose(this.kinds.find(this.suggestion.says));
  }
}

const round = (value) => Number(value.toFixed(2));

function hintOf(tool) {
  if (!tool) return "";
  if (tool === "remove") return "Click marks to remove them. Esc ends.";
  if (tool.isMissing) return "Click where a nucleus is missing. Esc ends.";
  return `Click nuclei: ${tool.name}. Esc ends.`;
}
