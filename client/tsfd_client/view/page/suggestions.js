// What to mark next: by turns a nucleus of whose class the network is hardly sure, one unlike all that are
// marked, in class, probability, area and place, and one of which another result says something else.
// Which of the best it is, is left to chance: people who mark the same slide are to see different ones.

const MOST = 5_000; // nuclei that are considered: a part of each place, as the table is sorted by place
const MOST_MARKED = 1_000; // of which it is computed how unlike the others are
const FEATURES = 4;
const OTHER_CLASS = 1; // as far apart as two corners of the slide
const BEST = 0.01; // share of the nuclei that are as good as the best

export class Suggestions {
  constructor(nuclei, { width, height, classes }) {
    Object.assign(this, { nuclei, classes });
    this.turn = 0;
    const step = Math.max(1, Math.ceil(nuclei.length / MOST));
    this.rows = shuffled(Uint32Array.from({ length: Math.ceil(nuclei.length / step) }, (_, i) => i * step));
    this.changes = [];
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

  // Take what another result says: `changes` are rows for each class there, null for no nucleus.
  differ({ other, changes }) {
    Object.assign(this, { other, changes });
  }

  // The index of a nucleus and why it; null if all are marked.
  next() {
    const ways = [() => this.leastSure(), () => this.unlike(), () => this.differing()];
    for (let i = 0; i < ways.length; i++) {
      const found = ways[this.turn++ % ways.length]();
      if (!found) continue;
      this.know(found.row);
      return found;
    }
    return null;
  }

  left() {
    return [...this.rows.keys()].filter((i) => !this.isKnown.has(this.rows[i]));
  }

  // Among the half that is less like those known, so that not all are of one place and one class.
  leastSure() {
    const left = this.left(), { prob } = this.nuclei;
    const middle = left.map((i) => this.apart[i]).sort((a, b) => a - b)[Math.floor(left.length / 2)];
    const row = this.oneOf(left.filter((i) => this.apart[i] >= middle), (i) => -prob[this.rows[i]]);
    return row == null ? null : { row, why: `hardly sure, ${prob[row]} %` };
  }

  unlike() {
    const row = this.oneOf(this.left(), (i) => this.apart[i]);
    return row == null ? null : { row, why: "unlike those marked" };
  }

  // Each kind of change by turns, so that frequent ones do not hide the others.
  differing() {
    for (let i = 0; i < this.changes.length; i++) {
      const change = this.changes.shift();
      this.changes.push(change);
      const rows = change.rows.filter((row) => !this.isKnown.has(row));
      if (!rows.length) continue;
      const row = rows[Math.floor(Math.random() * rows.length)];
      const { name } = this.classes.find(({ id }) => id === this.nuclei.class[row]);
      return { row, why: `${name} here, ${change.class ?? "no nucleus"} in ${this.other}` };
    }
    return null;
  }

  // The row of one of the best candidates, of which there may be none.
  oneOf(candidates, score) {
    const best = candidates.map((i) => [score(i), i]).sort(([a], [b]) => b - a || 0);
    const chance = Math.random() * Math.ceil(best.length * BEST);
    return best.length ? this.rows[best[Math.floor(chance)][1]] : null;
  }
}

function shuffled(values) {
  for (let i = values.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [values[i], values[j]] = [values[j], values[i]];
  }
  return values;
}
