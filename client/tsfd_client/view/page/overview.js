// The overview of the whole slide, with a frame around what is in view. A click there goes there.

import { element } from "./elements.js";

const LONGEST = 170;

export class Overview {
  constructor({ view, pixels, signal, map, scale }) {
    Object.assign(this, { view, map, scale });
    const per = LONGEST / Math.max(view.width, view.height);
    const [width, height] = [view.width * per, view.height * per];
    this.box = element("overview");
    Object.assign(this.box.style, { width: `${width}px`, height: `${height}px` });
    const size = [width, height].map((side) => Math.max(1, Math.round(2 * side)));
    pixels.picture([0, 0, view.width, view.height], 0, ...size)
      .then((picture) => this.box.querySelector("canvas").replaceWith(picture));
    this.frame = this.box.querySelector("polygon");
    this.box.querySelector("svg").setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
    const go = (event) => {
      if (!event.buttons) return;
      const { left, top, width, height } = this.box.getBoundingClientRect();
      map.jumpTo({ center: scale.toMap(((event.clientX - left) / width) * view.width,
        ((event.clientY - top) / height) * view.height) });
    };
    this.box.addEventListener("pointerdown", go, { signal });
    this.box.addEventListener("pointermove", go, { signal });
  }

  update(ring) {
    this.frame.setAttribute("points", ring.map((corner) => corner.join()).join(" "));
  }
}
