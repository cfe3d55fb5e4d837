// The chosen nucleus: its mark on the map, its picture and figures, and the way to the next.

import { changeOf } from "./comparison.js";
import { define, element, number } from "./elements.js";
import { pointOf } from "./map.js";

const SIDE_UM = 32; // of the picture
const NEAR = 40; // magnification at which nuclei are looked at one by one

export class Chosen {
  constructor(slide) {
    this.slide = slide;
    this.id = null;
    this.order = null; // made when it is needed
  }

  // Choose a nucleus by its id, or none: also if there is none of that id.
  choose(id) {
    const { map, nuclei, scale, overlay } = this.slide;
    this.id = Number.isInteger(id) && id > 0 && id <= nuclei.length ? id : null;
    const at = this.id - 1;
    overlay.mark(this.id);
    map.getSource("place").setData(pointOf(this.id && [nuclei.x[at], nuclei.y[at]], scale));
    element("nucleus").hidden = !this.id;
    if (this.id) {
      this.describe(at);
      element("nucleus").scrollIntoView({ block: "nearest" });
    }
    this.showRank();
    this.slide.note();
  }

  describe(at) {
    const { view, nuclei, pixels } = this.slide;
    const { x, y, area, prob } = nuclei;
    define(element("figures"), [
      ["nucleus", this.id],
      ["class", view.classes.find(({ id }) => id === nuclei.class[at]).name],
      ...(view.comparison ? [["A → B", changeOf(view.comparison, at)]] : []),
      ["probability", `${prob[at]} %`],
      ["area", `${(area[at] / 10).toFixed(1)} µm²`],
      ["centroid", `${x[at].toFixed(1)}, ${y[at].toFixed(1)} px`],
    ]);
    const portrait = element("portrait");
    portrait.hidden = !view.pixels;
    const half = SIDE_UM / view.mpp / 2;
    const box = [x[at] - half, y[at] - half, x[at] + half, y[at] + half];
    if (view.pixels) this.show(pixels.picture(box, view.full, portrait.width, portrait.height), this.id);
  }

  async show(picture, id) {
    const drawn = await picture;
    if (this.id === id) element("portrait").getContext("2d").drawImage(drawn, 0, 0);
  }

  // Go to the nucleus with a rank, from 1, in the order that the panel says.
  goTo(rank) {
    const order = this.ranked();
    if (!order.length) return;
    const at = order[(rank - 1 + order.length) % order.length];
    const { map, nuclei, scale } = this.slide;
    map.jumpTo({
      center: scale.toMap(nuclei.x[at], nuclei.y[at]),
      zoom: Math.max(map.getZoom(), scale.zoomOf(NEAR)),
    });
    this.choose(at + 1);
  }

  step(by) {
    const rank = this.rank();
    this.goTo(rank || by < 0 ? rank + by : 1);
  }

  // Nuclei that are shown, in order.
  ranked() {
    const { nuclei, settings } = this.slide;
    this.order ??= nuclei.order((i) => settings.shows(nuclei, i), settings.leastSureFirst);
    return this.order;
  }

  rank() {
    return this.id ? this.ranked().indexOf(this.id - 1) + 1 : 0;
  }

  forget() {
    this.order = null;
  }

  showRank() {
    const isTyping = document.activeElement === element("nth");
    if (!isTyping) element("nth").value = this.rank() || "";
    element("nth").max = this.ranked().length;
    element("of").textContent = number(this.ranked().length);
  }
}
