// The map of a slide: its pixels, and empty sources for what lies on them.

import * as maplibre from "./vendor/maplibre-gl.js";

maplibre.setWorkerUrl(new URL("vendor/maplibre-gl-worker.js", import.meta.url).href);
maplibre.addProtocol("pmtiles", new pmtiles.Protocol().tile);

// `here` is the absolute address of the result's files; densities are drawn below the zoom `near`.
export function makeMap({ view, here, scale, near, overlay }) {
  const [minZoom, maxZoom] = [Math.min(0, view.full - 6) - 1, view.full + 4];
  const map = new maplibre.Map({
    container: "map",
    style: styleOf(view, here, scale, near, overlay.density.picture),
    attributionControl: false,
    renderWorldCopies: false,
    pitchWithRotate: false,
    touchPitch: false,
    keyboard: false,
    doubleClickZoom: false,
    minZoom,
    maxZoom,
    fadeDuration: 0,
    // Let the slide's edges reach the middle.
    transformConstrain: (center, zoom) => ({ center, zoom: Math.min(Math.max(zoom, minZoom), maxZoom) }),
  });
  map.getCanvas().setAttribute("aria-label", "Slide");
  return map;
}

function styleOf(view, here, scale, near, densities) {
  const slide = view.pixels === "pmtiles"
    ? { url: `pmtiles://${here}slide.pmtiles` }
    : { tiles: [`${here}tiles/{z}/{x}/{y}.jpg`] };
  const everywhere = scale.corners([0, 0, view.width, view.height]);
  const sources = {
    density: { type: "canvas", canvas: densities, animate: false, coordinates: everywhere },
    tissue: { type: "geojson", data: linesOf(view.tissue ?? [], scale) },
    artifacts: { type: "geojson", data: artifactsOf(view.artifacts ?? [], scale) },
    regions: { type: "geojson", data: linesOf([], scale) },
    region: { type: "geojson", data: linesOf([], scale) },
    ruler: { type: "geojson", data: linesOf([], scale) },
    place: { type: "geojson", data: linesOf([], scale) },
  };
  if (view.pixels) {
    sources.slide = { type: "raster", tileSize: 512, minzoom: 0, maxzoom: view.full, ...slide };
  }
  return {
    version: 8,
    sources,
    layers: [
      { id: "glass", type: "background", paint: { "background-color": "#fff" } },
      ...(view.pixels ? [{ id: "slide", type: "raster", source: "slide" }] : []),
      { id: "density", type: "raster", source: "density", maxzoom: Math.max(0, near),
        layout: { visibility: "none" }, paint: { "raster-resampling": "linear" } },
      { id: "tissue", type: "line", source: "tissue",
        paint: { "line-color": "#00963c", "line-width": 1.5 } },
      { id: "artifacts", type: "line", source: "artifacts",
        paint: { "line-color": ["get", "colour"], "line-width": 1.5 } },
      ...lines("regions", {}),
      ...lines("region", { "line-dasharray": [2, 1] }),
      ...lines("ruler", {}),
      ...[[11, 6, "#111"], [11, 3, "#fff"]].map(([radius, width, colour], i) => ({
        id: `place-${i}`, type: "circle", source: "place", ...(near > 0 ? { maxzoom: near } : {}),
        layout: { visibility: near > 0 ? "visible" : "none" },
        paint: { "circle-radius": radius, "circle-opacity": 0, "circle-stroke-width": width,
          "circle-stroke-color": colour },
      })),
    ],
  };
}

// Dark on light, to be seen on any ground.
function lines(source, paint) {
  const line = { type: "line", source };
  return [
    { id: `${source}-under`, ...line, paint: { "line-color": "#fff", "line-width": 5 } },
    { id: source, ...line, paint: { "line-color": "#111", "line-width": 2, ...paint } },
  ];
}

// Convert lines in pixels of level 0 to GeoJSON for the map.
export function linesOf(lines, scale) {
  return collection(lines.map((line) => ({
    type: "LineString", coordinates: line.map(([x, y]) => scale.toMap(x, y)),
  })));
}

function artifactsOf(artifacts, scale) {
  const features = artifacts.flatMap(({ colour, outlines }) => {
    const properties = { colour: `rgb(${colour.join()})` };
    return linesOf(outlines, scale).features.map((line) => ({ ...line, properties }));
  });
  return { type: "FeatureCollection", features };
}

export function pointOf(place, scale) {
  return collection(place ? [{ type: "Point", coordinates: scale.toMap(...place) }] : []);
}

function collection(geometries) {
  const features = geometries.map((geometry) => ({ type: "Feature", properties: {}, geometry }));
  return { type: "FeatureCollection", features };
}
