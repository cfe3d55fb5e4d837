// What nuclei can be marked as: the release's classes, those that marks have and those typed here, and
// two labels that are no class.

import { keyOf } from "./marks.js";
import { freeColour } from "./palette.js";
import { stored } from "./stored.js";

const TYPED = "classes typed"; // in this browser, for all results of this address

export class Kinds {
  constructor({ classes, comparison, marking }) {
    this.palette = marking.palette;
    this.background = marking.background;
    this.none = { ...marking.not_a_nucleus, isNone: true };
    this.missing = { ...marking.missing_nucleus, isMissing: true };
    this.classes = [];
    if (comparison) comparison.classes.forEach((name, i) => i && this.know(name, comparison.colours?.[i]));
    else this.classes = classes.map(({ name, colour }) => ({ name, colour }));
    this.own = new Set(this.classes.map(({ name }) => keyOf(name))); // of the release
    for (const { name, colour } of this.typed()) this.know(name, colour);
  }

  get all() { return [...this.classes, this.none, this.missing]; }

  typed() {
    const kept = stored(TYPED);
    return Array.isArray(kept) ? kept : [];
  }

  find(name) {
    return this.all.find((kind) => keyOf(kind.name) === keyOf(name));
  }

  isBackground(name) {
    return keyOf(name) === this.background;
  }

  freeColour() {
    return freeColour(this.palette, this.classes.map(({ colour }) => colour));
  }

  // The class of a name, which is added if it is new.
  know(name, colour) {
    const known = this.find(name);
    if (known) return known;
    const kind = { name: name.normalize("NFC").trim().replace(/\s+/g, " "), colour: colour ?? this.freeColour() };
    this.classes.push(kind);
    return kind;
  }

  type(name, colour) {
    const kind = this.know(name, colour);
    if (this.classes.includes(kind) && !this.own.has(keyOf(name))) {
      localStorage.setItem(TYPED, JSON.stringify([...this.typed().filter((each) => each.name !== kind.name), kind]));
    }
    return kind;
  }

  forget({ name }) {
    this.classes = this.classes.filter((kind) => kind.name !== name);
    localStorage.setItem(TYPED, JSON.stringify(this.typed().filter((kind) => kind.name !== name)));
  }
}
