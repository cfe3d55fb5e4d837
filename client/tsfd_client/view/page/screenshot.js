// What the map shows, as a picture with its scale bar, and the legend of densities if there is one.

import { canvasOf, download, element } from "./elements.js";
import { scaleBar } from "./scale_bar.js";

export function takeScreenshot({ map, name, scale }) {
  // A map's picture exists only while it is being drawn.
  map.once("render", async () => {
    const source = map.getCanvas();
    const canvas = canvasOf(source.width, source.height);
    const context = canvas.getContext("2d");
    context.drawImage(source, 0, 0);
    const ratio = source.width / source.clientWidth;
    context.scale(ratio, ratio);
    addBar(context, source.clientHeight, scale, map.getZoom());
    if (!element("densities").hidden && !element("legend").hidden) addLegend(context, source.clientHeight);
    const content = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    download(content, `${name}.png`);
  });
  map.triggerRepaint();
}

function addBar(context, height, scale, zoom) {
  const { pixels, text } = scaleBar(scale.umAt(zoom));
  const told = `${text}, ${magnified(scale.magnification(zoom))}`;
  context.font = "14px system-ui, sans-serif";
  const width = Math.max(pixels, context.measureText(told).width);
  context.fillStyle = "rgb(255 255 255 / 85%)";
  context.fillRect(12, height - 48, width + 16, 36);
  context.fillStyle = "#111";
  context.fillText(told, 20, height - 30);
  context.fillRect(20, height - 22, pixels, 4);
}

function addLegend(context, height) {
  const steps = [...element("steps").children];
  const title = [element("density-of").selectedOptions[0].text, element("unit").textContent];
  const width = Math.max(...title.map((text) => context.measureText(text).width)) + 16;
  const top = height - 60 - 18 * (steps.length + 2) - 12;
  context.fillStyle = "rgb(255 255 255 / 85%)";
  context.fillRect(12, top, width, 18 * (steps.length + 2) + 12);
  context.fillStyle = "#111";
  title.forEach((text, i) => context.fillText(text, 20, top + 18 * (i + 1)));
  steps.forEach((step, i) => {
    const y = top + 18 * (i + 3);
    context.fillStyle = step.firstChild.style.background;
    context.fillRect(20, y - 12, 20, 14);
    context.fillStyle = "#111";
    context.fillText(step.textContent, 48, y);
  });
}

export function magnified(magnification) {
  return `${Number(magnification.toPrecision(magnification < 10 ? 2 : 3))}x`;
}
