// Directions of the embeddings, and the way between two faces.

import { ask, byId, element, makeWalk, newest } from "./page.js";

let faces = []; // {name, code, coordinates, picture}
let sliders = [];
let showWay;

const move = newest(async (code, coordinates) => {
  byId("moved").src = (await ask("api/moved", { code, coordinates })).picture;
}, byId("directions-problem"));

const go = newest(async (first, second) => {
  showWay((await ask("api/between", { first, second })).pictures);
}, byId("between-problem"));

export function startLatents(axes) {
  byId("directions").hidden = byId("between").hidden = false;
  faces = [{ name: "Mean of the training faces", ...axes.mean }];
  sliders = axes.shares.map(makeSlider);
  showWay = makeWalk(byId("between-walk"), "Way from the first face to the second");
  byId("moved-face").addEventListener("change", choose);
  byId("reset").addEventListener("click", choose);
  for (const id of ["first-face", "second-face"]) byId(id).addEventListener("change", showBetween);
  list();
  choose();
}

export function addLatentFaces(name, found) {
  found.forEach((face, index) => {
    if (face.code) {
      const title = found.length > 1 ? `${name}, face ${index + 1}` : name;
      faces.push({ name: title, code: face.code, coordinates: face.coordinates, picture: face.reconstruction });
    }
  });
  list();
  byId("moved-face").value = faces.length - 1;
  choose();
  if (faces.length > 1) {
    byId("first-face").value = Math.max(faces.length - 2, 0);
    byId("second-face").value = faces.length - 1;
    showBetween();
  }
}

export function clearLatentFaces() {
  faces = faces.slice(0, 1);
  list();
  choose();
}

function makeSlider(share, index) {
  const id = `direction-${index}`;
  const input = element("input", { type: "range", id, step: 0.05 });
  const output = element("output");
  output.setAttribute("for", id);
  const label = element("label", { htmlFor: id }, `${index + 1} (${(100 * share).toFixed(1)} %)`);
  byId("sliders").append(element("div", { className: "slider" }, label, input, output));
  input.addEventListener("input", () => {
    output.value = Number(input.value).toFixed(2);
    move(faces[byId("moved-face").value].code, sliders.map((one) => Number(one.input.value)));
  });
  return { input, output };
}

function list() {
  for (const id of ["moved-face", "first-face", "second-face"]) {
    byId(id).replaceChildren(...faces.map((face, index) => element("option", { value: index }, face.name)));
  }
  byId("between-empty").hidden = faces.length > 1;
  byId("between-tools").hidden = faces.length < 2;
}

function choose() {
  const face = faces[byId("moved-face").value];
  byId("moved").src = face.picture;
  sliders.forEach(({ input, output }, index) => {
    const place = face.coordinates[index];
    input.min = Math.min(-4, Math.floor(place));
    input.max = Math.max(4, Math.ceil(place));
    input.value = place;
    output.value = place.toFixed(2);
  });
}

function showBetween() {
  go(faces[byId("first-face").value].code, faces[byId("second-face").value].code);
}
