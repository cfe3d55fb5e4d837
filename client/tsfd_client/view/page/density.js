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
  }

  // Draw the density of the classes for which `kinds` is true.
  draw(map, nuclei, kinds, least) {
    const { view, cell, cells } = this;
    const values = nuclei.density(cells, cell, kinds, least);
    const perMm2 = 1 / this.scale.mm2(1);
    const found = values.filter((value) => value > 0).sort();
    const most = Math.max(SPARSE, perMm2 * (found.at(Math.floor(0.99 * found.length)) ?? 0));
    const step = roundUp(most / STEPS);
    const zoom = Math.min(1, FINEST / Math.max(view.width, view.height));
    const picture = canvasOf(Math.ceil(view.width * zoom), Math.ceil(view.height * zoom));
    const context = picture.getContext("2d");
    const per = 1 / (cell * zoom); // squares per pixel of the picture
    const steps = stepsOf(values, cells, picture, per, perMm2 / step);
    context.putImageData(steps, 0, 0);
    context.globalCompositeOperation = "destination-in"; // nothing on glass
    context.drawImage(this.mask, 0, 0, picture.width, picture.height);
    map.getSource("density").updateImage({
      url: picture.toDataURL(),
      coordinates: this.scale.corners([0, 0, view.width, view.height]),
    });
    this.describe(step);
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
  const at = (row, column) => values[row * columns + column];
  for (let y = 0, place = 0; y < height; y++) {
    const v = Math.min(Math.max((y + 0.5) * per - 0.5, 0), rows - 1);
    const row = Math.floor(v), next = Math.min(row + 1, rows - 1), dv = v - row;
    for (let x = 0; x < width; x++, place += 4) {
      const u = Math.min(Math.max((x + 0.5) * per - 0.5, 0), columns - 1);
      const column = Math.floor(u), right = Math.min(column + 1, columns - 1), du = u - column;
      const density = (1 - dv) * ((1 - du) * at(row, column) + du * at(row, right))
        + dv * ((1 - du) * at(next, column) + du * at(next, right));
      if (!density) continue;
      const step = Math.min(STEPS - 1, Math.floor(density * perStep));
      image.data.set([...COLOURS[step], 255 * OPACITIES[step]], place);
    }
  }
  return image;
}
