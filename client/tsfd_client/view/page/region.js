// A region, and the same as a GeoJSON feature as QuPath reads and writes it.

import { areaOf } from "./polygon.js";

export function regionOf({ id, geometry, properties }) {
  const rings = polygonsIn(geometry).flat();
  const xs = rings.flat().map(([x]) => x), ys = rings.flat().map(([, y]) => y);
  const least = (values) => values.reduce((a, b) => Math.min(a, b));
  const most = (values) => values.reduce((a, b) => Math.max(a, b));
  const { name, classification } = properties ?? {};
  return {
    id: id ?? crypto.randomUUID(),
    name,
    kind: classification?.name ?? classification?.names?.join(": ") ?? null,
    colour: classification?.color,
    geometry,
    rings,
    box: [least(xs), least(ys), most(xs), most(ys)],
    area: sumOver(geometry, areaOf),
  };
}

export function featureOf({ id, name, kind, colour, geometry }, more = {}) {
  const classification = kind ? { classification: { name: kind, ...colour && { color: colour } } } : {};
  const properties = { objectType: "annotation", name, ...classification, ...more };
  return { type: "Feature", id, geometry, properties };
}

// Sum what `measure` gives for each outline, less what it gives for holes.
export function sumOver(geometry, measure) {
  return polygonsIn(geometry).reduce((sum, [outer, ...holes]) => (
    sum + holes.reduce((rest, hole) => rest - measure(hole), measure(outer))), 0);
}

function polygonsIn({ type, coordinates }) {
  return type === "Polygon" ? [coordinates] : coordinates;
}
