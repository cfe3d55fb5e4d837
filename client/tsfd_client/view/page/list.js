// The list of results: sorted, filtered and searched here, as it fits into memory.

import { element, make, number } from "./elements.js";

const REFRESH = 5000; // milliseconds

const ORDERS = {
  name: { text: "name", by: (a, b) => byName(a, b) },
  nuclei: { text: "most nuclei", by: (a, b) => descending(a.nuclei, b.nuclei) },
  density: { text: "densest", by: (a, b) => descending(density(a), density(b)) },
  area: { text: "largest", by: (a, b) => descending(a.mm2, b.mm2) },
};
const STATES = ["done", "running", "stopped", "failed", "damaged"];
const names = new Intl.Collator("en", { numeric: true });

export class List {
  constructor() {
    this.results = [];
    this.cards = new Map(); // by name: an entry's text and what shows it
    element("sort").replaceChildren(
      ...Object.entries(ORDERS).map(([name, { text }]) => new Option(text, name)));
    for (const id of ["search", "sort", "state", "release", "warned"]) {
      element(id).addEventListener("input", () => this.draw());
    }
  }

  // Show what `read` gives, again and again if that may change.
  async show(read, isOver) {
    document.title = "Nuclei";
    try {
      const { results, use, changes } = await read();
      if (isOver()) return;
      this.changes = changes;
      element("unread").hidden = true;
      const text = JSON.stringify(results);
      if (text !== this.text) { // a choice that is open stays open
        Object.assign(this, { results, text });
        this.offer();
        this.draw();
      }
      for (const place of document.querySelectorAll(".use")) place.textContent = use;
    } catch (error) {
      if (isOver()) return;
      element("unread").textContent = error.message;
      element("unread").hidden = false;
    }
    if (this.left) window.scrollTo(0, this.left);
    this.left = 0;
    clearTimeout(this.later);
    if (this.changes) {
      this.later = setTimeout(() => isOver() || this.show(read, isOver), REFRESH);
    }
  }

  hide() {
    clearTimeout(this.later);
    this.left = window.scrollY;
  }

  // Offer only what there is to choose from.
  offer() {
    const states = STATES.filter((state) => this.results.some((result) => result.state === state));
    const releases = new Set(this.results.map(({ release }) => release).filter(Boolean));
    fill(element("state"), "any state", states);
    fill(element("release"), "any release", [...releases].sort(names.compare));
    element("choices").hidden = this.results.length < 2;
  }

  draw() {
    const chosen = this.chosen();
    const focused = document.activeElement;
    element("results").replaceChildren(...chosen.map((result) => this.card(result)));
    if (focused.isConnected) focused.focus({ preventScroll: true }); // a card that was taken out loses it
    const all = this.results.length;
    element("found").textContent = chosen.length === all
      ? `${number(all)} results` : `${number(chosen.length)} of ${number(all)} results`;
    element("none").hidden = all > 0;
  }

  chosen() {
    const value = (id) => element(id).value;
    const words = value("search").toLowerCase().split(/\s+/).filter(Boolean);
    const [state, release, warned] = [value("state"), value("release"), element("warned").checked];
    return this.results.filter((result) => {
      const text = `${result.name} ${result.image ?? ""}`.toLowerCase();
      return words.every((word) => text.includes(word))
        && (!state || result.state === state)
        && (!release || result.release === release)
        && (!warned || result.warnings?.length || result.problem);
    }).sort((a, b) => ORDERS[value("sort")].by(a, b) || byName(a, b));
  }

  // Cards are kept, so that their pictures are not read again when the order changes.
  card(result) {
    const text = JSON.stringify(result);
    const known = this.cards.get(result.name);
    if (known?.text === text) return known.card;
    const card = cardOf(result);
    this.cards.set(result.name, { text, card });
    return card;
  }
}

function cardOf(result) {
  const link = make("a", { href: `#${encodeURIComponent(result.name)}` });
  const picture = make("figure", {}, "no picture");
  if (result.state === "done") {
    const image = make("img", { alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => picture.replaceChildren("no picture"));
    image.src = `data/${encodeURIComponent(result.name)}/thumbnail.jpg`;
    picture.replaceChildren(image);
  }
  const text = make("div", {}, make("b", {}, result.name));
  if (result.state === "done") {
    text.append(
      make("small", {}, result.compares ? `${number(result.nuclei)} nuclei differ` : figures(result)),
      bar(result),
      make("small", { className: "release" }, result.compares ? "comparison" : result.release),
      ...result.warnings.map((warning) => (
        make("small", { className: "problem", title: warning }, `⚠ ${warning}`))),
    );
  } else {
    text.append(
      make("small", { className: `state ${result.state}` }, result.state),
      make("small", { className: "problem" }, result.problem));
  }
  link.append(picture, text);
  return make("li", {}, link);
}

function figures({ nuclei, mm2 }) {
  return [
    `${number(nuclei)}\u00a0nuclei`,
    mm2 ? `${Number(mm2.toPrecision(2))}\u00a0mm²` : null,
    mm2 ? `${number(nuclei / mm2)}\u00a0per\u00a0mm²` : null,
  ].filter(Boolean).join(", ");
}

// The classes' shares.
function bar({ classes }) {
  const shares = classes.filter((kind) => kind.nuclei);
  const all = shares.reduce((sum, kind) => sum + kind.nuclei, 0);
  const told = shares.map((kind) => `${kind.name} ${Math.round((100 * kind.nuclei) / all)} %`);
  const whole = make("span", { className: "shares", title: told.join("\n") });
  whole.setAttribute("role", "img");
  whole.setAttribute("aria-label", told.join(", "));
  for (const kind of shares) {
    const part = make("span");
    part.style.flexGrow = kind.nuclei;
    part.style.background = `rgb(${kind.colour.join()})`;
    whole.append(part);
  }
  return whole;
}

function fill(select, any, values) {
  const chosen = select.value;
  select.replaceChildren(new Option(any, ""), ...values.map((value) => new Option(value)));
  select.value = values.includes(chosen) ? chosen : "";
  select.hidden = values.length < 2;
}

const density = ({ nuclei, mm2 }) => (mm2 ? nuclei / mm2 : undefined);
const descending = (a, b) => (b ?? -1) - (a ?? -1);
const byName = (a, b) => names.compare(a.name, b.name);
