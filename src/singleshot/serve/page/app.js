// The page: an image is sent once, with a low threshold; slider and class filter redraw its results without the server.
// All text from outside (file names, class names, messages) is set as text, never as HTML.

import { ask, call } from "./server.js";
import { cameraFrames, videoFrames } from "./sources.js";
import { css, drawDetections, drawMask, drawPicture, readMask, shown } from "./view.js";

const MOST_ROWS = 100;

const $ = (id) => document.getElementById(id);
const state = {
  model: null,
  name: "", // of the file
  frames: [], // { blob, answer, time_s }
  current: 0,
  image: null, // of the current frame
  mask: null,
  hidden: new Set(),
  moved: false, // whether the threshold slider was moved
  marked: null,
  run: 0, // number of the source; work for an older one stops
};

// ---- sources --------------------------------------------------------------------------------------------------------

async function start() {
  const { models } = await call("/v1/models");
  $("token-form").hidden = true;
  $("models").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  $("models").hidden = models.length === 1;
  $("models").onchange = () => choose(models[$("models").selectedIndex]);
  choose(models[0]);
}

function choose(model) {
  state.model = model;
  begin("");
  state.hidden = new Set();
  $("canvas").hidden = $("panel").hidden = true;
  $("empty").hidden = false;
  const { name, task, classes } = model;
  document.body.className = task === "segmentation" ? "segmenter" : "detector";
  if (task !== "segmentation" && !state.moved)
    $("threshold").value = String(Math.min(...classes.map((each) => each.threshold)));
  $("model").textContent = `${name} · ${task} · ${classes.length} ${classes.length === 1 ? "class" : "classes"}`;
  say("");
}

function begin(name) {
  state.run += 1;
  Object.assign(state, { name, frames: [], current: 0, image: null, mask: null, marked: null });
  $("timeline").hidden = true;
  return state.run;
}

async function showPicture(file) {
  const run = begin(file.name);
  say(`${file.name}: processing …`);
  const answer = await ask(file, state.model.name);
  if (run !== state.run) return;
  state.frames = [{ blob: file, answer }];
  await showFrame(0);
}

async function showVideo(file) {
  const run = begin(file.name);
  $("stop").hidden = false;
  try {
    for await (const { blob, time_s, count } of videoFrames(file, () => run !== state.run || $("stop").hidden)) {
      const index = state.frames.length;
      say(`${file.name}: frame ${index + 1} of ${count} …`);
      const answer = await ask(blob, state.model.name);
      if (run !== state.run) return;
      state.frames.push({ blob, answer, time_s });
      $("frame").max = String(index);
      $("timeline").hidden = false;
      if (state.current >= index - 1) await showFrame(index); // unless the user went back to an earlier frame
    }
  } finally {
    if (run === state.run) $("stop").hidden = true;
  }
}

async function showCamera() {
  const run = begin("webcam");
  const button = $("camera");
  button.setAttribute("aria-pressed", "true");
  const isOver = () => run !== state.run || button.getAttribute("aria-pressed") === "false";
  try {
    for await (const { blob } of cameraFrames(isOver)) {
      const answer = await ask(blob, state.model.name);
      if (run !== state.run) return;
      state.frames = [{ blob, answer }];
      await showFrame(0);
    }
  } finally {
    if (run === state.run) button.setAttribute("aria-pressed", "false");
  }
}

// ---- drawing and results --------------------------------------------------------------------------------------------

async function showFrame(index) {
  const run = state.run;
  const { blob, answer } = state.frames[index];
  const image = await createImageBitmap(blob).catch(() => null);
  const mask = answer.mask_png ? await readMask(answer.mask_png) : null;
  if (run !== state.run) return;
  Object.assign(state, { current: index, image, mask, marked: null });
  $("empty").hidden = true;
  $("canvas").hidden = false;
  $("panel").hidden = false;
  $("frame").value = String(index);
  showClasses();
  draw();
  if (!image) say("This browser cannot display images of this type. The results are still correct.");
}

const threshold = () => Number($("threshold").value);
// Each class has the model's own threshold until the slider is moved; from then on all have the slider's.
const least = (class_id) => (state.moved ? threshold() : (state.model.classes[class_id].threshold ?? threshold()));
const answer = () => state.frames[state.current].answer;
const colours = () => state.model.classes.map((each) => each.colour_rgb);

// unit(): the number of image pixels per screen pixel; called after the canvas has its size.
function paint(canvas, unit, marked) {
  const { size_hw } = answer();
  drawPicture(canvas, state.image, size_hw);
  if (state.mask) drawMask(canvas, state.mask, colours(), size_hw, Number($("opacity").value) / 100, state.hidden);
  else drawDetections(canvas, shown(answer(), least, state.hidden), colours(), size_hw, unit(), marked);
}

function paintScreen() {
  if (!state.frames.length) return;
  const canvas = $("canvas");
  const [height, width] = answer().size_hw;
  paint(canvas, () => Math.max(width / Math.max(canvas.clientWidth, 1), height / Math.max(canvas.clientHeight, 1)), state.marked);
}

function draw() {
  if (!state.frames.length) return;
  paintScreen();
  $("threshold-value").textContent = threshold().toFixed(2);
  $("opacity-value").textContent = `${$("opacity").value} %`;
  const frame = state.frames[state.current];
  $("frame-value").textContent = frame.time_s === undefined ? "" : `at ${frame.time_s.toFixed(2)} s`;
  const said = state.mask ? sayMask() : sayDetections();
  $("canvas").setAttribute("aria-label", `${state.name}: ${said}`);
  say(`${state.name}: ${said}`);
}

function sayMask() {
  const rows = answer().classes.filter((each) => !state.hidden.has(each.class_id));
  return rows.map((each) => `${each.class} ${(100 * each.share).toFixed(1)} %`).join(", ") || "no class is shown";
}

function sayDetections() {
  const found = shown(answer(), least, state.hidden);
  const count = found.length === 1 ? "1 detection" : `${found.length} detections`;
  $("count").textContent = count;
  $("more").textContent = found.length > MOST_ROWS ? `… and ${found.length - MOST_ROWS} more` : "";
  $("rows").replaceChildren(...found.slice(0, MOST_ROWS).map(tableRow));
  return `${count} at ${threshold().toFixed(2)}`;
}

function tableRow(each) {
  const row = document.createElement("tr");
  row.tabIndex = 0;
  const name = cell(each.class);
  name.prepend(chip(each.class_id));
  row.append(name, cell(each.score.toFixed(3)), cell(each.box_xyxy.map((edge) => Math.round(edge)).join(", ")));
  const mark = (which) => () => {
    state.marked = which;
    paintScreen();
  };
  for (const event of ["mouseenter", "focus"]) row.addEventListener(event, mark(each));
  for (const event of ["mouseleave", "blur"]) row.addEventListener(event, mark(null));
  return row;
}

function cell(text) {
  const made = document.createElement("td");
  made.textContent = text;
  return made;
}

function chip(classId) {
  const made = document.createElement("span");
  made.className = "chip";
  made.style.backgroundColor = css(colours()[classId]);
  return made;
}

// A row for each class that occurs, in a segmentation with its share of the image. It is the legend too.
function showClasses() {
  const rows = state.mask
    ? answer().classes.map((each) => [each.class_id, each.class, `${(100 * each.share).toFixed(1)} %`])
    : Object.values(Object.groupBy(answer().detections, (each) => each.class_id))
        .map((some) => [some[0].class_id, some[0].class, ""])
        .sort(([one], [other]) => one - other);
  const labels = rows.map(([id, name, share]) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !state.hidden.has(id);
    box.addEventListener("change", () => {
      if (box.checked) state.hidden.delete(id);
      else state.hidden.add(id);
      draw();
    });
    label.append(box, chip(id), document.createTextNode(share ? `${name} ${share}` : name));
    return label;
  });
  $("classes").replaceChildren(...labels);
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "bad" : "";
}

// ---- downloads ------------------------------------------------------------------------------------------------------

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  const stem = state.name.replace(/\.[^.]*$/, "");
  const index = state.frames.length > 1 && suffix.endsWith(".png") ? `-${state.current}` : "";
  link.download = `${stem}${index}${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function saveJson() {
  const pictures = state.frames.map(({ answer: each, time_s }) => ({
    ...(time_s === undefined ? {} : { time_s }),
    ...each,
    ...(each.detections ? { detections: shown(each, least, state.hidden) } : {}),
  }));
  const all = { model: state.model.name, source: state.name, threshold: threshold(), pictures };
  save(new Blob([JSON.stringify(all, null, 2)], { type: "application/json" }), ".json");
}

async function savePicture() {
  const canvas = new OffscreenCanvas(1, 1);
  const [height, width] = answer().size_hw;
  paint(canvas, () => Math.max(width, height) / 1000, null);
  save(await canvas.convertToBlob({ type: "image/png" }), "-seen.png");
}

// ---- events ---------------------------------------------------------------------------------------------------------

const attempt = (work) =>
  work.catch((error) => {
    if (error.status === 401) $("token-form").hidden = false;
    say(error.message, true);
  });

function take(file) {
  $("camera").setAttribute("aria-pressed", "false");
  $("stop").hidden = true;
  attempt(ready.then(() => (file.type.startsWith("video/") ? showVideo(file) : showPicture(file))));
}

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("stage").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files.length) take(clipboardData.files[0]);
});
$("camera").addEventListener("click", ({ target }) => {
  if (target.getAttribute("aria-pressed") === "true") target.setAttribute("aria-pressed", "false");
  else attempt(ready.then(showCamera));
});
$("stop").addEventListener("click", () => {
  $("stop").hidden = true;
});
$("frame").addEventListener("input", ({ target }) => attempt(showFrame(Number(target.value))));
$("threshold").addEventListener("input", () => (state.moved = true));
for (const id of ["threshold", "opacity"]) $(id).addEventListener("input", draw);
for (const [id, on] of [["all", true], ["none", false]]) {
  $(id).addEventListener("click", () => {
    state.hidden = new Set(on ? [] : state.model.classes.map((each) => each.class_id));
    showClasses();
    draw();
  });
}
$("save-json").addEventListener("click", saveJson);
$("save-picture").addEventListener("click", () => attempt(savePicture()));
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value);
  ready = start();
  attempt(ready);
});
let lastWidth = 0; // drawing changes the stage's height, which must not draw again
new ResizeObserver(([{ contentRect }]) => {
  if (contentRect.width === lastWidth) return;
  lastWidth = contentRect.width;
  paintScreen();
}).observe($("stage"));

let ready = start(); // what a user gives before the models are known waits for them
attempt(ready);
