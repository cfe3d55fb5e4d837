// Tissue mask of the run; without a mask, tissue is everywhere. Lengths and areas are in pixels of
// level 0.

import { boxOf, isBox, testOf } from "./polygon.js";

const STEPS = 256; // in which the area within a polygon is summed, each way

export class Tissue {
  constructor({ width, height, mask }) {
    Object.assign(this, { width, height, isKnown: Boolean(mask) });
    const { rows, columns, runs } = mask ?? { rows: 1, columns: 1, runs: [0, 1] };
    Object.assign(this, { rows, columns });
    const line = columns + 1;
    this.sums = new Uint32Array((rows + 1) * line); // summed-area table
    let begin = 0;
    runs.forEach((length, number) => {
      for (let at = begin; number % 2 && at < begin + length; at++) {
        this.sums[line * (Math.floor(at / columns) + 1) + (at % columns) + 1] = 1;
      }
      begin += length;
    });
    for (let row = 1; row <= rows; row++) {
      let sum = 0;
      for (let at = row * line + 1; at < (row + 1) * line; at++) {
        sum += this.sums[at];
        this.sums[at] = sum + this.sums[at - line];
      }
    }
    this.pixel = (width / columns) * (height / rows);
  }

  // Area of tissue in a box.
  area([x0, y0, x1, y1]) {
    if (x0 >= x1 || y0 >= y1) return 0;
    const cells = this.above(x1, y1) - this.above(x0, y1) - this.above(x1, y0) + this.above(x0, y0);
    return cells * this.pixel;
  }

  // Area of tissue in a polygon.
  areaWithin(ring) {
    if (isBox(ring)) return this.area(boxOf(ring));
    const [left, top, right, bottom] = boxOf(ring);
    const [x0, y0] = [Math.max(0, left), Math.max(0, top)];
    const [x1, y1] = [Math.min(this.width, right), Math.min(this.height, bottom)];
    if (x0 >= x1 || y0 >= y1) return 0;
    const [dx, dy] = [(x1 - x0) / STEPS, (y1 - y0) / STEPS];
    const holds = testOf(ring);
    let sum = 0;
    for (let y = y0, row = 0; row < STEPS; y = y0 + ++row * dy) {
      for (let x = x0, column = 0; column < STEPS; x = x0 + ++column * dx) {
        if (holds(x + dx / 2, y + dy / 2)) sum += this.area([x, y, x + dx, y + dy]);
      }
    }
    return sum;
  }

  // Mask pixels above and left of a point, counting fractions of pixels.
  above(x, y) {
    const column = (Math.min(Math.max(x, 0), this.width) / this.width) * this.columns;
    const row = (Math.min(Math.max(y, 0), this.height) / this.height) * this.rows;
    const [i, j] = [Math.floor(row), Math.floor(column)];
    const [di, dj] = [row - i, column - j];
    const upper = i * (this.columns + 1) + j;
    const lower = di ? upper + this.columns + 1 : upper;
    const right = dj ? 1 : 0;
    return (1 - di) * ((1 - dj) * this.sums[upper] + dj * this.sums[upper + right])
      + di * ((1 - dj) * this.sums[lower] + dj * this.sums[lower + right]);
  }

  // Area of tissue in each square of `cell` pixels, row by row.
  areas(cell) {
    const columns = Math.ceil(this.width / cell), rows = Math.ceil(this.height / cell);
    const areas = new Float32Array(rows * columns);
    for (let place = 0; place < areas.length; place++) {
      const x = (place % columns) * cell, y = Math.floor(place / columns) * cell;
      areas[place] = this.area([x, y, x + cell, y + cell]);
    }
    return { rows, columns, areas };
  }

  // The mask as an image, opaque where there is tissue.
  image() {
    const image = new ImageData(this.columns, this.rows);
    for (let row = 0, place = 0; row < this.rows; row++) {
      for (let column = 0; column < this.columns; column++, place++) {
        const at = row * (this.columns + 1) + column;
        const next = at + this.columns + 1;
        const is = this.sums[next + 1] - this.sums[next] - this.sums[at + 1] + this.sums[at];
        image.data[4 * place + 3] = 255 * is;
      }
    }
    return image;
  }
}
