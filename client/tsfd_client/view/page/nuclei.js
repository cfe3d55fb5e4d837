// Centroids of all nuclei, in columns: nuclei.bin, written by tsfd_client.view.points.

import { checked } from "./answer.js";

const BYTES = 12; // per nucleus
const MOST_OPAQUE = 0.6; // opacity of the highest density: the tissue shows through

export class Nuclei {
  // `classes` is the number of classes; their ids begin with 1.
  constructor(buffer, classes) {
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

  // Count nuclei by class whose centroid is in a box and whose probability is at least `least`.
  count([x0, y0, x1, y1], least) {
    const counts = new Array(1 + this.classes).fill(0);
    for (let i = 0; i < this.length; i++) {
      if (this.x[i] >= x0 && this.x[i] < x1 && this.y[i] >= y0 && this.y[i] < y1
          && this.prob[i] >= least) counts[this.class[i]]++;
    }
    return counts;
  }

  // As `count`, within a polygon: an open ring of [x, y].
  countWithin(ring, least) {
    const counts = new Array(1 + this.classes).fill(0);
    const xs = ring.map(([x]) => x), ys = ring.map(([, y]) => y);
    const [x0, y0, x1, y1] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    for (let i = 0; i < this.length; i++) {
      const x = this.x[i], y = this.y[i];
      if (x >= x0 && x < x1 && y >= y0 && y < y1 && this.prob[i] >= least && isWithin(x, y, ring)) {
        counts[this.class[i]]++;
      }
    }
    return counts;
  }

  // Draw the density of the shown classes in nuclei per area of tissue. Each square of `cell` pixels
  // gets a mixture of their colours, more opaque where denser. `most` is the density, per pixel of
  // level 0, that is drawn most opaque: the 99th percentile, but at least `floor`.
  density({ rows, columns, areas }, cell, shown, colours, least, floor) {
    const numbers = new Map();
    for (let i = 0; i < this.length; i++) {
      const kind = this.class[i];
      if (this.prob[i] < least || !shown[kind]) continue;
      if (!numbers.has(kind)) numbers.set(kind, new Float32Array(columns * rows));
      numbers.get(kind)[Math.floor(this.y[i] / cell) * columns + Math.floor(this.x[i] / cell)]++;
    }
    // Smooth counts and areas alike, so that tissue next to glass does not look sparser.
    for (const [kind, each] of numbers) numbers.set(kind, smooth(each, rows, columns));
    const densities = smooth(areas, rows, columns).map((area, place) => {
      let sum = 0;
      for (const each of numbers.values()) sum += each[place];
      return area && sum / area;
    });
    const found = densities.filter((density) => density > 0).sort();
    const most = Math.max(floor, found.at(Math.floor(0.99 * found.length)) ?? 0);
    const image = new ImageData(columns, rows);
    for (let place = 0; place < densities.length; place++) {
      if (!densities[place]) continue;
      const mixed = [0, 0, 0];
      let sum = 0;
      for (const [kind, each] of numbers) {
        sum += each[place];
        for (let c = 0; c < 3; c++) mixed[c] += each[place] * colours[kind][c];
      }
      const strength = 0.15 + 0.85 * Math.min(1, densities[place] / most);
      image.data.set([...mixed.map((value) => value / sum), 255 * MOST_OPAQUE * strength], 4 * place);
    }
    return { image, most };
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

export function isWithin(x, y, ring) {
  let within = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i], [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}
