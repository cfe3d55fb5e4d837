// Show the list of results, or the one named in the address as #result/x/y/zoom, where x and y are
// the centre of the view in pixels of level 0.

import { checked } from "./answer.js";
import { Slide } from "./slide.js";

const element = (id) => document.getElementById(id);
let open = null; // the slide being shown

const read = async (url) => (await checked(await fetch(url))).json();

function entry(result) {
  const link = document.createElement("a");
  link.href = `#${encodeURIComponent(result.name)}`;
  const picture = document.createElement("img");
  picture.alt = "";
  picture.loading = "lazy";
  picture.src = `data/${encodeURIComponent(result.name)}/thumbnail.jpg`;
  const text = document.createElement("div");
  text.append(result.name);
  const small = document.createElement("small");
  small.textContent = result.problem ?? [
    `${result.nuclei.toLocaleString("en")} nuclei`,
    result.mm2 ? `${Number(result.mm2.toPrecision(2))} mm²` : null,
  ].filter(Boolean).join(", ");
  small.classList.toggle("problem", Boolean(result.problem));
  text.append(small);
  link.append(picture, text);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

async function show() {
  const [name, ...place] = location.hash.slice(1).split("/");
  if (open && open.name === decodeURIComponent(name)) {
    open.goTo(place);
    return;
  }
  open?.close();
  open = null;
  element("slide").hidden = !name;
  element("list").hidden = Boolean(name);
  if (name) {
    const folder = `data/${name}`;
    try {
      open = new Slide(await read(`${folder}/view.json`), folder);
      await open.show(place);
    } catch (error) {
      element("name").textContent = decodeURIComponent(name);
      element("problem").textContent = error.message;
      element("problem").hidden = false;
      element("wait").hidden = true;
    }
    return;
  }
  document.title = "Nuclei";
  const { results, use } = await read("data/results.json");
  element("results").replaceChildren(...results.map(entry));
  element("none").hidden = results.length > 0;
  for (const place of document.querySelectorAll(".use")) place.textContent = use;
}

window.addEventListener("hashchange", show);
show();
