// Measure the distance between two clicks.

import * as maplibre from "./vendor/maplibre-gl.js";
import { linesOf } from "./map.js";
import { lengthOf } from "./scale_bar.js";

export class Ruler {
  constructor(slide) {
    this.slide = slide;
    this.ends = [];
    this.isMeasuring = false;
  }

  begin() {
    this.drop();
    this.isMeasuring = true;
    this.slide.map.getCanvas().style.cursor = "crosshair";
  }

  // Take a click on the map, if a distance is being measured.
  click(place) {
    if (!this.isMeasuring) return false;
    this.show([...this.ends, place]);
    this.isMeasuring = this.ends.length < 2;
    if (!this.isMeasuring) this.slide.map.getCanvas().style.cursor = "";
    return true;
  }

  // Show how far the pointer is from where the measuring began.
  move(place) {
    if (this.isMeasuring && this.ends.length) this.draw([this.ends[0], place]);
  }

  show(ends) {
    this.ends = ends;
    this.draw(ends);
    this.slide.note();
  }

  draw(ends) {
    const { map, scale } = this.slide;
    map.getSource("ruler").setData(linesOf(ends.length === 2 ? [ends] : [], scale));
    this.label?.remove();
    this.label = null;
    if (ends.length < 2) return;
    const [[x0, y0], [x1, y1]] = ends;
    const text = document.createElement("div");
    text.id = "distance";
    text.textContent = lengthOf(Math.hypot(x1 - x0, y1 - y0) * scale.mpp);
    this.label = new maplibre.Marker({ element: text, anchor: "bottom", offset: [0, -6] })
      .setLngLat(scale.toMap((x0 + x1) / 2, (y0 + y1) / 2)).addTo(map);
  }

  drop() {
    this.isMeasuring = false;
    this.slide.map.getCanvas().style.cursor = "";
    this.show([]);
  }
}
