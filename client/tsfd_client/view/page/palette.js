// A colour for a class that has none: tsfd_client.classes.labels chooses alike.

// The colour of the palette that is least like those taken, and white; all [red, green, blue].
export function freeColour(palette, taken) {
  const used = [...taken, [255, 255, 255]].map(seen);
  const apart = (colour) => {
    const mine = seen(colour);
    return Math.min(...used.map((other) => Math.hypot(...mine.map((value, i) => value - other[i]))));
  };
  return palette.reduce((best, colour) => (apart(colour) > apart(best) ? colour : best));
}

// Lightness, blue against yellow, and red against green, which counts less because many people do not
// see it.
function seen([red, green, blue]) {
  return [0.3 * red + 0.6 * green + 0.1 * blue, (blue - (red + green) / 2) / 1.5, (red - green) / 2];
}

export const hexOf = (colour) => `#${colour.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
export const fromHex = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
