// Densities from afar: nuclei per mm² of tissue in steps of one scale of colours, as on a map of
// heights, and the legend that gives their numbers.

import { canvasOf, element, number, pictureOf } from "./elements.js";

const CELL_UM = 60; // side of the squares in which densities are counted
const FINEST = 1500; // pixels: longer side of the picture of densities
const SPARSE = 500; // nuclei per mm²: the scale always reaches at least this far
const STEPS = 5;
// Lighter is less, for every kind of colour vision; the tissue under it is drawn in grey.
const COLOURS = [[254, 240, 170], [168, 219, 163], [80, 183, 176], [33, 120, 180], [44, 30, 120]];
const OPACITIES = [0.35, 0.5, 0.6, 0.65, 0.7];

export class Density {
  constructor({ view, tissue, scale }) {
    Object.assign(this, { view, tissue, scale });
    this.cell = Math.max(CELL_UM / view.mpp, Math.max(view.width, view.height) / 1000);
    this.cells = tissue.areas(this.cell);
    this.mask = pictureOf(tissue.image());
    const zoom = Math.min(1, FINEST / Math.max(view.width, view.height));
    this.picture = canvasOf(Math.ceil(view.width * zoom), Math.ceil(view.height * zoom));
    this.per = 1 / (this.cell * zoom); // squares per pixel of the picture
  }

  // Compute the density of the classes for which `kinds` is true.
  draw(nuclei, kinds, least) {
    const { cell, cells } = this;
    const values = nuclei.density(cells, cell, kinds, least);
    const perMm2 = 1 / this.scale.mm2(1);
    const found = values.filter((value) => value > 0).sort();
    const most = Math.max(SPARSE, perMm2 * (found.at(Math.floor(0.99 * found.length)) ?? 0));
    const step = roundUp(most / STEPS);
    const { picture, mask } = this;
    const context = picture.getContext("2d");
    context.globalCompositeOperation = "source-over";
    context.putImageData(stepsOf(values, cells, picture, this.per, perMm2 / step), 0, 0);
    context.globalCompositeOperation = "destination-in"; // nothing on glass
    context.drawImage(mask, 0, 0, picture.width, picture.height);
    this.isNew = true;
    this.describe(step);
  }

  // Have the map, on which densities are visible, take the picture if there is a new one.
  show(map) {
    if (!this.isNew) return;
    this.isNew = false;
    const source = map.getSource("density");
    source.play();
    map.once("render", () => source.pause());
  }

  describe(step) {
    element("steps").replaceChildren(...COLOURS.map((colour, i) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "step";
      // As it looks on glass.
      const [share, glass] = [OPACITIES[i], 255 * (1 - OPACITIES[i])];
      swatch.style.background = `rgb(${colour.map((value) => Math.round(share * value + glass)).join()})`;
      item.append(swatch, i < STEPS - 1 ? `${number(i * step)} to ${number((i + 1) * step)}`
        : `${number(i * step)} and more`);
      return item;
    }).reverse());
    element("unit").textContent = `nuclei per mm² of ${this.tissue.isKnown ? "tissue" : "the image"}`;
  }
}

// The smallest round number that is not below a value.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((times) => times * power >= value) * power;
}

// Interpolate between the squares' centres, so that steps have smooth borders.
function stepsOf(values, { rows, columns }, { width, height }, per, perStep) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(new Uint8Array(
    COLOURS.flatMap((colour, i) => [...colour, 255 * OPACITIES[i]])).buffer);
  const across = Array.from({ length: width }, (_, x) => between(x, per, columns));
  const line = new Float32Array(columns);
  for (let y = 0, place = 0; y < height; y++) {
    const [row, below, down] = between(y, per, rows);
    for (let column = 0; column < columns; column++) {
      line[column] = (1 - down) * values[row * columns + column] + down * values[below * columns + column];
    }
    for (let x = 0; x < width; x++, place++) {
      const [column, next, right] = across[x];
      const density = (1 - right) * line[column] + right * line[next];
      if (density) pixels[place] = colours[Math.min(STEPS - 1, Math.floor(density * perStep))];
    }
  }
  return image;
}

// The two of `count` squares between whose centres a pixel is, and how far from the first.
function between(pixel, per, count) {
  const place = Math.min(Math.max((pixel + 0.5) * per - 0.5, 0), count - 1);
  const first = Math.floor(place);
  return [first, Math.min(first + 1, count - 1), place - first];
}
