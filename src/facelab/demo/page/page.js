// Elements, requests and messages that all parts of the page share.

export const byId = (id) => document.getElementById(id);

// An element with properties, and children that are elements or texts; texts are never read as HTML.
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// What the server answers, or an error whose message is a sentence for the user.
export async function request(path, body, type) {
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { method: "POST", headers: { "Content-Type": type }, body });
  } catch {
    throw new Error("The demo does not answer. Is it still running in the terminal?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Error(answer.error ?? "The demo is busy. Try again in a moment.");
  }
  return answer;
}

export const ask = (path, question) => request(path, JSON.stringify(question), "application/json");

export function complain(place, error) {
  place.hidden = error === null;
  place.textContent = error === null ? "" : error.message;
}

// A function that calls `work` with its newest arguments, one call at a time: a slider may move faster than the model.
export function newest(work, place) {
  let waiting = null;
  let busy = false;
  return async (...given) => {
    waiting = given;
    while (waiting !== null && !busy) {
      const now = waiting;
      waiting = null;
      busy = true;
      try {
        await work(...now);
        complain(place, null);
      } catch (error) {
        complain(place, error);
      }
      busy = false;
    }
  };
}

// A large picture, a slider and small pictures of the way from one face to another.
export function makeWalk(place, label) {
  const picture = element("img", { className: "large", alt: "" });
  const slider = element("input", { type: "range", min: 0, step: 1, value: 0 });
  slider.setAttribute("aria-label", label);
  const strip = element("div", { className: "strip" });
  strip.setAttribute("aria-hidden", "true");
  place.replaceChildren(picture, slider, strip);
  let pictures = [];
  const show = () => {
    const share = Math.round((100 * slider.value) / (pictures.length - 1));
    picture.src = pictures[slider.value];
    picture.alt = `Face ${share} % of the way from the first to the second`;
    slider.setAttribute("aria-valuetext", `${share} %`);
  };
  slider.addEventListener("input", show);
  return (found) => {
    const first = pictures.length === 0;
    pictures = found;
    slider.max = pictures.length - 1;
    slider.value = first ? (pictures.length - 1) >> 1 : slider.value;
    strip.replaceChildren(...pictures.map((src) => element("img", { src, alt: "" })));
    show();
  };
}
