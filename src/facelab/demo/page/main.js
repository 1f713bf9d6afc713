import { byId, complain, request } from "./page.js";
import { addLatentFaces, clearLatentFaces, startLatents } from "./latents.js";
import { startPhotos } from "./photos.js";
import { startSamples } from "./samples.js";

try {
  const run = await request("api/run");
  const [channels, height, width] = run.image;
  byId("about").textContent = `${run.model}, run ${run.run}; ${height} x ${width} pixels, ${channels === 1 ? "grey" : "colour"}`;
  document.title = `${run.model} · facelab demo`;
  if (run.photos) {
    startPhotos(run, run.axes ? addLatentFaces : () => {}, run.axes ? clearLatentFaces : () => {});
  }
  if (run.axes) startLatents(run.axes);
  if (run.samples) startSamples(run.samples);
} catch (error) {
  complain(byId("failure"), error);
}
