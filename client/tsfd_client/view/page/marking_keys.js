// Keys of marking, while its section is open.

import { element, make } from "./elements.js";

const LINES = [
  ["Shift+1 … 9", "mark nuclei as a class, while Mark nuclei is open"],
  ["x and a", "mark as no nucleus, or where one is missing"],
  ["g", "draw a region whose nuclei all are of the class"],
  ["j", "suggest a nucleus to mark, or the next one"],
  ["y", "agree with the class of the suggested nucleus"],
  ["e", "remove marks"],
  ["Ctrl+Z", "undo the last mark"],
];

// `actions` are by key; `choose` takes the place of a class, from 0. Each says whether it did something.
export function listenToMarkingKeys(isOpen, actions, signal) {
  element("shortcuts").append(...LINES.flatMap(([key, what]) => [
    make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]));
  window.addEventListener("keydown", (event) => {
    const { ctrlKey, metaKey, altKey, shiftKey, code, key, target } = event;
    if (!isOpen() || element("help").open || altKey) return;
    if (target.matches("select, input:not([type=checkbox])")) return;
    const digit = /^Digit([1-9])$/.exec(code)?.[1];
    if (ctrlKey || metaKey) {
      if (key.toLowerCase() !== "z" || shiftKey) return;
      actions.undo();
    } else if (shiftKey && digit) actions.choose(Number(digit) - 1);
    else if (key === "Escape") {
      actions.cancel();
      return; // others end what they do, too
    } else if (!shiftKey && actions[key]) actions[key]();
    else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, { signal, capture: true });
}
