// Regions drawn on the slide: polygons with a name and perhaps a class, and the nuclei within. They
// are kept beside the result by the server, or by the browser where the server cannot.

import * as maplibre from "./vendor/maplibre-gl.js";
import { download, element, make, number } from "./elements.js";
import { linesOf } from "./map.js";
import { isWithin } from "./polygon.js";
import { featureOf, regionOf, sumOver } from "./region.js";
import { Kept, merged, polygonsOf } from "./regions_kept.js";

const CLASSES = ["Tumor", "Stroma", "Immune cells", "Necrosis", "Other"]; // QuPath's own
const HINT = "Click each corner; double-click the last one, or press Finish region. Backspace takes one back, "
  + "Esc cancels.";
const MOST_LABELS = 100; // on the map; more would make it slow
const NEAR = 4; // pixels of the screen between two clicks at the same place

export class Regions {
  // `result` has `name`, `view`, `folder`, `scale`, `settings`, `tissue` and, when loaded, `nuclei`.
  constructor(map, result, panel) {
    Object.assign(this, { map, result, panel, regions: [], labels: [], corners: null, pointer: null });
    this.kept = new Kept(result);
    this.keeping = Promise.resolve();
    this.addPanel();
  }

  async load() {
    try {
      const features = await this.kept.read();
      if (this.isClosed) return;
      this.regions = features.map(regionOf);
      this.isReady = true;
      this.imports.disabled = false;
    } catch (error) {
      if (this.isClosed) return;
      this.say(error.message); // and nothing can be drawn: what is there must not be replaced
    }
    this.draw();
  }

  close() {
    this.isClosed = true;
    this.isDrawing(false);
    this.panel.replaceChildren();
  }

  addPanel() {
    const button = (id, text, title, onclick) => (
      make("button", { id, type: "button", title, onclick }, text));
    this.imports = button("import", "Import", "polygons as GeoJSON, such as from QuPath",
      () => this.file.click());
    this.exports = button("save", "Export", "as GeoJSON, for QuPath", () => this.export());
    this.file = make("input", { type: "file", id: "file", accept: ".geojson,.json", hidden: true,
      onchange: () => this.import() });
    this.told = make("p", { id: "regions-told" });
    this.told.setAttribute("role", "status");
    this.list = make("ol", { id: "region-list" });
    this.kinds = make("datalist", { id: "region-classes" });
    this.panel.replaceChildren(
      make("div", { className: "heading" }, make("h2", { id: "regions-title" }, "Regions"),
        make("span", {}, this.imports, " ", this.exports)),
      this.file, this.told, this.list, this.kinds);
    if (this.kept.isLocal) {
      this.panel.append(make("p", { className: "quiet", id: "regions-kept" },
        "Regions are kept in this browser and for this address alone: export them to keep them."));
    }
    this.imports.disabled = this.exports.hidden = true;
  }

  say(sentence) {
    this.told.textContent = sentence;
    this.told.hidden = !sentence;
  }

  // Begin a region, or finish the one being drawn. `take` is given its corners; without it, they become a
  // region of the list.
  begin(take = null) {
    if (!this.isReady) return;
    if (this.corners) {
      this.finish();
      return;
    }
    this.taker = take;
    this.corners = [];
    this.pointer = null;
    this.isDrawing(true);
    this.say(HINT);
    this.trace();
  }

  isDrawing(is) {
    this.map.getCanvas().style.cursor = is ? "crosshair" : "";
    element("draw").setAttribute("aria-pressed", is);
    element("draw").textContent = is ? "Finish region" : "Draw a region";
  }

  // Give up drawing.
  drop() {
    if (!this.corners) return;
    this.corners = this.pointer = null;
    this.isDrawing(false);
    this.say("");
    this.trace();
  }

  // Take a click on the map, if a region is being drawn.
  click(place) {
    if (!this.corners) return false;
    this.corners.push(place);
    this.trace();
    return true;
  }

  move(place) {
    if (!this.corners) return;
    this.pointer = place;
    this.trace();
  }

  back() {
    if (!this.corners) return;
    this.corners.pop();
    this.trace();
  }

  // Draw the corners so far, with a line to the pointer.
  trace() {
    const line = [...this.corners ?? [], ...this.pointer ? [this.pointer] : []];
    this.show("region", line.length > 1 ? [line] : []);
  }

  show(source, lines) {
    this.map.getSource(source).setData(linesOf(lines, this.result.scale));
  }

  finish() {
    if (!this.corners) return;
    // Both clicks of a double-click have added a corner.
    const near = NEAR * 2 ** (this.result.view.full - this.map.getZoom());
    const ring = this.corners.filter(([x, y], i, all) => {
      const [nextX, nextY] = all[(i + 1) % all.length];
      return Math.hypot(x - nextX, y - nextY) > near;
    });
    this.drop();
    if (ring.length < 3) {
      this.say("A region needs three corners or more.");
      return;
    }
    if (this.taker) {
      this.taker(ring);
      return;
    }
    this.add([regionOf({
      type: "Feature",
      geometry: { type: "Polygon", coordinates: [[...ring, ring[0]]] },
      properties: { name: this.freeName() },
    })]);
  }

  freeName() {
    const names = new Set(this.regions.map(({ name }) => name));
    let place = 1;
    while (names.has(`Region ${place}`)) place += 1;
    return `Region ${place}`;
  }

  add(regions) {
    for (const region of regions) {
      region.name ||= this.freeName();
      this.regions.push(region);
    }
    this.draw();
    this.keep();
  }

  remove(region) {
    if (!window.confirm(`Remove ${region.name}?`)) return;
    this.regions = this.regions.filter((each) => each !== region);
    this.draw();
    this.keep();
  }

  // Write after what is being written; what other pages have changed then appears here, too.
  keep() {
    this.keeping = this.keeping.then(async () => {
      try {
        const sent = this.features();
        const kept = await this.kept.write(sent);
        if (!this.isClosed) this.take(merged(sent, this.features(), kept));
      } catch (error) {
        this.say(`Not saved: ${error.message}`);
      }
    });
  }

  features() {
    return this.regions.map((region) => featureOf(region));
  }

  take(features) {
    const known = new Map(this.regions.map((region) => [JSON.stringify(featureOf(region)), region]));
    const regions = features.map((feature) => known.get(JSON.stringify(feature)) ?? regionOf(feature));
    if (regions.length === this.regions.length && regions.every((one, i) => one === this.regions[i])) return;
    this.regions = regions;
    this.draw();
  }

  draw() {
    this.show("regions", this.regions.flatMap(({ rings }) => rings));
    const kinds = [...this.regions.map(({ kind }) => kind).filter(Boolean), ...CLASSES];
    this.kinds.replaceChildren(...[...new Set(kinds)].map((kind) => new Option("", kind)));
    this.list.replaceChildren(...this.regions.map((region) => region.item ??= this.item(region)));
    this.exports.hidden = !this.regions.length;
    this.label();
    this.count();
  }

  // Write each name above its region.
  label() {
    for (const label of this.labels) label.remove();
    const labelled = this.regions.length > MOST_LABELS ? [] : this.regions;
    this.labels = labelled.map(({ name, rings }) => {
      const [x, y] = rings[0].reduce((one, other) => (other[1] < one[1] ? other : one));
      const text = make("div", { className: "region-name", ariaHidden: "true" }, name); // it is in the list
      return new maplibre.Marker({ element: text, anchor: "bottom", offset: [0, -6] })
        .setLngLat(this.result.scale.toMap(x, y)).addTo(this.map);
    });
  }

  item(region) {
    const name = make("input", { className: "name", value: region.name, title: "name",
      onchange: () => {
        region.name = name.value = name.value.trim() || region.name;
        this.label();
        this.keep();
      } });
    const kind = make("input", { className: "kind", value: region.kind ?? "", placeholder: "no class",
      title: "class", onchange: () => { region.kind = kind.value.trim() || null; this.keep(); } });
    kind.setAttribute("list", "region-classes");
    region.counts = make("table");
    region.sum = make("summary");
    region.share = make("p", { className: "quiet" });
    return make("li", {}, make("div", { className: "named" }, name, kind,
      make("button", { type: "button", title: "look at it", onclick: () => this.look(region) }, "Show"),
      make("button", { type: "button", title: "remove", onclick: () => this.remove(region) }, "×")),
    make("details", {}, region.sum, region.counts, region.share));
  }

  count() {
    if (!this.result.nuclei) return;
    for (const region of this.regions) {
      const counts = this.counts(region);
      const all = counts.reduce((a, b) => a + b, 0);
      const mm2 = this.mm2(region.area);
      const tissue = this.tissueMm2(region);
      region.share.hidden = tissue == null;
      region.share.textContent = `Tissue is ${Math.round((100 * tissue) / mm2)} % of it`
        + (tissue ? `, with ${number(all / tissue)} nuclei per mm² of tissue.` : ".");
      region.sum.textContent = `${number(all)} nuclei, ${mm2.toPrecision(3)} mm², ${number(all / mm2)} per mm²`;
      const head = make("tr", {}, ...["class", "nuclei", "share", "per mm²"].map((text) => make("th", {}, text)));
      const rows = this.result.view.classes.map(({ id, name }) => make("tr", {}, ...[
        name, number(counts[id]), all ? `${((100 * counts[id]) / all).toFixed(1)} %` : "",
        number(counts[id] / mm2)].map((text, i) => make(i ? "td" : "th", {}, text))));
      region.counts.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
    }
  }

  // Nuclei by class; a point in a hole is within two rings, so not in the region.
  counts({ rings, box: [x0, y0, x1, y1] }) {
    const { nuclei, view } = this.result;
    const least = this.result.settings.least;
    const counts = new Array(1 + view.classes.length).fill(0);
    for (let i = 0; i < nuclei.length; i++) {
      const x = nuclei.x[i], y = nuclei.y[i];
      if (x < x0 || x > x1 || y < y0 || y > y1 || nuclei.prob[i] < least) continue;
      let times = 0;
      for (const ring of rings) times += isWithin(x, y, ring);
      if (times % 2) counts[nuclei.class[i]]++;
    }
    return counts;
  }

  mm2(pixels) {
    return this.result.scale.mm2(pixels);
  }

  // Area of its tissue, null if the slide's tissue is not known.
  tissueMm2(region) {
    const { tissue } = this.result;
    if (!tissue.isKnown) return null;
    region.tissue ??= Math.min(region.area, sumOver(region.geometry, (ring) => tissue.areaWithin(ring)));
    return this.mm2(region.tissue);
  }

  look({ box: [x0, y0, x1, y1] }) {
    const [west, , east] = this.result.scale.corners([x0, y0, x1, y1]);
    this.map.fitBounds([west, east], { padding: 40, animate: false, bearing: this.map.getBearing() });
  }

  async import() {
    const [file] = this.file.files;
    this.file.value = "";
    if (!file) return;
    try {
      const found = polygonsOf(JSON.parse(await file.text())).map(regionOf);
      if (!found.length) throw new Error();
      this.add(found);
      this.say(`${found.length} imported from ${file.name}.`);
    } catch {
      this.say(`${file.name} has no polygons in GeoJSON, such as QuPath exports them.`);
    }
  }

  export() {
    const features = this.regions.map((region) => {
      const counts = this.counts(region);
      const named = this.result.view.classes.map(({ id, name }) => [name, counts[id]]);
      return featureOf(region, {
        slide: this.result.name,
        least_probability: this.result.settings.least / 100,
        mm2: this.mm2(region.area),
        tissue_mm2: this.tissueMm2(region),
        counts: Object.fromEntries(named),
      });
    });
    const text = JSON.stringify({ type: "FeatureCollection", features });
    download(new Blob([text], { type: "application/geo+json" }), `${this.result.name}-regions.geojson`);
  }
}
