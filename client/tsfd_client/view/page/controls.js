// The bar of buttons above the map, and the line below it.

import { element } from "./elements.js";
import { scaleBar } from "./scale_bar.js";
import { magnified } from "./screenshot.js";

const MAGNIFICATIONS = [5, 10, 20, 40];

export class Controls {
  constructor({ map, scale, signal }) {
    Object.assign(this, { map, scale });
    this.buttons = MAGNIFICATIONS.map((magnification) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `${magnification}x`;
      button.addEventListener("click", () => map.zoomTo(scale.zoomOf(magnification), { duration: 0 }));
      return [magnification, button];
    });
    element("magnifications").replaceChildren(...this.buttons.map(([, button]) => button));
    map.on("mousemove", ({ lngLat }) => this.point(scale.toPixels(lngLat)));
    map.getContainer().addEventListener("pointerleave", () => this.point(null), { signal });
  }

  // Show where the pointer is, in pixels of level 0; none if it is nowhere.
  point(place) {
    this.isPointing = Boolean(place);
    const [x, y] = place ?? this.scale.toPixels(this.map.getCenter());
    const { mpp } = this.scale;
    element("pointer").textContent = `${place ? "pointer" : "centre"} ${told(x * mpp, y * mpp)} µm = `
      + `${told(x, y)} px`;
  }

  update() {
    const zoom = this.map.getZoom();
    const { pixels, text } = scaleBar(this.scale.umAt(zoom));
    element("bar").style.width = `${pixels}px`;
    element("bar").textContent = text;
    const now = this.scale.magnification(zoom);
    element("magnification").textContent = magnified(now);
    for (const [magnification, button] of this.buttons) {
      button.setAttribute("aria-pressed", Math.abs(now / magnification - 1) < 0.01);
    }
    if (!this.isPointing) this.point(null);
  }
}

function told(x, y) {
  return [x, y].map((value) => value.toLocaleString("en", { maximumFractionDigits: 1 })).join(", ");
}

export async function toggleFullScreen() {
  if (document.fullscreenElement) await document.exitFullscreen();
  else await element("slide").requestFullscreen();
}
