// Where a result's regions are kept: by the server beside the result, or in this browser.

import { request } from "./answer.js";

export class Kept {
  constructor({ view, folder }) {
    this.url = `${folder}/regions.geojson`;
    this.isLocal = view.regions !== "server";
    this.key = `regions of ${view.name}, ${view.width} x ${view.height}`;
    this.writing = Promise.resolve();
  }

  // Features; the browser has changed what a folder has that cannot be written to.
  async read() {
    const mine = this.isLocal && localStorage.getItem(this.key);
    return polygonsOf(mine ? JSON.parse(mine) : await (await request(this.url)).json());
  }

  // One after the other, so that the last one stays.
  write(features) {
    const text = JSON.stringify({ type: "FeatureCollection", features });
    this.writing = this.writing.catch(() => {}).then(() => this.put(text));
    return this.writing;
  }

  async put(text) {
    if (this.isLocal) localStorage.setItem(this.key, text);
    else await request(this.url, { method: "PUT", body: text });
  }
}

// Features of a GeoJSON object that are polygons; a list or a single feature will do, too.
export function polygonsOf(content) {
  const features = Array.isArray(content) ? content : content.features ?? [content];
  return features.map((one) => (one.type === "Feature" ? one : { geometry: one }))
    .filter(({ geometry }) => ["Polygon", "MultiPolygon"].includes(geometry?.type));
}
