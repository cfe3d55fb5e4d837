// The scale bar: a round length, at most so many pixels of the screen.

const LONGEST = 120;

export function scaleBar(perPixel) {
  const power = 10 ** Math.floor(Math.log10(LONGEST * perPixel));
  const length = [5, 2, 1].map((times) => times * power).find((um) => um <= LONGEST * perPixel);
  return { pixels: length / perPixel, text: lengthOf(length, 0) };
}

export function lengthOf(um, digits = 1) {
  return um >= 1000 ? `${(um / 1000).toFixed(digits && 3)} mm` : `${um.toFixed(um < 1 ? 2 : digits)} µm`;
}
