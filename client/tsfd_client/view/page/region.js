// Count a region: a polygon that is drawn corner by corner.

import { define, download, element, number } from "./elements.js";
import { linesOf } from "./map.js";
import { areaOf } from "./polygon.js";

export class Region {
  constructor(slide) {
    this.slide = slide;
    this.drawing = this.ring = null; // open rings
    element("region").hidden = element("save").hidden = true;
  }

  begin() {
    this.drop();
    this.drawing = [];
    this.slide.map.getCanvas().style.cursor = "crosshair";
    element("region").hidden = false;
    element("region").textContent = "Click each corner, double-click the last one. Esc cancels.";
  }

  // Take a click on the map, if a region is being drawn.
  click(place) {
    if (!this.drawing) return false;
    this.drawing.push(place);
    this.draw(this.drawing);
    return true;
  }

  draw(line) {
    this.slide.map.getSource("region").setData(linesOf(line.length ? [line] : [], this.slide.scale));
  }

  finish() {
    if (!this.drawing) return;
    // Both clicks of the double-click have added a corner.
    const ring = this.drawing.slice(0, -1);
    this.drawing = null;
    this.slide.map.getCanvas().style.cursor = "";
    if (ring.length < 3) {
      this.drop();
      return;
    }
    this.ring = ring;
    this.draw([...ring, ring[0]]);
    this.count();
  }

  count() {
    const { view, scale, tissue, nuclei, settings } = this.slide;
    const counts = nuclei.count(this.ring, settings.least);
    const mm2 = scale.mm2(areaOf(this.ring));
    const stained = scale.mm2(tissue.areaWithin(this.ring));
    const named = view.classes.map(({ id, name }) => [name, counts[id]]);
    this.result = { mm2, counts: Object.fromEntries(named) };
    const list = document.createElement("dl");
    const all = counts.reduce((sum, count) => sum + count, 0);
    define(list, [["region", `${mm2.toFixed(3)} mm²`],
      ["of tissue", tissue.isKnown && `${stained.toFixed(3)} mm²`],
      ...named.map(([name, count]) => [name, number(count)]),
      ["per mm²", stained && number(all / stained)]]);
    element("region").replaceChildren(list);
    element("save").hidden = false;
  }

  drop() {
    this.drawing = this.ring = null;
    this.slide.map.getCanvas().style.cursor = "";
    this.draw([]);
    element("region").hidden = element("save").hidden = true;
  }

  save() {
    const { name, settings } = this.slide;
    const feature = {
      type: "Feature",
      geometry: { type: "Polygon", coordinates: [[...this.ring, this.ring[0]]] },
      properties: { objectType: "annotation", slide: name, least_probability: settings.least / 100,
        ...this.result },
    };
    const text = JSON.stringify({ type: "FeatureCollection", features: [feature] });
    download(new Blob([text], { type: "application/geo+json" }), `${name}-region.geojson`);
  }
}
