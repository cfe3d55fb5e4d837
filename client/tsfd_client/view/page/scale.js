// Convert between pixels of level 0 and the map. The slide lies in the upper left corner of the map's
// world; at zoom `full` a pixel of the map is a pixel of level 0.

export class Scale {
  constructor({ full, width, height }) {
    this.world = 512 * 2 ** full;
    this.full = full;
    this.width = width;
    this.height = height;
  }

  toMap(x, y) {
    const north = Math.PI * (1 - (2 * y) / this.world);
    return [(360 * x) / this.world - 180, (180 / Math.PI) * Math.atan(Math.sinh(north))];
  }

  toPixels({ lng, lat }) {
    const north = Math.asinh(Math.tan((lat * Math.PI) / 180));
    return [((lng + 180) / 360) * this.world, ((1 - north / Math.PI) / 2) * this.world];
  }

  // The part of the slide in view: x0, y0, x1, y1.
  inView(map) {
    const bounds = map.getBounds();
    const [x0, y0] = this.toPixels(bounds.getNorthWest());
    const [x1, y1] = this.toPixels(bounds.getSouthEast());
    return [Math.max(0, x0), Math.max(0, y0), Math.min(this.width, x1), Math.min(this.height, y1)];
  }

  corners([x0, y0, x1, y1]) {
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(([x, y]) => this.toMap(x, y));
  }
}
