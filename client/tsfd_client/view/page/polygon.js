// Polygons: open rings of [x, y].

export function isWithin(x, y, ring) {
  let within = false;
  let before = ring[ring.length - 1];
  for (let i = 0; i < ring.length; i++) { // without destructuring: this is called a million times
    const here = ring[i];
    if (here[1] > y !== before[1] > y
        && x < ((before[0] - here[0]) * (y - here[1])) / (before[1] - here[1]) + here[0]) within = !within;
    before = here;
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
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of ring) {
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
  }
  return box;
}

// Whether a ring is a box with upright sides, to a hundredth of a pixel.
export function isBox(ring) {
  return isRectangle(ring) && (near(ring[0][0], ring[1][0]) || near(ring[0][1], ring[1][1]));
}

// A function of x and y that is fast for rectangles, such as views of the map.
export function testOf(ring) {
  if (!isRectangle(ring)) return (x, y) => isWithin(x, y, ring);
  const [[x0, y0], [x1, y1], , [x3, y3]] = ring;
  const [ux, uy, vx, vy] = [x1 - x0, y1 - y0, x3 - x0, y3 - y0]; // its sides
  const [uu, vv] = [ux * ux + uy * uy, vx * vx + vy * vy];
  return (x, y) => {
    const u = (x - x0) * ux + (y - y0) * uy, v = (x - x0) * vx + (y - y0) * vy;
    return u >= 0 && u < uu && v >= 0 && v < vv;
  };
}

function isRectangle(ring) {
  if (ring.length !== 4) return false;
  const [[x0, y0], [x1, y1], [x2, y2], [x3, y3]] = ring;
  const [ux, uy, vx, vy] = [x1 - x0, y1 - y0, x3 - x0, y3 - y0];
  const skew = (ux * vx + uy * vy) / Math.sqrt(Math.hypot(ux, uy) * Math.hypot(vx, vy));
  return near(x1 + x3, x0 + x2) && near(y1 + y3, y0 + y2) && near(skew, 0);
}

function near(a, b) {
  return Math.abs(a - b) < 0.01;
}
