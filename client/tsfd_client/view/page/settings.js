// What the panel's controls say, and the same in an address; what is as at first is left out there.

import { element } from "./elements.js";

const CONTROLS = ["prob", "opacity", "filled", "tissue", "density-of", "order"];

export class Settings {
  constructor(view) {
    this.view = view;
    this.shown = Object.fromEntries(view.classes.map(({ id }) => [id, true]));
    const kinds = view.classes.map(({ id, name }) => new Option(`density: ${name}`, id));
    element("density-of").replaceChildren(
      new Option("dots, or density of all", ""), new Option("density: all shown classes", "all"), ...kinds);
  }

  get least() { return Number(element("prob").value); }

  get opacity() { return Number(element("opacity").value) / 100; }

  get isFilled() { return element("filled").checked; }

  get hasTissue() { return element("tissue").checked; }

  // "" for what suits the view, "all", or a class id.
  get density() { return element("density-of").value; }

  get leastSureFirst() { return element("order").value === "sure"; }

  shows(nuclei, i) {
    return this.shown[nuclei.class[i]] && nuclei.prob[i] >= this.least;
  }

  toAddress() {
    const changed = CONTROLS.map(element).filter((control) => valueOf(control) !== firstOf(control))
      .map((control) => [control.id, valueOf(control)]);
    const hidden = this.view.classes.filter(({ id }) => !this.shown[id]).map(({ id }) => id);
    return hidden.length ? [...changed, ["hidden", hidden.join()]] : changed;
  }

  fromAddress(query) {
    for (const control of CONTROLS.map(element)) {
      const value = query.get(control.id) ?? firstOf(control);
      if (control.type === "checkbox") control.checked = value === "true";
      else control.value = value;
      if (control.selectedIndex === -1) control.value = firstOf(control);
    }
    const hidden = (query.get("hidden") ?? "").split(",");
    for (const id of Object.keys(this.shown)) this.shown[id] = !hidden.includes(id);
  }
}

function valueOf(control) {
  return control.type === "checkbox" ? String(control.checked) : control.value;
}

function firstOf(control) {
  if (control.type === "checkbox") return String(control.defaultChecked);
  return control.options ? control.options[0].value : control.defaultValue;
}
