// Convert between pixels of level 0 and the map. The slide lies in the upper left corner of the map's
// world; at zoom `full` a pixel of the map is a pixel of level 0.

const OBJECTIVE = 10; // times micrometres per pixel gives the magnification: 40x is 0.25

export class Scale {
  constructor({ full, width, height, mpp }) {
    Object.assign(this, { full, width, height, mpp, world: 512 * 2 ** full });
  }

  toMap(x, y) {
    const north = Math.PI * (1 - (2 * y) / this.world);
    return [(360 * x) / this.world - 180, (180 / Math.PI) * Math.atan(Math.sinh(north))];
  }

  toPixels({ lng, lat }) {
    const north = Math.asinh(Math.tan((lat * Math.PI) / 180));
    return [((lng + 180) / 360) * this.world, ((1 - north / Math.PI) / 2) * this.world];
  }

  // What the map shows: its corners in pixels of level 0, clockwise from the upper left.
  inView(map) {
    const { clientWidth: width, clientHeight: height } = map.getContainer();
    return [[0, 0], [width, 0], [width, height], [0, height]]
      .map((corner) => this.toPixels(map.unproject(corner)));
  }

  corners([x0, y0, x1, y1]) {
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(([x, y]) => this.toMap(x, y));
  }

  // Micrometres per pixel of the map.
  umAt(zoom) {
    return this.mpp * 2 ** (this.full - zoom);
  }

  mm2(pixels) {
    return (pixels * this.mpp ** 2) / 1e6;
  }

  magnification(zoom) {
    return OBJECTIVE / this.umAt(zoom);
  }

  zoomOf(magnification) {
    return this.full + Math.log2((this.mpp * magnification) / OBJECTIVE);
  }
}
