// Pixels of the slide outside of the map, from the same tiles.

import { canvasOf } from "./elements.js";

const TILE = 512;

export class Pixels {
  constructor({ view, here }) {
    this.view = view;
    this.here = here;
    if (view.pixels === "pmtiles") this.archive = new pmtiles.PMTiles(`${here}slide.pmtiles`);
  }

  // A box of level 0 as a canvas of a given size, from the tiles of a zoom.
  async picture([x0, y0, x1, y1], zoom, width, height) {
    const side = TILE * 2 ** (this.view.full - zoom); // of a tile, in pixels of level 0
    const canvas = canvasOf(width, height);
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    // Tiles meet at whole pixels of the canvas; otherwise a line would be seen between them.
    const across = (x) => Math.round((x * side - x0) * (width / (x1 - x0)));
    const down = (y) => Math.round((y * side - y0) * (height / (y1 - y0)));
    const places = [];
    for (let y = Math.floor(y0 / side); y * side < y1; y++) {
      for (let x = Math.floor(x0 / side); x * side < x1; x++) places.push([x, y]);
    }
    await Promise.all(places.map(async ([x, y]) => {
      const tile = await this.tile(zoom, x, y).catch(() => null); // stays white, as on the map
      if (!tile) return;
      const [left, top] = [across(x), down(y)];
      context.drawImage(tile, left, top, across(x + 1) - left, down(y + 1) - top);
    }));
    return canvas;
  }

  async tile(zoom, x, y) {
    if (!this.view.pixels || x < 0 || y < 0) return null;
    if (this.archive) {
      const found = await this.archive.getZxy(zoom, x, y);
      return found && createImageBitmap(new Blob([found.data]));
    }
    const answer = await fetch(`${this.here}tiles/${zoom}/${x}/${y}.jpg`);
    return answer.status === 200 ? createImageBitmap(await answer.blob()) : null;
  }
}
