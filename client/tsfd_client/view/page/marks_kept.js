// Where a result's marks are kept: by the server beside the result, or in this browser. Several pages
// may change them at the same time, so that only changes are sent, one mark or region at a time.

import { request } from "./answer.js";
import { stored } from "./stored.js";

const UNCHANGED = 304; // HTTP: not modified

export class KeptMarks {
  constructor({ view, folder }) {
    this.url = `${folder}/annotations.geojson`;
    this.isLocal = view.regions !== "server";
    this.key = `marks of ${view.name}, ${view.width} x ${view.height}`;
    this.version = null;
  }

  // All features, or null if nothing has changed since they were last read.
  async read() {
    const mine = this.isLocal ? stored(this.key) : null;
    if (mine) {
      const text = localStorage.getItem(this.key);
      if (text === this.version) return null;
      this.version = text;
      return mine;
    }
    if (this.isLocal && this.base) return null;
    const answer = await request(this.url, { headers: { "If-None-Match": this.version ?? "" } });
    if (answer.status === UNCHANGED) return null;
    this.version = answer.headers.get("ETag");
    this.base = (await answer.json()).features;
    return this.base;
  }

  async change(add, remove) {
    if (!this.isLocal) {
      await request(this.url, { method: "POST", body: JSON.stringify({ add, remove }) });
      return;
    }
    const before = stored(this.key) ?? this.base;
    const gone = new Set([...remove, ...add.map(({ id }) => id)]);
    const places = new Set(add.map(placeOf).filter(Boolean));
    const rest = before.filter((each) => !gone.has(each.id) && !places.has(placeOf(each)));
    const text = JSON.stringify([...rest, ...add]);
    localStorage.setItem(this.key, text);
  }
}

// Of a point, null for other features: a place has one mark, the later one.
const placeOf = ({ geometry }) => (geometry?.type === "Point" ? geometry.coordinates.join() : null);
