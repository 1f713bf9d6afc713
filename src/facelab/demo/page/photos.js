// Photos: sent one at a time, and shown with their faces.

import { byId, complain, element, request } from "./page.js";

const MOST_PHOTOS = 20;

let run;
let addFaces = () => {};
let queue = Promise.resolve();
let generation = 0; // counts removals, so that answers to removed photos are dropped

export function startPhotos(described, onFaces, onClear) {
  run = described;
  addFaces = onFaces;
  const section = byId("photos");
  section.hidden = false;
  byId("photos-purpose").textContent = run.known
    ? `Each face is compared with ${run.known.title}. ${run.known.rule}`
    : "Each face is encoded by the model, and decoded again.";
  byId("limits").textContent =
    `Up to ${MOST_PHOTOS} at a time, ${run.most_bytes >> 20} MiB each; faces of at least ${run.photos.least_pixels} pixels`;
  if (!run.photos.finds_faces) {
    byId("undetected").hidden = false;
    Object.assign(byId("cropped"), { checked: true, disabled: true });
  }
  listen();
  byId("clear").addEventListener("click", () => {
    generation += 1;
    byId("results").replaceChildren();
    byId("clear").hidden = true;
    byId("no-photos").hidden = false;
    byId("status").textContent = "All photos are removed.";
    byId("files").focus();
    onClear();
  });
}

function listen() {
  const files = byId("files");
  const drop = byId("drop");
  files.addEventListener("change", () => {
    add([...files.files]);
    files.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
}

function add(files) {
  if (files.length === 0) return;
  const taken = files.slice(0, MOST_PHOTOS);
  byId("clear").hidden = false;
  byId("no-photos").hidden = true;
  byId("status").textContent =
    files.length > MOST_PHOTOS ? `Only the first ${MOST_PHOTOS} of ${files.length} photos are taken.` : "";
  const cropped = byId("cropped").checked;
  const asked = generation;
  for (const file of [...taken].reverse()) {
    const article = element("article", { className: "photo" }, element("h3", { textContent: file.name }));
    article.setAttribute("aria-busy", "true");
    const waiting = element("p", { textContent: "Waiting ..." });
    article.append(waiting);
    byId("results").prepend(article);
    file.shown = { article, waiting };
  }
  for (const file of taken) {
    queue = queue.then(() => (asked === generation ? look(file, cropped, asked) : undefined));
  }
}

async function look(file, cropped, asked) {
  const { article, waiting } = file.shown;
  waiting.textContent = "Looking at it ...";
  try {
    if (file.size > run.most_bytes) {
      throw new Error(`This file is too large: at most ${run.most_bytes >> 20} MiB are accepted.`);
    }
    const found = await request(`api/photo?cropped=${cropped}`, file, "application/octet-stream");
    if (asked !== generation) return;
    waiting.remove();
    article.append(shown(file.name, found));
    byId("status").textContent = `${file.name}: ${counted(found.faces.length)}.`;
    addFaces(file.name, found.faces);
  } catch (error) {
    waiting.remove();
    const problem = element("p", { className: "problem" });
    problem.setAttribute("role", "alert");
    complain(problem, error);
    article.append(problem);
  }
  article.removeAttribute("aria-busy");
}

const counted = (count) => (count === 1 ? "1 face" : `${count || "no"} faces`);

function shown(name, found) {
  const boxes = found.faces.map((face, index) => {
    const box = element("div", { className: "box" }, element("span", {}, `${index + 1}`));
    const [left, top] = face.box.slice(0, 2).map((share) => Math.max(0, share));
    const [right, bottom] = [0, 1].map((side) => Math.min(1, face.box[side] + face.box[side + 2]));
    const shares = { left, top, width: right - left, height: bottom - top };
    for (const [name, share] of Object.entries(shares)) box.style[name] = `${100 * share}%`;
    box.setAttribute("aria-hidden", "true");
    return box;
  });
  const whole = found.faces.length === 1 && found.faces[0].box[2] === 1 && found.faces[0].box[3] === 1;
  const alt = `${name}, with ${counted(found.faces.length)}`;
  const photo = element("figure", { className: "shown" }, element("img", { src: found.picture, alt }), ...(whole ? [] : boxes));
  const beside = element("div", { className: "faces" });
  if (found.note) beside.append(element("p", { className: "note", textContent: found.note }));
  if (found.faces.length > 0) beside.append(element("ul", {}, ...found.faces.map((face, index) => card(face, index))));
  return element("div", { className: "looked" }, photo, beside);
}

function card(face, index) {
  const made = element("li", { className: "face" }, element("h4", {}, `Face ${index + 1}`));
  const crop = figure(face.crop, "as the model sees it");
  const pictures = [crop];
  if (face.reconstruction) pictures.push(figure(face.reconstruction, "reconstruction"));
  if (face.nearest) pictures.push(nearest(face.nearest));
  made.append(element("div", { className: "pictures" }, ...pictures));
  return made;
}

function figure(src, caption) {
  return element("figure", {}, element("img", { src, alt: "", className: "small" }), element("figcaption", {}, caption));
}

function nearest(matches) {
  if (matches.length === 0) return element("p", { className: "decision" }, "Nobody known"); // nobody is enrolled now
  const rows = matches.map((match) => {
    const bar = element("i");
    bar.style.width = `${100 * Math.max(0, match.score)}%`;
    const parts = [
      element("img", { src: match.picture, alt: "" }),
      element("span", { className: "name" }, match.name),
      element("span", { className: "score" }, match.score.toFixed(2)),
      element("span", { className: "bar" }, bar),
    ];
    return element("li", { className: match.accepted === false ? "refused" : "" }, ...parts);
  });
  const list = element("ol", { className: "nearest" }, ...rows);
  list.setAttribute("aria-label", "Nearest, with score");
  if (matches[0].accepted === null) return list;
  const decision = matches[0].accepted ? matches[0].name : "Nobody known";
  return element("div", { className: "decided" }, element("p", { className: "decision" }, decision), list);
}
