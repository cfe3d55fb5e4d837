// What to mark next: by turns the nucleus of whose class the network is least sure, and the one most
// unlike all that are marked, in class, probability, area and place.

const MOST = 5_000; // nuclei that are considered: a part of each place, as the table is sorted by place
const MOST_MARKED = 1_000; // of which it is computed how unlike the others are
const FEATURES = 4;
const OTHER_CLASS = 1; // as far apart as two corners of the slide

export class Suggestions {
  constructor(nuclei, { width, height }) {
    this.nuclei = nuclei;
    this.turn = 0;
    const step = Math.max(1, Math.ceil(nuclei.length / MOST));
    this.rows = Uint32Array.from({ length: Math.ceil(nuclei.length / step) }, (_, i) => i * step);
    this.scales = [1 / width, 1 / height, 1 / 100, 1 / Math.log(20)];
    this.features = new Float32Array(this.rows.length * FEATURES);
    this.rows.forEach((row, i) => this.features.set(this.featuresOf(row), i * FEATURES));
    this.apart = new Float32Array(this.rows.length).fill(Infinity); // from the most alike that is known
    this.isKnown = new Set();
  }

  // Take the indices of nuclei that are marked; of very many, a part tells what is like them.
  learn(marked) {
    const others = [...marked].filter((row) => !this.isKnown.has(row));
    const every = Math.ceil(others.length / MOST_MARKED);
    others.forEach((row, i) => {
      if (i % every === 0) this.know(row);
      else this.isKnown.add(row);
    });
  }

  featuresOf(row) {
    const { x, y, prob, area } = this.nuclei;
    return [x[row], y[row], prob[row], Math.log(1 + area[row] / 10)].map((value, i) => value * this.scales[i]);
  }

  // From now on, others are to be unlike this one, too.
  know(row) {
    this.isKnown.add(row);
    const mine = this.featuresOf(row), kind = this.nuclei.class[row];
    for (let i = 0; i < this.rows.length; i++) {
      let squares = this.nuclei.class[this.rows[i]] === kind ? 0 : OTHER_CLASS;
      for (let k = 0; k < FEATURES; k++) squares += (this.features[i * FEATURES + k] - mine[k]) ** 2;
      if (squares < this.apart[i]) this.apart[i] = squares;
    }
  }

  // The index of a nucleus and why it; null if all are marked.
  next() {
    const left = [...this.rows.keys()].filter((i) => !this.isKnown.has(this.rows[i]));
    if (!left.length) return null;
    const isUnsure = this.turn++ % 2 === 0;
    const { prob } = this.nuclei;
    const best = isUnsure ? this.leastSure(left) : left.reduce((a, b) => (this.apart[b] > this.apart[a] ? b : a));
    const row = this.rows[best];
    this.know(row);
    return { row, why: isUnsure ? `least sure, ${prob[row]} %` : "unlike those marked" };
  }

  // Among the half that is less like those known, so that not all are of one place and one class.
  leastSure(left) {
    const middle = left.map((i) => this.apart[i]).sort((a, b) => a - b)[Math.floor(left.length / 2)];
    const probability = (i) => this.nuclei.prob[this.rows[i]];
    return left.filter((i) => this.apart[i] >= middle)
      .reduce((a, b) => (probability(b) < probability(a) ? b : a));
  }
}
