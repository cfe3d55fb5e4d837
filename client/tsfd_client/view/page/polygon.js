// Polygons: open rings of [x, y].

export function isWithin(x, y, ring) {
  let within = false;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    const [xi, yi] = ring[i], [xj, yj] = ring[j];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) within = !within;
  }
  return within;
}

export function areaOf(ring) {
  let twice = 0;
  ring.forEach(([x, y], i) => {
    const [nx, ny] = ring[(i + 1) % ring.length];
    twice += x * ny - nx * y;
  });
  return Math.abs(twice) / 2;
}

export function boxOf(ring) {
  const xs = ring.map(([x]) => x), ys = ring.map(([, y]) => y);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

// Whether a ring is a box with upright sides, to a hundredth of a pixel.
export function isBox(ring) {
  const [x0, y0, x1, y1] = boxOf(ring);
  const near = (a, b) => Math.abs(a - b) < 0.01;
  return ring.length === 4
    && ring.every(([x, y]) => (near(x, x0) || near(x, x1)) && (near(y, y0) || near(y, y1)))
    && areaOf(ring) > 0.99 * (x1 - x0) * (y1 - y0);
}
