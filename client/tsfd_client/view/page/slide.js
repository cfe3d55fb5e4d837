// One slide: the map, what lies on it, and the panel beside it.

import { checked } from "./answer.js";
import { Chosen } from "./chosen.js";
import { Controls, toggleFullScreen } from "./controls.js";
import { Counts } from "./counts.js";
import { define, element, number } from "./elements.js";
import { drawHistograms } from "./histograms.js";
import { listenToKeys } from "./keys.js";
import { makeMap } from "./map.js";
import { Marking } from "./marking.js";
import { Nuclei } from "./nuclei.js";
import { Overlay } from "./overlay.js";
import { Overview } from "./overview.js";
import { Pixels } from "./pixels.js";
import { Regions } from "./regions.js";
import { Ruler } from "./ruler.js";
import { Scale } from "./scale.js";
import { takeScreenshot } from "./screenshot.js";
import { Settings } from "./settings.js";
import { Tissue } from "./tissue.js";

const LATER = 100; // ms: what takes long waits until the view or the settings stay
const FARTHEST = 1e7; // pixels of level 0: beyond any slide

const within = (value, least, most) => Math.min(Math.max(value, least), most);

export class Slide {
  constructor(view, folder) {
    Object.assign(this, { view, folder, name: view.name });
    this.here = new URL(`${folder}/`, document.baseURI).href;
    this.near = view.fine ? view.fine + 0.5 : -Infinity; // the zoom from which on nuclei are outlined
    this.ending = new AbortController();
    this.signal = this.ending.signal;
    this.scale = new Scale(view);
    this.tissue = new Tissue(view);
    this.pixels = new Pixels(this);
    this.settings = new Settings(view);
    this.counts = new Counts(this, (id, shown) => this.toggle(id, shown));
    this.overlay = new Overlay(this);
    this.nuclei = null;
  }

  // `place` is what the address says: x, y, zoom, settings; all can be missing.
  async show(place) {
    this.describe();
    this.map = makeMap(this);
    this.regions = new Regions(this.map, this, element("regions"));
    this.ruler = new Ruler(this);
    this.chosen = new Chosen(this);
    this.controls = new Controls(this);
    this.overview = new Overview(this);
    this.look(place);
    this.listen();
    this.marking = new Marking(this, element("marking"));
    this.update();
    element("wait").hidden = false; // the server makes these files when they are first requested
    const [nuclei] = await Promise.all([
      Nuclei.read(`${this.folder}/nuclei.bin`, this.view.classes.length),
      fetch(`${this.folder}/nuclei.pmtiles`, { headers: { Range: "bytes=0-126" } }).then(checked),
      new Promise((resolve) => this.map.once("load", resolve)),
    ]);
    if (this.signal.aborted) return;
    element("wait").hidden = true;
    this.nuclei = nuclei;
    this.overlay.add();
    this.recall(place);
    await Promise.all([this.regions.load(), this.marking.load()]);
  }

  close() {
    this.ending.abort();
    this.regions?.close();
    this.marking?.close();
    clearTimeout(this.later);
    this.map?.remove();
    document.body.dataset.state = "";
  }

  // Look at a place again that an address names.
  goTo(place) {
    this.look(place);
    if (this.nuclei) this.recall(place);
  }

  look([x, y, zoom, query]) {
    const place = [x, y, zoom].map(Number);
    const bearing = Number(new URLSearchParams(query).get("turned")) % 360 || 0;
    if (x && place.every(Number.isFinite)) {
      const { width, height } = this.view; // beyond the slide, but not so far that it is lost
      const center = this.scale.toMap(within(place[0], -width, 2 * width), within(place[1], -height, 2 * height));
      this.map.jumpTo({ center, zoom: place[2], bearing });
    } else {
      this.fit();
    }
  }

  recall([, , , text]) {
    const query = new URLSearchParams(text);
    this.settings.fromAddress(query);
    const ends = (query.get("ruler") ?? "").split(",").map(Number);
    const isRuler = ends.length === 4 && ends.every((end) => Math.abs(end) < FARTHEST);
    this.ruler.show(isRuler ? [ends.slice(0, 2), ends.slice(2)] : []);
    this.redraw();
    this.chosen.choose(Number(query.get("nucleus")) || null);
  }

  fit() {
    const [west, , east] = this.scale.corners([0, 0, this.view.width, this.view.height]);
    this.map.fitBounds([west, east], { padding: 20, animate: false, bearing: this.map.getBearing() });
  }

  describe() {
    const { view } = this;
    document.title = `${view.name}: nuclei`;
    element("name").textContent = view.name;
    for (const name of ["problem", "warning"]) {
      element(name).textContent = view[name] ?? "";
      element(name).hidden = !view[name];
    }
    define(element("about"), [
      ["nuclei", number(view.nuclei)],
      ["scale", `${view.mpp.toFixed(4).replace(/0+$/, "")} µm per pixel`],
      ["size", `${number(view.width)} x ${number(view.height)} px`],
      ["segmented", view.mm2 && `${Number(view.mm2.toPrecision(3))} mm²`],
      ["release", view.release],
      ...Object.entries(view.settings ?? {}).map(([name, value]) => [name.replaceAll("_", " "), value]),
    ]);
    for (const place of document.querySelectorAll(".use")) place.textContent = view.use;
    element("nucleus").hidden = true;
  }

  listen() {
    const { map, scale } = this;
    map.on("move", () => this.soon());
    map.on("moveend", () => this.note());
    map.on("click", (event) => this.click(event));
    map.on("dblclick", () => this.regions.finish());
    map.on("mousemove", ({ lngLat }) => {
      this.regions.move(scale.toPixels(lngLat));
      this.ruler.move(scale.toPixels(lngLat));
    });
    // Tell tests and measurements what is visible.
    const state = (name) => { document.body.dataset.state = name; };
    map.on("load", () => state("pixels"));
    map.on("idle", () => { if (this.nuclei && !this.overlay.isPending) state("drawn"); });
    for (const id of ["prob", "opacity", "filled", "tissue", "density-of"]) {
      element(id).oninput = () => this.redraw();
    }
    element("order").onchange = () => this.redraw();
    element("nth").onchange = () => {
      if (!this.nuclei) return;
      this.chosen.goTo(Number(element("nth").value));
      element("nth").value = this.chosen.rank() || "";
    };
    const help = () => element("help").showModal();
    const actions = {
      "zoom-in": () => map.zoomIn({ duration: 150 }),
      "zoom-out": () => map.zoomOut({ duration: 150 }),
      fit: () => this.fit(),
      turn: () => map.jumpTo({ bearing: map.getBearing() + 90 }),
      measure: () => { this.regions.drop(); this.ruler.begin(); },
      draw: () => { this.ruler.drop(); this.regions.begin(); },
      picture: () => takeScreenshot(this),
      full: toggleFullScreen,
      "show-help": help,
      next: () => this.chosen.step(1),
      previous: () => this.chosen.step(-1),
    };
    for (const [id, action] of Object.entries(actions)) {
      element(id).onclick = () => { if (this.nuclei) action(); };
    }
    const press = (id) => () => element(id).click();
    listenToKeys(this, [
      ["0", "fit the slide into the window", press("fit")],
      ["d", "hide or show the nuclei", () => this.hide()],
      ["f", "fill the outlines", press("filled")],
      ["n", "next nucleus", press("next")],
      ["p", "previous nucleus", press("previous")],
      ["m", "measure a distance", press("measure")],
      ["r", "rotate by 90°", press("turn")],
      ["s", "save a picture of the view", press("picture")],
      ["w", "full screen", press("full")],
      ["Backspace", "take back the last corner of a region", () => this.regions.back()],
      ["Escape", "end measuring, drawing, and the choice of a nucleus", () => this.cancel()],
      ["?", "this list", help],
    ]);
  }

  hide() {
    const slider = element("opacity");
    slider.value = Number(slider.value) ? 0 : slider.defaultValue;
    this.redraw();
  }

  cancel() {
    if (!this.nuclei) return;
    this.regions.drop();
    this.ruler.drop();
    this.chosen.choose(null);
  }

  click({ point, lngLat }) {
    if (!this.nuclei) return;
    const place = this.scale.toPixels(lngLat);
    if (this.regions.click(place) || this.ruler.click(place)) return;
    if (this.marking.click({ point, lngLat })) return;
    this.chosen.choose(this.overlay.at({ point, lngLat }));
  }

  toggle(id, shown) {
    this.settings.shown[id] = shown;
    this.redraw();
  }

  // After a change of settings.
  redraw() {
    element("prob-value").textContent = this.settings.least;
    if (!this.nuclei) return;
    this.chosen.forget();
    this.regions.count();
    this.overlay.paint();
    this.update();
    this.note();
  }

  soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.signal.aborted) this.update();
    });
  }

  // After any change of the view.
  update() {
    this.controls.update();
    const ring = this.scale.inView(this.map);
    this.overview.update(ring);
    if (!this.nuclei) return;
    const { nuclei, settings, tissue } = this;
    const pixels = tissue.areaWithin(ring);
    const all = this.counts.show(nuclei.count(ring, settings.least), pixels);
    this.overlay.choose(all, pixels);
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      drawHistograms(nuclei, ring, settings);
      this.chosen.showRank();
    }, LATER);
  }

  // Have the address say what is in view, so that it can be sent.
  note() {
    if (!this.nuclei) return;
    const round = (value) => value.toFixed(1);
    const [x, y] = this.scale.toPixels(this.map.getCenter()).map(round);
    const bearing = this.map.getBearing();
    const query = new URLSearchParams([
      ...(Math.abs(bearing) > 0.05 ? [["turned", round(bearing)]] : []),
      ...(this.chosen.id ? [["nucleus", this.chosen.id]] : []),
      ...(this.ruler.ends.length === 2 ? [["ruler", this.ruler.ends.flat().map(round)]] : []),
      ...this.settings.toAddress(),
    ]);
    const place = [encodeURIComponent(this.name), x, y, this.map.getZoom().toFixed(3), query];
    history.replaceState(null, "", `#${place.map(String).filter(Boolean).join("/")}`);
  }
}
