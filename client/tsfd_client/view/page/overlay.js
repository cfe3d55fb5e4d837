// What lies on the slide: outlines near, and from afar dots as long as they can be told apart, or else
// densities in nuclei per area of tissue.

import { Density } from "./density.js";
import { Dots } from "./dots.js";
import { element } from "./elements.js";
import { isWithin } from "./polygon.js";

const MOST_DOTS = 20_000; // in view
const CLOSEST = 4; // pixels between dots, on average
const DOT_UM = 7;
const REACH_UM = 30; // farthest that a nucleus extends from any point within it
const LATER = 100; // ms
const REACH = 8; // pixels from a dot that still hit it

export class Overlay {
  constructor(slide) {
    this.slide = slide;
    this.density = new Density(slide);
    this.isDots = this.isDense = this.isPending = false;
  }

  // One layer per class: with a single colour per layer, much less is sent to the GPU.
  add() {
    const { map, view, near, here, nuclei, scale } = this.slide;
    const width = ["interpolate", ["linear"], ["zoom"], view.fine, 1, view.full + 2, 3];
    this.dots = new Dots(nuclei, scale.world);
    map.addLayer(this.dots, "regions-under");
    map.addSource("nuclei", { type: "vector", url: `pmtiles://${here}nuclei.pmtiles` });
    const layer = (id, type, paint) => map.addLayer({ id, type, paint, source: "nuclei",
      "source-layer": "nuclei", ...(near > 0 ? { minzoom: near } : {}) }, "regions-under");
    const shades = view.classes.map(({ id, colour }) => [id, `rgb(${colour.join()})`]);
    for (const [id, rgb] of shades) {
      layer(`fill-${id}`, "fill", { "fill-color": rgb });
      layer(`outline-${id}`, "line", { "line-color": rgb, "line-width": width });
    }
    // Around the outline, so that the nucleus itself stays visible.
    layer("mark-2", "line", { "line-color": "#111", "line-width": 2, "line-offset": 7 });
    layer("mark-1", "line", { "line-color": "#fff", "line-width": 4, "line-offset": 4 });
    layer("mark-0", "line", { "line-width": 3,
      "line-color": ["match", ["get", "class"], ...shades.flat(), "#111"] });
    this.mark(null);
  }

  // Mark a nucleus by its id.
  mark(id) {
    for (const layer of ["mark-2", "mark-1", "mark-0"]) {
      this.slide.map.setFilter(layer, ["==", ["id"], id ?? -1]);
    }
  }

  paint() {
    const { map, view, settings } = this.slide;
    const visibility = (is) => (is ? "visible" : "none"); // hidden layers are not even prepared
    const { opacity, least, shown } = settings;
    for (const { id } of view.classes) {
      const filter = ["all", ["==", ["get", "class"], id], [">=", ["get", "prob"], least]];
      map.setFilter(`fill-${id}`, filter);
      map.setFilter(`outline-${id}`, filter);
      map.setPaintProperty(`fill-${id}`, "fill-opacity", opacity / 2);
      map.setPaintProperty(`outline-${id}`, "line-opacity", opacity);
      map.setLayoutProperty(`fill-${id}`, "visibility", visibility(shown[id] && settings.isFilled));
      map.setLayoutProperty(`outline-${id}`, "visibility", visibility(shown[id]));
    }
    const colours = view.classes.filter(({ id }) => shown[id]).map(({ id, colour }) => [id, colour]);
    this.dots.paint(Object.fromEntries(colours), least, opacity);
    map.setPaintProperty("density", "raster-opacity", opacity);
    for (const id of ["tissue", "artifacts"]) {
      map.setLayoutProperty(id, "visibility", visibility(settings.hasTissue));
    }
    this.drawDensity();
    map.triggerRepaint();
  }

  // Choose dots or densities for what is in view: so many nuclei on so many pixels of tissue.
  choose(number, pixels) {
    const { map, near, scale, settings, view } = this.slide;
    const zoom = map.getZoom();
    const isFar = zoom < near;
    const spacing = Math.sqrt((pixels * 4 ** (zoom - view.full)) / number);
    this.isDots = isFar && !settings.density && number <= MOST_DOTS && spacing >= CLOSEST;
    const isDense = this.isDense = isFar && !this.isDots;
    this.dots.diameter = this.isDots && Math.min(6, Math.max(2.5, DOT_UM / scale.umAt(zoom)));
    map.setLayoutProperty("density", "visibility", isDense ? "visible" : "none");
    // Colours of densities are read on grey.
    if (view.pixels) {
      map.setPaintProperty("slide", "raster-saturation", isDense && settings.opacity ? -1 : 0);
    }
    element("legend").hidden = !isFar;
    element("densities").hidden = !isDense;
    element("each").hidden = isDense;
    if (isDense) this.density.show(map);
  }

  // Compute densities if others are asked for: the first at once, so that the way out to them is
  // smooth, and later ones when the settings have stayed the same for a while.
  drawDensity() {
    const { map, nuclei, settings: { density, shown, least } } = this.slide;
    const kinds = density > 0 ? { [density]: true } : { ...shown };
    const asked = JSON.stringify([kinds, least]);
    if (asked === this.asked) return;
    clearTimeout(this.later);
    const draw = () => {
      this.isPending = false;
      if (this.slide.signal.aborted) return;
      this.density.draw(nuclei, kinds, least);
      if (this.isDense) this.density.show(map);
      map.triggerRepaint(); // what is not shown changes nothing, and the map would not say that it is done
    };
    if (this.asked) {
      this.isPending = true;
      this.later = setTimeout(draw, LATER);
    } else draw();
    this.asked = asked;
  }

  // Id of the nucleus that is drawn at a point of the map.
  at({ point, lngLat }) {
    const { map, near, scale, view, nuclei, settings } = this.slide;
    if (this.isDots) {
      const reach = REACH * 2 ** (view.full - map.getZoom());
      return nuclei.nearest(scale.toPixels(lngLat), reach, (i) => settings.shows(nuclei, i)) + 1;
    }
    if (map.getZoom() < near) return 0;
    const reach = REACH_UM / scale.umAt(map.getZoom());
    const box = [[point.x - reach, point.y - reach], [point.x + reach, point.y + reach]];
    const layers = view.classes.map((kind) => `outline-${kind.id}`);
    return map.queryRenderedFeatures(box, { layers }).find(({ geometry }) =>
      isWithin(lngLat.lng, lngLat.lat, geometry.coordinates[0]))?.id ?? 0;
  }
}
