// Where a result's regions are kept: by the server beside the result, or in this browser. Several pages
// may change them at the same time.

import { request } from "./answer.js";
import { featureOf, regionOf } from "./region.js";
import { stored } from "./stored.js";

const CHANGED = 412; // HTTP: precondition failed

export class Kept {
  constructor({ view, folder }) {
    this.url = `${folder}/regions.geojson`;
    this.isLocal = view.regions !== "server";
    this.key = `regions of ${view.name}, ${view.width} x ${view.height}`;
  }

  // Features; the browser has changed what a folder has that cannot be written to.
  async read() {
    const mine = this.isLocal ? stored(this.key) : null;
    if (this.isLocal) this.version = localStorage.getItem(this.key);
    if (mine) {
      this.known = normal(mine);
    } else {
      const answer = await request(this.url);
      if (!this.isLocal) this.version = answer.headers.get("ETag");
      this.known = normal(await answer.json());
    }
    return this.known;
  }

  // Returns what is kept now: with what another page has changed since it was read.
  async write(features) {
    while (!await this.put(features)) {
      const before = this.known;
      features = merged(before, features, await this.read());
    }
    this.known = features;
    return features;
  }

  // Returns false, and writes nothing, if another page has written since.
  async put(features) {
    const text = JSON.stringify({ type: "FeatureCollection", features });
    if (this.isLocal) {
      if (localStorage.getItem(this.key) !== this.version) return false;
      localStorage.setItem(this.key, text);
      this.version = text;
      return true;
    }
    try {
      const answer = await request(this.url,
        { method: "PUT", body: text, headers: { "If-Match": this.version } });
      this.version = answer.headers.get("ETag");
      return true;
    } catch (error) {
      if (error.status === CHANGED) return false;
      throw error;
    }
  }
}

// Features with what two pages have changed in `before`, by id; if it is the same feature, as in `mine`.
export function merged(before, mine, theirs) {
  const [was, is] = [before, mine].map((features) => (
    new Map(features.map((feature) => [feature.id, JSON.stringify(feature)]))));
  const others = new Map(theirs.map((feature) => [feature.id, feature]));
  const kept = mine.map((feature) => (
    is.get(feature.id) === was.get(feature.id) ? others.get(feature.id) : feature));
  const added = theirs.filter(({ id }) => !was.has(id) && !is.has(id));
  return [...kept.filter(Boolean), ...added];
}

function normal(content) {
  return polygonsOf(content).map((feature) => featureOf(regionOf(feature)));
}

// Features of a GeoJSON object that are polygons; a list or a single feature will do, too.
export function polygonsOf(content) {
  const features = Array.isArray(content) ? content : content.features ?? [content];
  return features.map((one) => (one.type === "Feature" ? one : { geometry: one }))
    .filter(({ geometry }) => ["Polygon", "MultiPolygon"].includes(geometry?.type));
}
