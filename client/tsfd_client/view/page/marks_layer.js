// Marks on the map: a ring in the class's colour between white edges; a cross in it says that there is
// no nucleus, a plus that one is missing. Regions are outlined.

import { canvasOf } from "./elements.js";
import { keyOf } from "./marks.js";

const SIDE = 20; // pixels of the screen, at 40x
const SIZES = [[2.5, 0.35], [10, 0.5], [40, 1], [160, 1.6]]; // by magnification
const RATIO = 2; // of pixels of an icon to those of the screen

export class MarksLayer {
  constructor({ map, scale, view }) {
    const { not_a_nucleus: none, missing_nucleus: missing } = view.marking;
    this.signs = { [keyOf(none.name)]: "×", [keyOf(missing.name)]: "+" };
    Object.assign(this, { map, scale });
    map.addSource("marks", { type: "geojson", data: collection([]) });
    const line = { type: "line", source: "marks", filter: ["==", ["geometry-type"], "LineString"] };
    map.addLayer({ id: "mark-regions-under", ...line, paint: { "line-color": "#fff", "line-width": 6 } });
    map.addLayer({ id: "mark-regions", ...line,
      paint: { "line-color": ["get", "colour"], "line-width": 3, "line-dasharray": [3, 1] } });
    map.addLayer({ id: "marks", type: "symbol", source: "marks",
      filter: ["==", ["geometry-type"], "Point"],
      layout: {
        "icon-image": ["get", "icon"],
        "icon-allow-overlap": true,
        "icon-ignore-placement": true,
        "icon-size": ["interpolate", ["linear"], ["zoom"],
          ...SIZES.flatMap(([times, size]) => [scale.zoomOf(times), size])],
      } });
  }

  draw(marks) {
    const features = marks.flatMap((mark) => {
      const properties = { colour: cssOf(mark.colour), icon: this.iconOf(mark) };
      const geometries = mark.point
        ? [{ type: "Point", coordinates: this.scale.toMap(...mark.point) }]
        : mark.rings.map((ring) => ({ type: "LineString", coordinates: ring.map(([x, y]) => this.scale.toMap(x, y)) }));
      return geometries.map((geometry) => ({ type: "Feature", properties, geometry }));
    });
    this.map.getSource("marks").setData(collection(features));
  }

  iconOf({ key, colour }) {
    const sign = this.signs[key] ?? "";
    const name = `mark ${cssOf(colour)} ${sign}`;
    if (!this.map.hasImage(name)) {
      this.map.addImage(name, pictureOf(cssOf(colour), sign), { pixelRatio: RATIO });
    }
    return name;
  }
}

function pictureOf(colour, sign) {
  const side = SIDE * RATIO;
  const context = canvasOf(side, side).getContext("2d");
  context.translate(side / 2, side / 2);
  if (sign === "×") context.rotate(Math.PI / 4);
  const path = new Path2D();
  if (sign) {
    const arm = side / 2 - 7;
    for (const [x, y] of [[arm, 0], [0, arm]]) {
      path.moveTo(-x, -y);
      path.lineTo(x, y);
    }
  } else {
    path.arc(0, 0, side / 2 - 7, 0, 2 * Math.PI);
  }
  for (const [width, stroke] of [[14, "#111"], [11, "#fff"], [6, sign ? "#111" : colour]]) {
    context.lineWidth = width;
    context.strokeStyle = stroke;
    context.stroke(path);
  }
  return context.getImageData(0, 0, side, side);
}

const cssOf = (colour) => `rgb(${colour.join()})`;

function collection(features) {
  return { type: "FeatureCollection", features };
}
