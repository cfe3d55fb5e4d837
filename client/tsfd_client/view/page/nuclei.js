// The centroids of all nuclei, in columns: nuclei.bin, written by tsfd_client.view.points.

import { checked } from "./answer.js";

const BYTES = 12; // of a nucleus

export class Nuclei {
  constructor(buffer) {
    this.length = buffer.byteLength / BYTES;
    const n = this.length;
    this.x = new Float32Array(buffer, 0, n);
    this.y = new Float32Array(buffer, 4 * n, n);
    this.area = new Uint16Array(buffer, 8 * n, n); // tenths of a square micrometre
    this.class = new Uint8Array(buffer, 10 * n, n);
    this.prob = new Uint8Array(buffer, 11 * n, n); // per cent
  }

  static async read(url) {
    return new Nuclei(await (await checked(await fetch(url))).arrayBuffer());
  }

  // How many of each class have their centroid in a box and are as sure as wanted.
  count([x0, y0, x1, y1], least) {
    const counts = new Array(6).fill(0);
    for (let i = 0; i < this.length; i++) {
      if (this.x[i] >= x0 && this.x[i] < x1 && this.y[i] >= y0 && this.y[i] < y1
          && this.prob[i] >= least) counts[this.class[i]]++;
    }
    return counts;
  }

  // The same for a polygon, an open ring of pairs.
  countWithin(ring, least) {
    const counts = new Array(6).fill(0);
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

  // A picture of the densities of the classes shown: each square of `cell` pixels in the mixture
  // of their colours, the denser the more opaque.
  density(width, height, cell, shown, colours, least) {
    const columns = Math.ceil(width / cell), rows = Math.ceil(height / cell);
    const numbers = new Uint32Array(columns * rows * 6);
    for (let i = 0; i < this.length; i++) {
      if (this.prob[i] < least || !shown[this.class[i]]) continue;
      const place = Math.floor(this.y[i] / cell) * columns + Math.floor(this.x[i] / cell);
      numbers[6 * place + this.class[i]]++;
    }
    const sums = new Float32Array(columns * rows);
    for (let place = 0; place < sums.length; place++) {
      for (let c = 1; c < 6; c++) sums[place] += numbers[6 * place + c];
    }
    const most = sums.filter((sum) => sum > 0).sort().at(-1 - Math.floor(sums.length / 100)) || 1;
    const image = new ImageData(columns, rows);
    for (let place = 0; place < sums.length; place++) {
      if (!sums[place]) continue;
      for (let channel = 0; channel < 3; channel++) {
        let value = 0;
        for (let c = 1; c < 6; c++) value += numbers[6 * place + c] * (colours[c]?.[channel] ?? 0);
        image.data[4 * place + channel] = value / sums[place];
      }
      image.data[4 * place + 3] = 255 * Math.min(1, 0.15 + (0.85 * sums[place]) / most);
    }
    return image;
  }
}

export function isWithin(x, y, ring) {
  let within = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i], [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}
