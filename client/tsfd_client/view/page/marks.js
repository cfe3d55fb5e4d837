// What is marked: points on nuclei, places where one is missing, and regions whose nuclei all are of
// a class. They are features of GeoJSON as QuPath reads and writes them.

import { boxOf, isWithin } from "./polygon.js";

export class Marks {
  constructor(nuclei, { width, height, mpp, marking }) {
    Object.assign(this, { nuclei, width, height, reach: marking.reach_um / mpp, atCentroid: marking.at_um / mpp });
    this.missing = keyOf(marking.missing_nucleus.name);
    this.none = keyOf(marking.not_a_nucleus.name);
    this.byId = new Map();
    this.ofNucleus = new Map(); // by the index of the nucleus
  }

  get all() { return [...this.byId.values()]; }

  // Take what is kept; marks that are known stay as they are.
  replace(features) {
    const marks = features.flatMap((feature) => this.byId.get(feature.id) ?? markOf(feature) ?? []);
    this.byId = new Map(marks.map((mark) => [mark.id, mark]));
    this.find(marks.filter(({ nucleus, rings }) => nucleus === undefined && !rings));
    for (const mark of marks) if (mark.rings) mark.rows ??= this.rowsIn(mark.rings);
    this.ofNucleus = new Map(marks.filter(({ nucleus }) => nucleus >= 0).map((mark) => [mark.nucleus, mark]));
  }

  // `nucleus` is the index of the nucleus that a point is on, -1 for none.
  add(feature, nucleus) {
    const mark = markOf(feature);
    mark.nucleus = nucleus;
    if (mark.rings) mark.rows = this.rowsIn(mark.rings);
    this.byId.set(mark.id, mark);
    if (nucleus >= 0) this.ofNucleus.set(nucleus, mark);
    return mark;
  }

  remove(mark) {
    this.byId.delete(mark.id);
    if (this.ofNucleus.get(mark.nucleus) === mark) this.ofNucleus.delete(mark.nucleus);
  }

  // Nuclei by the key of their label: those with a mark of their own, and others in regions.
  counts() {
    const counts = new Map();
    const count = (key, times) => counts.set(key, (counts.get(key) ?? 0) + times);
    for (const { key, rows } of this.byId.values()) {
      count(key, rows ? rows.filter((row) => !this.ofNucleus.has(row)).length : 1);
    }
    return counts;
  }

  // Indices of all nuclei that are marked, by themselves or in a region.
  marked() {
    return new Set([...this.ofNucleus.keys(), ...this.all.flatMap(({ rows }) => (rows ? [...rows] : []))]);
  }

  // The nearest point within reach of a place, or the smallest region around it.
  at([x, y], reach) {
    const points = this.all.filter(({ point }) => point)
      .map((mark) => [Math.hypot(mark.point[0] - x, mark.point[1] - y), mark])
      .filter(([distance]) => distance <= reach).sort(([a], [b]) => a - b);
    const around = this.all.filter(({ rings }) => rings && isInside(x, y, rings))
      .sort((a, b) => a.rows.length - b.rows.length);
    return points[0]?.[1] ?? around[0] ?? null;
  }

  // Find the nuclei of points that came from elsewhere: the nearest centroid within reach; of those that
  // say "not a nucleus", the one that was marked. One look at each of a million nuclei, most of which
  // are in squares without a point.
  find(marks) {
    for (const mark of marks) mark.nucleus = -1;
    const points = marks.filter(({ key }) => key !== this.missing);
    if (!points.length) return;
    const { nuclei, reach } = this;
    const columns = Math.floor(this.width / reach) + 3;
    const squareOf = (x, y) => (Math.floor(y / reach) + 1) * columns + Math.floor(x / reach) + 1;
    const around = [-1, 0, 1].flatMap((down) => [-1, 0, 1].map((across) => down * columns + across));
    const squares = new Map();
    for (const mark of points) {
      mark.distance = mark.key === this.none ? this.atCentroid : reach;
      for (const step of around) {
        const square = squareOf(...mark.point) + step;
        if (!squares.has(square)) squares.set(square, []);
        squares.get(square).push(mark);
      }
    }
    const isNear = new Uint8Array(columns * (Math.floor(this.height / reach) + 3));
    for (const square of squares.keys()) isNear[square] = 1;
    for (let i = 0; i < nuclei.length; i++) {
      const square = squareOf(nuclei.x[i], nuclei.y[i]);
      if (!isNear[square]) continue;
      for (const mark of squares.get(square)) {
        const distance = Math.hypot(nuclei.x[i] - mark.point[0], nuclei.y[i] - mark.point[1]);
        if (distance <= mark.distance) Object.assign(mark, { distance, nucleus: i });
      }
    }
  }

  rowsIn(rings) {
    const { x, y, length } = this.nuclei;
    const [x0, y0, x1, y1] = boxOf(rings.flat());
    const rows = [];
    for (let i = 0; i < length; i++) {
      if (x[i] < x0 || x[i] > x1 || y[i] < y0 || y[i] > y1) continue;
      if (isInside(x[i], y[i], rings)) rows.push(i);
    }
    return rows;
  }
}

// A point in a hole is within two rings, so not inside.
function isInside(x, y, rings) {
  return rings.reduce((times, ring) => times + isWithin(x, y, ring), 0) % 2 === 1;
}

// A mark; null for a feature that is none, which other programs may have written.
function markOf(feature) {
  const { id, geometry, properties } = feature;
  const said = properties?.classification;
  const label = labelOf(said);
  const { type, coordinates } = geometry ?? {};
  if (!label || !coordinates?.length) return null;
  if (!coordinates.flat(Infinity).every(Number.isFinite)) return null;
  const mark = { id, label, key: keyOf(label), colour: isColour(said.color) ? said.color : undefined, feature };
  if (type === "Point") return { ...mark, point: coordinates.slice(0, 2) };
  if (type === "Polygon") return { ...mark, rings: coordinates };
  if (type === "MultiPolygon") return { ...mark, rings: coordinates.flat() };
  return null;
}

// As tsfd_client.pixels.annotations.class_of reads it.
function labelOf(said) {
  const label = said && typeof said === "object" ? said.name || [said.names ?? []].flat().join(": ") : said;
  return label ? String(label) : null;
}

const isColour = (said) => Array.isArray(said) && said.length === 3
  && said.every((value) => Number.isInteger(value) && value >= 0 && value < 256);

// What labels of one class have in common.
export const keyOf = (label) => label.normalize("NFKC").toLowerCase().trim().replace(/\s+/g, " ");

export function featureOf(geometry, { name, colour }) {
  return {
    type: "Feature",
    id: crypto.randomUUID(),
    geometry,
    properties: {
      objectType: "annotation",
      classification: { name, color: colour },
      time: new Date().toISOString(),
    },
  };
}
