// The table of classes: what is in view, by class and in all, and how reliable each class is.

import { element, number } from "./elements.js";

const UNRELIABLE = 0.4; // classes with a lower F1 are marked

export class Counts {
  constructor({ view, tissue, scale, settings }, toggle) {
    Object.assign(this, { view, tissue, scale, settings });
    const body = element("classes").tBodies[0];
    body.replaceChildren(...view.classes.map((kind) => rowOf(kind, toggle)));
    const isMeasured = view.classes.some(({ f1 }) => f1 != null);
    element("classes").classList.toggle("unmeasured", !isMeasured);
    element("per").textContent = tissue.isKnown
      ? "tissue" : "the whole image (its tissue is not outlined)";
    const artifacts = view.artifacts ?? [];
    element("artifacts").hidden = !artifacts.length;
    element("artifacts").textContent = artifacts.map(areaOf).join(" ");
    const doubtful = view.classes.filter(({ f1 }) => f1 != null && f1 < UNRELIABLE);
    element("doubt").hidden = !doubtful.length;
    element("doubt").textContent = sentenceOf(doubtful);
  }

  // `counts` by class id, on so many pixels of tissue. Returns the number of nuclei of shown classes.
  show(counts, pixels) {
    const mm2 = this.scale.mm2(pixels);
    const { shown } = this.settings;
    let all = 0;
    for (const { id } of this.view.classes) {
      if (shown[id]) all += counts[id];
      element(`class-${id}`).checked = shown[id];
      element(`class-${id}`).closest("tr").classList.toggle("off", !shown[id]);
      element(`count-${id}`).textContent = number(counts[id]);
      element(`density-${id}`).textContent = mm2 ? number(counts[id] / mm2) : "";
    }
    const isAll = this.view.classes.every(({ id }) => shown[id]);
    element("which").textContent = isAll ? "all" : "all shown";
    element("count").textContent = number(all);
    element("density").textContent = mm2 ? number(all / mm2) : "";
    element("area").textContent = mm2.toPrecision(3);
    return all;
  }
}

const MEASURED = "F1 (0 to 1) was measured on PanNuke images that training had not seen: a nucleus counts if it is "
  + "found within 12 px, 3 µm, with the right class. See the model card.";

function sentenceOf(kinds) {
  const named = kinds.map(({ name, f1 }) => `${name} (F1 ${f1.toFixed(2)})`).join(" and ");
  return `! Do not rely on counts of ${named}: most such nuclei are missed or given another class, `
    + `or others are taken for them. ${MEASURED}`;
}

// "Pen covers 0.52 mm² and was left out."
function areaOf({ kind, mm2, is_left_out }) {
  const name = kind[0].toUpperCase() + kind.slice(1);
  return `${name} covers ${mm2.toPrecision(2)} mm² and was ${is_left_out ? "left out" : "segmented"}.`;
}

function rowOf({ id, name, colour, f1 }, toggle) {
  const row = document.createElement("tr");
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.setProperty("--colour", `rgb(${colour.join()})`);
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", checked: true, id: `class-${id}` });
  box.addEventListener("change", () => toggle(id, box.checked));
  const label = document.createElement("label");
  label.append(box, swatch, name);
  label.title = `key ${id}`;
  const cells = [label, "0", "", f1 == null ? "" : f1.toFixed(2)].map((content, i) => {
    const cell = document.createElement(i ? "td" : "th");
    cell.append(content);
    return cell;
  });
  cells[0].scope = "row";
  cells[1].id = `count-${id}`;
  cells[2].id = `density-${id}`;
  if (f1 != null && f1 < UNRELIABLE) {
    cells[3].className = "unreliable";
    cells[3].append(" !");
    cells[3].title = "unreliable: see below the table";
  }
  row.append(...cells);
  return row;
}
