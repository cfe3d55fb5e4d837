// Shortcuts, and the list of them.

import { element } from "./elements.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 150; // pixels

// `actions` are what keys do: [key, its name in the list, what it does, function].
export function listenToKeys({ map, view, signal }, actions) {
  const lines = [
    ["arrow keys", "move"],
    ["+ and -", "zoom in, out"],
    [view.classes.map(({ id }) => id).filter((id) => id < 10).join(" "), "show or hide a class"],
    ...actions.map(([key, what]) => [key, what]),
    ["drag with the right button, or Ctrl", "rotate"],
    ["two fingers", "zoom and rotate"],
  ];
  element("shortcuts").replaceChildren(...lines.flatMap(([key, what]) => {
    const [term, definition] = [document.createElement("dt"), document.createElement("dd")];
    const cap = document.createElement("kbd");
    cap.textContent = key;
    term.append(cap);
    definition.textContent = what;
    return [term, definition];
  }));
  window.addEventListener("keydown", (event) => {
    const { ctrlKey, metaKey, altKey, key, target } = event;
    if (ctrlKey || metaKey || altKey || element("help").open) return;
    if (target.matches("select, input:not([type=checkbox])")) return;
    const kind = view.classes.find(({ id }) => String(id) === key);
    const action = actions.find(([name]) => name.toLowerCase() === key.toLowerCase());
    if (kind) element(`class-${kind.id}`).click();
    else if (ARROWS[key]) map.panBy(ARROWS[key].map((step) => STEP * step), { duration: 150 });
    else if (key === "+" || key === "=") map.zoomIn({ duration: 150 });
    else if (key === "-") map.zoomOut({ duration: 150 });
    else if (action) action[2]();
    else return;
    event.preventDefault();
  }, { signal });
}
