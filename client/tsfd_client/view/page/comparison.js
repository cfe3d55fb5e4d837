// A comparison of two results, A and B: its numbers. Its nuclei are the differences, which the panel
// goes through one by one.

import { make, number } from "./elements.js";

// `comparison` is null for a result that is none.
export function showComparison(comparison, panel) {
  panel.hidden = !comparison;
  panel.replaceChildren(...(comparison ? [
    make("h2", { id: "compared-title" }, "Two results compared"),
    make("p", { className: "quiet" }, `A: ${comparison.a}`),
    make("p", { className: "quiet" }, `B: ${comparison.b}`),
    numbers(comparison),
    others(comparison),
    make("p", { className: "quiet" }, "The keys n and p go from difference to difference."),
  ] : []));
}

function numbers({ classes, changes }) {
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const table = make("table", { id: "compared" });
  const head = table.createTHead().insertRow();
  for (const name of ["class", "A", "B", "both", "only A", "only B"]) head.append(make("th", {}, name));
  const body = table.createTBody();
  classes.forEach((name, i) => {
    if (!i) return; // the background
    const values = [sum(changes[i]), sum(changes.map((row) => row[i])), changes[i][i], changes[i][0],
      changes[0][i]];
    body.append(make("tr", {}, make("th", {}, name), ...values.map((value) => make("td", {}, number(value)))));
  });
  return table;
}

// What A and B classify differently, the most frequent first.
function others({ classes, changes }) {
  const found = [];
  changes.forEach((row, i) => row.forEach((times, j) => {
    if (i && j && i !== j && times) found.push([times, `${classes[i]} → ${classes[j]}`]);
  }));
  found.sort(([a], [b]) => b - a);
  const all = number(found.reduce((sum, [times]) => sum + times, 0));
  return make("details", { open: true }, make("summary", {}, `Of another class in B: ${all}`),
    make("ul", { id: "changed" }, ...found.map(([times, text]) => make("li", {}, `${number(times)} ${text}`))));
}

// The class in A and in B of a nucleus, by its row in the table of differences.
export function changeOf({ classes, classes_a: a, classes_b: b }, row) {
  const named = (number) => (number ? classes[number] : "none");
  return `${named(a[row])} → ${named(b[row])}`;
}
