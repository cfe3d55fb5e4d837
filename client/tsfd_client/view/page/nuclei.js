// Centroids of all nuclei, in columns: nuclei.bin, written by tsfd_client.view.points.

import { checked } from "./answer.js";
import { boxOf, isBox, testOf } from "./polygon.js";

const BYTES = 12; // per nucleus

export class Nuclei {
  // `classes` is the number of classes; their ids begin with 1.
  constructor(buffer, classes) {
    this.buffer = buffer;
    this.classes = classes;
    this.length = buffer.byteLength / BYTES;
    const n = this.length;
    this.x = new Float32Array(buffer, 0, n);
    this.y = new Float32Array(buffer, 4 * n, n);
    this.area = new Uint16Array(buffer, 8 * n, n); // tenths of a square micrometre
    this.class = new Uint8Array(buffer, 10 * n, n);
    this.prob = new Uint8Array(buffer, 11 * n, n); // per cent
  }

  static async read(url, classes) {
    return new Nuclei(await (await checked(await fetch(url))).arrayBuffer(), classes);
  }

  // Visit the nuclei whose centroid is in a polygon and whose probability is at least `least`.
  within(ring, least, visit) {
    const [x0, y0, x1, y1] = boxOf(ring);
    const holds = isBox(ring) ? null : testOf(ring);
    const { x: xs, y: ys, prob, length } = this;
    for (let i = 0; i < length; i++) {
      const x = xs[i], y = ys[i];
      if (x >= x0 && x < x1 && y >= y0 && y < y1 && prob[i] >= least
          && (!holds || holds(x, y))) visit(i);
    }
  }

  // Count nuclei by class in a polygon.
  count(ring, least) {
    const counts = new Array(1 + this.classes).fill(0);
    this.within(ring, least, (i) => counts[this.class[i]]++);
    return counts;
  }

  // Index of the nearest nucleus for which `isShown` holds within so many pixels; -1 without one.
  nearest([x, y], reach, isShown) {
    let [best, found] = [reach ** 2, -1];
    for (let i = 0; i < this.length; i++) {
      const distance = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (distance <= best && isShown(i)) [best, found] = [distance, i];
    }
    return found;
  }

  // Indices for which `isShown` holds: as in the table, or the least sure first.
  order(isShown, leastSureFirst) {
    const key = leastSureFirst ? (i) => this.prob[i] : () => 0;
    const begins = new Uint32Array(257);
    for (let i = 0; i < this.length; i++) if (isShown(i)) begins[key(i) + 1]++;
    for (let value = 0; value < 256; value++) begins[value + 1] += begins[value];
    const indices = new Uint32Array(begins[256]);
    for (let i = 0; i < this.length; i++) if (isShown(i)) indices[begins[key(i)]++] = i;
    return indices;
  }

  // Nuclei per area of tissue in squares of `cell` pixels, of classes for which `kinds` is true; areas
  // and densities are in pixels of level 0.
  density({ rows, columns, areas }, cell, kinds, least) {
    const numbers = new Float32Array(columns * rows);
    for (let i = 0; i < this.length; i++) {
      if (this.prob[i] < least || !kinds[this.class[i]]) continue;
      numbers[Math.floor(this.y[i] / cell) * columns + Math.floor(this.x[i] / cell)]++;
    }
    // Smooth counts and areas alike, so that tissue next to glass does not look sparser.
    const smoothed = smooth(numbers, rows, columns);
    return smooth(areas, rows, columns).map((area, place) => area && smoothed[place] / area);
  }
}

// Smooth each square with its eight neighbours, which weigh less.
function smooth(values, rows, columns) {
  const across = new Float32Array(values.length), result = new Float32Array(values.length);
  for (let place = 0; place < values.length; place++) {
    const column = place % columns;
    across[place] = 2 * values[place] + (column > 0 ? values[place - 1] : 0)
      + (column < columns - 1 ? values[place + 1] : 0);
  }
  for (let place = 0; place < values.length; place++) {
    result[place] = 2 * across[place] + (across[place - columns] ?? 0)
      + (across[place + columns] ?? 0);
  }
  return result;
}
