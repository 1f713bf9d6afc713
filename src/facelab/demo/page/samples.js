// New faces of a generative model, and the way between two of them.

import { ask, byId, complain, element, makeWalk, newest } from "./page.js";

const COUNT = 12;

let chosen = []; // places of at most two faces, the first chosen first
let showLine;

const sample = newest(async (drawing) => {
  const { faces } = await ask("api/samples", { ...drawing, count: COUNT });
  const old = [...byId("grid").children];
  faces.forEach((face, place) => show(old[place] ?? makeButton(place), face, place));
}, byId("samples-problem"));

const draw = newest(async (drawing, first, second) => {
  showLine((await ask("api/line", { ...drawing, first, second })).pictures);
}, byId("line-problem"));

export function startSamples(samples) {
  byId("samples").hidden = false;
  showLine = makeWalk(byId("line-walk"), "Way from the first face to the second");
  if (samples.labels.length > 0) {
    byId("samples-purpose").textContent =
      "New faces of the people that the model was trained on. The way between two faces keeps the person of the first.";
    byId("person-choice").hidden = false;
    const names = samples.labels.map((name, label) => element("option", { value: label }, name));
    byId("person").append(element("option", { value: "" }, "each in turn"), ...names);
  }
  for (const id of ["seed", "psi", "person"]) byId(id).addEventListener("input", update);
  byId("reseed").addEventListener("click", () => {
    byId("seed").value = Math.floor(Math.random() * 2 ** 31);
    update();
  });
  update();
}

function drawing() {
  const person = byId("person").value;
  return { seed: byId("seed").valueAsNumber, psi: byId("psi").valueAsNumber, label: person === "" ? null : Number(person) };
}

function update() {
  byId("psi-value").value = byId("psi").valueAsNumber.toFixed(2);
  if (!byId("seed").checkValidity() || byId("seed").value === "") {
    complain(byId("samples-problem"), new Error("The seed must be a whole number from 0 to 2147483647."));
    return;
  }
  sample(drawing());
  updateLine();
}

function updateLine() {
  const both = chosen.length === 2;
  byId("line-walk").hidden = !both;
  byId("line-empty").hidden = both;
  byId("line-empty").textContent = chosen.length === 1 ? "Choose a second face above." : "Choose two faces above.";
  if (both) draw(drawing(), ...chosen);
}

function makeButton(place) {
  const button = element("button", { type: "button" });
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    chosen = chosen.includes(place) ? chosen.filter((one) => one !== place) : [...chosen, place].slice(-2);
    [...byId("grid").children].forEach((one, index) => one.setAttribute("aria-pressed", String(chosen.includes(index))));
    updateLine();
  });
  byId("grid").append(button);
  return button;
}

function show(button, face, place) {
  const alt = face.label === null ? `Face ${place + 1}` : `Face ${place + 1} of`;
  button.replaceChildren(element("img", { src: face.picture, alt }), ...(face.label === null ? [] : [face.label]));
}
