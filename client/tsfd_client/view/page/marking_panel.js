// The panel's section on marking: classes with their counts, tools, and what to mark next.

import { make, number } from "./elements.js";
import { keyOf } from "./marks.js";
import { fromHex, hexOf } from "./palette.js";

const SUGGESTS = "Shows one nucleus after the other: hardly sure ones, those unlike what is marked, and those of "
  + "another class in another result of this slide.";

export class MarkingPanel {
  // `actions`: choose(kind), remove(), type(name, colour), forget(kind), region(), undo(), export(),
  // suggest(), agree().
  constructor(panel, kinds, actions, keptText) {
    Object.assign(this, { panel, kinds, actions });
    this.sum = make("span", { className: "quiet" });
    this.told = make("p", { id: "marking-told" });
    this.told.setAttribute("role", "status");
    this.list = make("ul", { id: "kinds" });
    this.name = make("input", { id: "new-class", placeholder: "new class", maxLength: 60, required: true });
    this.name.setAttribute("aria-label", "name of a new class");
    this.colour = make("input", { type: "color", id: "new-colour" });
    this.colour.setAttribute("aria-label", "colour of the new class");
    const add = make("form", { id: "add-class", onsubmit: (event) => this.add(event) },
      this.name, this.colour, make("button", {}, "Add"));
    const button = (id, text, title, onclick) => make("button", { id, type: "button", title, onclick }, text);
    this.undo = button("undo-mark", "Undo", "Ctrl+Z", actions.undo);
    this.save = button("save-marks", "Export", "as GeoJSON, for QuPath and for others", actions.export);
    const tools = make("div", { className: "buttons" },
      make("button", { id: "mark-region", type: "button", onclick: actions.region,
        title: "draw a region whose nuclei all are of the class: key g" }, "Region ", make("kbd", {}, "g")),
      this.undo, this.save);
    this.next = button("suggest", "", "a nucleus worth marking: key j", actions.suggest);
    this.agree = button("agree", "", "it is of the class that the network says: key y", actions.agree);
    this.why = make("p", { id: "suggested" }); // above the classes, of which one is to be chosen
    this.why.setAttribute("role", "status");
    panel.replaceChildren(make("summary", { id: "marking-title" }, "Mark nuclei ", this.sum), this.why, this.told,
      this.list, add, tools, make("h3", {}, "What next"),
      make("div", { className: "buttons" }, this.next, " ", this.agree), make("p", { className: "quiet" }, SUGGESTS),
      make("p", { className: "quiet", id: "marks-kept" }, keptText));
    this.offerColour();
    this.say("");
    this.suggested(null);
  }

  say(sentence) {
    this.told.textContent = sentence || "Choose a class, then click its nuclei.";
  }

  // A colour that no class has, unless a class is being typed, whose colour may have been chosen.
  offerColour() {
    if (!this.name.value) this.colour.value = hexOf(this.kinds.freeColour());
  }

  add(event) {
    event.preventDefault();
    const name = this.name.value;
    if (!name.trim()) return;
    if (this.kinds.isBackground(name)) {
      this.say(`“${name.trim()}” is what is around nuclei, no class of them: use “${this.kinds.none.name}”, or another name.`);
      return;
    }
    this.actions.type(name, fromHex(this.colour.value));
    this.name.value = "";
    this.name.blur(); // so that keys are shortcuts again
    this.offerColour();
  }

  // `tool` is a kind, "remove" or null; `counts` are nuclei by the key of their label.
  show(tool, counts, canUndo) {
    const all = [...counts.values()].reduce((a, b) => a + b, 0);
    this.sum.textContent = all ? `${number(all)} marked` : "";
    this.undo.disabled = !canUndo;
    this.save.disabled = !all;
    const rows = this.kinds.all.map((kind) => {
      const at = this.kinds.classes.indexOf(kind);
      const key = kind.isNone ? "x" : kind.isMissing ? "a" : at < 9 ? `⇧${at + 1}` : "";
      const count = counts.get(keyOf(kind.name)) ?? 0;
      return this.row(kind.name, key, tool === kind, () => this.actions.choose(kind), { kind, count });
    });
    const remove = this.row("remove a mark", "e", tool === "remove", this.actions.remove, {});
    this.list.replaceChildren(...rows, remove);
  }

  row(name, key, isPressed, onclick, { kind, count }) {
    const sign = make("span", { className: "swatch" }, kind?.isNone ? "×" : kind?.isMissing ? "+" : kind ? "" : "−");
    sign.setAttribute("aria-hidden", "true");
    sign.style.setProperty("--colour", kind && !kind.isNone && !kind.isMissing ? `rgb(${kind.colour.join()})` : "#fff");
    const button = make("button", { type: "button", onclick }, sign, make("span", { className: "name" }, name),
      make("span", { className: "count" }, count ? number(count) : ""), make("kbd", {}, key));
    button.setAttribute("aria-pressed", isPressed);
    const isTyped = kind && !count && this.kinds.classes.includes(kind) && !this.kinds.own.has(keyOf(name));
    return make("li", {}, button, ...(isTyped ? [make("button", { type: "button", className: "forget",
      title: `forget the class ${name}`, onclick: () => this.actions.forget(kind) }, "×")] : []));
  }

  // `suggestion` has `id`, `why` and `says`, what the network says, if that can be agreed with.
  suggested(suggestion) {
    this.next.replaceChildren(suggestion ? "Next " : "Suggest ", make("kbd", {}, "j"));
    this.agree.hidden = !suggestion?.says;
    this.agree.replaceChildren(`Agree: ${suggestion?.says} `, make("kbd", {}, "y"));
    this.why.textContent = suggestion ? `Nucleus ${number(suggestion.id)}: ${suggestion.why}.` : "";
  }
}
