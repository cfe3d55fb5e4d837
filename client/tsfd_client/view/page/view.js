// Show the list of results, or the one named in the address as #result/x/y/zoom, where x and y are
// the centre of the view in pixels of level 0.

import { request } from "./answer.js";
import { showComparison } from "./comparison.js";
import { element } from "./elements.js";
import { List } from "./list.js";
import { Slide } from "./slide.js";

const list = new List();
let open = null; // the slide being shown
let turn = 0; // of the address: what an earlier one has asked for is not shown

const read = async (url) => (await request(url)).json();

async function show() {
  const mine = ++turn;
  const isOver = () => mine !== turn;
  const [name, ...place] = location.hash.slice(1).split("/");
  if (open && open.name === decoded(name)) {
    open.goTo(place);
    return;
  }
  close();
  element("slide").hidden = !name;
  element("slide").classList.remove("failed");
  element("list").hidden = Boolean(name);
  if (!name) {
    await list.show(() => read("data/results.json"), isOver);
    return;
  }
  list.hide();
  const folder = `data/${name}`;
  try {
    const view = await read(`${folder}/view.json`);
    if (isOver()) return;
    open = new Slide(view, folder);
    showComparison(view.comparison, element("comparison"));
    tell("kept", view.kept
      && `This result's folder cannot be written to. What the page needs is kept in ${view.kept}.`);
    await open.show(place);
  } catch (error) {
    if (isOver()) return;
    close();
    element("name").textContent = decoded(name);
    document.title = `${decoded(name)}: nuclei`;
    tell("problem", error.message);
    element("slide").classList.add("failed");
  }
}

function close() {
  open?.close();
  open = null;
}

function tell(id, sentence) {
  element(id).textContent = sentence ?? "";
  element(id).hidden = !sentence;
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

window.addEventListener("hashchange", show);
show();
