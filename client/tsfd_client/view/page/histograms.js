// Histograms of the nuclei that are shown and in view.

import { element, number } from "./elements.js";

const AREAS = { bins: 25, width: 10, unit: "µm²" }; // the last bin holds all that are larger
const PROBS = { bins: 20, width: 5, unit: "%" };
const HEIGHT = 48;

export function drawHistograms(nuclei, ring, settings) {
  const areas = new Uint32Array(AREAS.bins), probs = new Uint32Array(PROBS.bins);
  nuclei.within(ring, settings.least, (i) => {
    if (!settings.shown[nuclei.class[i]]) return;
    areas[Math.min(AREAS.bins - 1, Math.floor(nuclei.area[i] / 10 / AREAS.width))]++;
    probs[Math.min(PROBS.bins - 1, Math.floor(nuclei.prob[i] / PROBS.width))]++;
  });
  draw("areas", areas, AREAS);
  draw("probs", probs, PROBS);
}

function draw(id, counts, { bins, width, unit }) {
  const most = Math.max(1, ...counts);
  const picture = element(id);
  picture.setAttribute("viewBox", `0 0 ${bins} ${HEIGHT}`);
  picture.replaceChildren(...Array.from(counts, (count, i) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = (HEIGHT * count) / most;
    const values = { x: i + 0.06, y: HEIGHT - height, width: 0.88, height };
    for (const [name, value] of Object.entries(values)) bar.setAttribute(name, value);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    const end = i === bins - 1 && id === "areas" ? "and more" : `to ${(i + 1) * width}`;
    title.textContent = `${i * width} ${end} ${unit}: ${number(count)}`;
    bar.append(title);
    return bar;
  }));
  const all = counts.reduce((sum, count) => sum + count, 0);
  element(`${id}-median`).textContent = all ? `median ${medianOf(counts, all, width)} ${unit}` : "";
}

function medianOf(counts, all, width) {
  let sum = 0;
  const bin = counts.findIndex((count) => (sum += count) >= all / 2);
  return `${bin * width} to ${(bin + 1) * width}`;
}
