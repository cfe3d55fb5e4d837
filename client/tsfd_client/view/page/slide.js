// One slide: the map with its pixels and nuclei, and the panel beside it.

import * as maplibre from "./vendor/maplibre-gl.js";
import { checked } from "./answer.js";
import { Nuclei, isWithin } from "./nuclei.js";
import { Scale } from "./scale.js";
import { Tissue } from "./tissue.js";

const element = (id) => document.getElementById(id);
const number = (value) => Math.round(value).toLocaleString("en");
const UNRELIABLE = 0.4; // classes with a lower F1 are marked
const CELL_UM = 60; // side of the squares in which densities are counted
const FINEST = 2000; // pixels: longer side of the picture of densities
const SPARSE = 1000; // nuclei per mm²: the colour scale always reaches at least this far
const REACH_UM = 30; // farthest that a nucleus extends from any point within it
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

maplibre.setWorkerUrl(new URL("vendor/maplibre-gl-worker.js", import.meta.url).href);
maplibre.addProtocol("pmtiles", new pmtiles.Protocol().tile);

export class Slide {
  constructor(view, folder) {
    Object.assign(this, { view, folder, name: view.name, scale: new Scale(view), tissue: new Tissue(view) });
    this.cell = Math.max(CELL_UM / view.mpp, Math.max(view.width, view.height) / 1000);
    this.cells = this.tissue.areas(this.cell);
    this.mask = pictureOf(this.tissue.image());
    this.shown = Object.fromEntries(view.classes.map(({ id }) => [id, true]));
    this.colours = Object.fromEntries(view.classes.map(({ id, colour }) => [id, colour]));
    this.ending = new AbortController();
    this.drawing = null; // corners of the region being drawn
  }

  async show(place) {
    this.describe();
    this.map = new maplibre.Map({
      container: "map",
      style: this.style(),
      attributionControl: false,
      renderWorldCopies: false,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      keyboard: false,
      doubleClickZoom: false,
      minZoom: Math.min(0, this.view.full - 6) - 1,
      maxZoom: this.view.full + 4,
      fadeDuration: 0,
      transformConstrain: (center, zoom) => ({ center, zoom }), // let the slide's edges reach the middle
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-left");
    this.goTo(place);
    this.listen();
    this.scaleBar();
    element("wait").hidden = false; // the server makes these files when they are first requested
    const [nuclei] = await Promise.all([
      Nuclei.read(`${this.folder}/nuclei.bin`, this.view.classes.length),
      fetch(`${this.folder}/nuclei.pmtiles`, { headers: { Range: "bytes=0-126" } }).then(checked),
      new Promise((resolve) => this.map.once("load", resolve)),
    ]);
    if (this.ending.signal.aborted) return;
    element("wait").hidden = true;
    this.nuclei = nuclei;
    this.addOutlines();
    this.paint();
    this.drawDensity();
    this.count();
  }

  close() {
    this.ending.abort();
    this.map?.remove();
    this.bar?.remove();
    document.body.dataset.state = "";
  }

  here() {
    return new URL(`${this.folder}/`, document.baseURI).href;
  }

  style() {
    const { view } = this;
    const here = this.here();
    const slide = view.pixels === "pmtiles"
      ? { url: `pmtiles://${here}slide.pmtiles` }
      : { tiles: [`${here}tiles/{z}/{x}/{y}.jpg`] };
    const everywhere = this.scale.corners([0, 0, view.width, view.height]);
    const sources = {
      density: { type: "image", url: canvasOf(1, 1).toDataURL(), coordinates: everywhere },
      tissue: { type: "geojson", data: this.toMap(view.tissue ?? []) },
      region: { type: "geojson", data: this.toMap([]) },
    };
    if (view.pixels) {
      sources.slide = { type: "raster", tileSize: 512, minzoom: 0, maxzoom: view.full, ...slide };
    }
    return {
      version: 8,
      sources,
      layers: [
        { id: "glass", type: "background", paint: { "background-color": "#fff" } },
        ...(view.pixels ? [{ id: "slide", type: "raster", source: "slide" }] : []),
        { id: "density", type: "raster", source: "density", maxzoom: this.near(),
          layout: { visibility: view.fine ? "visible" : "none" },
          paint: { "raster-resampling": "linear" } },
        { id: "tissue", type: "line", source: "tissue",
          paint: { "line-color": "#00963c", "line-width": 1.5 } },
        { id: "region", type: "line", source: "region",
          paint: { "line-color": "#111", "line-width": 2, "line-dasharray": [2, 1] } },
      ],
    };
  }

  // One layer per class: with a single colour per layer, much less is sent to the GPU.
  addOutlines() {
    const { view } = this;
    const width = ["interpolate", ["linear"], ["zoom"], view.fine, 1, view.full + 2, 3];
    this.map.addSource("nuclei", { type: "vector", url: `pmtiles://${this.here()}nuclei.pmtiles` });
    for (const { id, colour } of view.classes) {
      const nuclei = { source: "nuclei", "source-layer": "nuclei", minzoom: this.near() };
      const rgb = `rgb(${colour.join()})`;
      this.map.addLayer(
        { id: `fill-${id}`, type: "fill", ...nuclei, paint: { "fill-color": rgb } }, "region");
      this.map.addLayer({ id: `outline-${id}`, type: "line", ...nuclei,
        paint: { "line-color": rgb, "line-width": width } }, "region");
    }
  }

  // First zoom at which nuclei are outlined; at lower zooms too many would be in view.
  near() {
    return this.view.fine && this.view.fine + 0.5;
  }

  // Convert rings in pixels of level 0 to GeoJSON for the map.
  toMap(rings) {
    const features = rings.map((ring) => ({
      type: "Feature",
      properties: {},
      geometry: { type: "LineString", coordinates: ring.map(([x, y]) => this.scale.toMap(x, y)) },
    }));
    return { type: "FeatureCollection", features };
  }

  goTo([x, y, zoom]) {
    if ([x, y, zoom].every(Number.isFinite)) {
      this.map.jumpTo({ center: this.scale.toMap(x, y), zoom });
      return;
    }
    const [west, , east] = this.scale.corners([0, 0, this.view.width, this.view.height]);
    this.map.fitBounds([west, east], { padding: 10, animate: false });
  }

  describe() {
    const { view } = this;
    document.title = `${view.name}: nuclei`;
    element("name").textContent = view.name;
    for (const name of ["problem", "warning"]) {
      element(name).textContent = view[name] ?? "";
      element(name).hidden = !view[name];
    }
    element("classes").tBodies[0].replaceChildren(...view.classes.map((kind) => this.row(kind)));
    element("per").textContent = this.tissue.isKnown
      ? "tissue" : "the whole image (its tissue is not outlined)";
    define(element("about"), [
      ["nuclei", number(view.nuclei)],
      ["scale", `${view.mpp.toFixed(4).replace(/0+$/, "")} µm per pixel`],
      ["segmented", view.mm2 && `${Number(view.mm2.toPrecision(3))} mm²`],
      ["release", view.release],
      ...Object.entries(view.settings ?? {}).map(([name, value]) => [name.replaceAll("_", " "), value]),
    ]);
    for (const place of document.querySelectorAll(".use")) place.textContent = view.use;
    element("nucleus").hidden = element("region").hidden = element("save").hidden = true;
  }

  row({ id, name, colour, f1 }) {
    const row = document.createElement("tr");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${colour.join()})`;
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, id: `class-${id}` });
    box.addEventListener("change", () => this.toggle(id, box.checked), { signal: this.ending.signal });
    const label = document.createElement("label");
    label.append(box, name);
    label.title = `key ${id}`;
    const cells = [swatch, label, "0", "", f1 == null ? "" : f1.toFixed(2)].map((content) => {
      const cell = document.createElement("td");
      cell.append(content);
      return cell;
    });
    cells[2].id = `count-${id}`;
    cells[3].id = `density-${id}`;
    if (f1 != null && f1 < UNRELIABLE) {
      cells[4].className = "unreliable";
      cells[4].append(" !");
      cells[4].title = "unreliable: many nuclei of this class are missed or wrongly assigned to it";
    }
    row.append(...cells);
    return row;
  }

  listen() {
    const { signal } = this.ending;
    this.map.on("move", () => this.soon());
    // Tell tests and measurements what is visible.
    const state = (name) => { document.body.dataset.state = name; };
    this.map.on("load", () => state("pixels"));
    this.map.on("idle", () => { if (this.nuclei) state("drawn"); });
    this.map.on("moveend", () => this.note());
    this.map.on("click", (event) => this.click(event));
    this.map.on("dblclick", () => this.finishRegion());
    element("prob").oninput = () => this.redraw();
    element("opacity").oninput = element("filled").onchange = () => this.paint();
    element("tissue").onchange = () => this.paint();
    element("draw").onclick = () => this.beginRegion();
    element("save").onclick = () => this.saveRegion();
    window.addEventListener("keydown", (event) => this.key(event), { signal });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range") return;
    const kind = this.view.classes.find(({ id }) => String(id) === event.key);
    if (kind) {
      element(`class-${kind.id}`).click();
    } else if (ARROWS[event.key]) {
      this.map.panBy(ARROWS[event.key].map((step) => 150 * step), { duration: 150 });
    } else if (event.key === "+" || event.key === "=") {
      this.map.zoomIn({ duration: 150 });
    } else if (event.key === "-") {
      this.map.zoomOut({ duration: 150 });
    } else if (event.key === "Escape") {
      this.dropRegion();
    } else {
      return;
    }
    event.preventDefault();
  }

  toggle(id, shown) {
    this.shown[id] = shown;
    this.redraw();
  }

  least() {
    return Number(element("prob").value);
  }

  redraw() {
    element("prob-value").textContent = this.least();
    if (!this.nuclei) return;
    this.paint();
    this.count();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.drawDensity(), 100);
  }

  paint() {
    if (!this.nuclei) return;
    const opacity = Number(element("opacity").value) / 100;
    const visibility = (is) => (is ? "visible" : "none"); // hidden layers are not even prepared
    for (const [id, shown] of Object.entries(this.shown)) {
      const filter = ["all", ["==", ["get", "class"], Number(id)],
        [">=", ["get", "prob"], this.least()]];
      this.map.setFilter(`fill-${id}`, filter);
      this.map.setFilter(`outline-${id}`, filter);
      this.map.setPaintProperty(`fill-${id}`, "fill-opacity", opacity / 2);
      this.map.setPaintProperty(`outline-${id}`, "line-opacity", opacity);
      const filled = shown && element("filled").checked;
      this.map.setLayoutProperty(`fill-${id}`, "visibility", visibility(filled));
      this.map.setLayoutProperty(`outline-${id}`, "visibility", visibility(shown));
    }
    this.map.setPaintProperty("density", "raster-opacity", opacity);
    this.map.setLayoutProperty("tissue", "visibility", visibility(element("tissue").checked));
  }

  drawDensity() {
    const { cell, cells } = this;
    const perMm2 = 1e6 / this.view.mpp ** 2; // converts from per pixel
    const { image, most } = this.nuclei.density(
      cells, cell, this.shown, this.colours, this.least(), SPARSE / perMm2);
    const zoom = Math.min(1, FINEST / Math.max(this.view.width, this.view.height));
    const clipped = canvasOf(Math.ceil(this.view.width * zoom), Math.ceil(this.view.height * zoom));
    const [width, height] = [image.width * cell * zoom, image.height * cell * zoom];
    const context = clipped.getContext("2d");
    context.drawImage(pictureOf(image), 0, 0, width, height);
    context.globalCompositeOperation = "destination-in";
    context.drawImage(this.mask, 0, 0, this.view.width * zoom, this.view.height * zoom);
    const box = [0, 0, clipped.width / zoom, clipped.height / zoom];
    this.map.getSource("density").updateImage(
      { url: clipped.toDataURL(), coordinates: this.scale.corners(box) });
    element("most").textContent = number(most * perMm2);
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.count();
      this.scaleBar();
    });
  }

  count() {
    if (!this.nuclei || this.ending.signal.aborted) return;
    const box = this.scale.inView(this.map);
    const mm2 = box[0] < box[2] && box[1] < box[3] && this.mm2(this.tissue.area(box));
    const counts = this.nuclei.count(box, this.least());
    let all = 0;
    for (const { id } of this.view.classes) {
      all += counts[id];
      element(`count-${id}`).textContent = number(counts[id]);
      element(`density-${id}`).textContent = mm2 ? number(counts[id] / mm2) : "";
    }
    element("count").textContent = number(all);
    element("density").textContent = mm2 ? number(all / mm2) : "";
    element("area").textContent = (mm2 || 0).toPrecision(3);
  }

  mm2(pixels) {
    return (pixels * this.view.mpp ** 2) / 1e6;
  }

  scaleBar() {
    const perPixel = this.view.mpp * 2 ** (this.view.full - this.map.getZoom());
    const power = 10 ** Math.floor(Math.log10(120 * perPixel));
    const length = [5, 2, 1].map((times) => times * power).find((um) => um <= 120 * perPixel);
    this.bar ??= this.map.getContainer().appendChild(document.createElement("div"));
    this.bar.id = "bar";
    this.bar.style.width = `${length / perPixel}px`;
    this.bar.textContent = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
  }

  note() {
    const [x, y] = this.scale.toPixels(this.map.getCenter()).map((value) => value.toFixed(1));
    const place = [encodeURIComponent(this.name), x, y, this.map.getZoom().toFixed(3)].join("/");
    history.replaceState(null, "", `#${place}`);
  }

  click(event) {
    if (!this.nuclei) return;
    if (this.drawing) {
      this.drawing.push(this.scale.toPixels(event.lngLat));
      this.map.getSource("region").setData(this.toMap([this.drawing]));
      return;
    }
    const id = this.nucleusAt(event);
    element("nucleus").hidden = !id;
    if (!id) return;
    const at = id - 1;
    const { x, y, area, prob } = this.nuclei;
    define(element("nucleus"), [
      ["nucleus", id],
      ["class", this.view.classes.find(({ id }) => id === this.nuclei.class[at]).name],
      ["probability", `${prob[at]} %`],
      ["area", `${(area[at] / 10).toFixed(1)} µm²`],
      ["centroid", `${x[at].toFixed(1)}, ${y[at].toFixed(1)} px`],
    ]);
  }

  // Id of the drawn nucleus that contains a point of the map.
  nucleusAt({ point, lngLat }) {
    const zoom = this.map.getZoom();
    const reach = (REACH_UM / this.view.mpp) * 2 ** (zoom - this.view.full);
    const box = [[point.x - reach, point.y - reach], [point.x + reach, point.y + reach]];
    const place = [lngLat.lng, lngLat.lat];
    const layers = this.view.classes.map((kind) => `outline-${kind.id}`);
    return this.map.queryRenderedFeatures(box, { layers })
      .find(({ geometry }) => isWithin(...place, geometry.coordinates[0]))?.id;
  }

  beginRegion() {
    this.dropRegion();
    this.drawing = [];
    this.map.getCanvas().style.cursor = "crosshair";
    element("region").hidden = false;
    element("region").textContent = "Click each corner, double-click the last one. Esc cancels.";
  }

  finishRegion() {
    if (!this.drawing) return;
    // Both clicks of the double-click have added a corner.
    const ring = this.drawing.slice(0, -1);
    this.drawing = null;
    this.map.getCanvas().style.cursor = "";
    if (ring.length < 3) {
      this.dropRegion();
      return;
    }
    this.ring = ring;
    this.map.getSource("region").setData(this.toMap([[...ring, ring[0]]]));
    const counts = this.nuclei.countWithin(ring, this.least());
    const mm2 = this.mm2(areaOf(ring));
    const named = this.view.classes.map(({ id, name }) => [name, counts[id]]);
    this.region = { mm2, counts: Object.fromEntries(named) };
    const list = document.createElement("dl");
    define(list, [["region", `${mm2.toFixed(3)} mm²`], ...named.map(([n, c]) => [n, number(c)])]);
    element("region").replaceChildren(list);
    element("save").hidden = false;
  }

  dropRegion() {
    this.drawing = this.ring = null;
    this.map.getCanvas().style.cursor = "";
    this.map.getSource("region").setData(this.toMap([]));
    element("region").hidden = element("save").hidden = true;
  }

  saveRegion() {
    const ring = [...this.ring, this.ring[0]];
    const feature = {
      type: "Feature",
      geometry: { type: "Polygon", coordinates: [ring] },
      properties: { objectType: "annotation", slide: this.name, least_probability: this.least() / 100,
        ...this.region },
    };
    const link = document.createElement("a");
    const text = JSON.stringify({ type: "FeatureCollection", features: [feature] });
    link.href = URL.createObjectURL(new Blob([text], { type: "application/geo+json" }));
    link.download = `${this.name}-region.geojson`;
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

function define(list, pairs) {
  list.replaceChildren(...pairs.filter(([, value]) => value != null && value !== "")
    .flatMap(([name, value]) => {
      const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      definition.textContent = value;
      return [term, definition];
    }));
}

function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function pictureOf(image) {
  const canvas = canvasOf(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function areaOf(ring) {
  let twice = 0;
  ring.forEach(([x, y], i) => {
    const [nx, ny] = ring[(i + 1) % ring.length];
    twice += x * ny - nx * y;
  });
  return Math.abs(twice) / 2;
}
