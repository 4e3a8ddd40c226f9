// The page: images, video files and the webcam go to the worker one frame at a time; its answers are drawn here.

const $ = (id) => document.getElementById(id);
const [canvas, video, status, threshold] = ["canvas", "video", "status", "threshold"].map($);
const context = canvas.getContext("2d");
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
let facts, shown, found, stream, waiting, playing = 0;

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

worker.onerror = () => say("The worker could not be started.", true);
worker.onmessage = ({ data }) => {
  if (data.ready) {
    facts = data.ready;
    $("model").textContent = document.title = `${facts.flavour}: ${facts.class_names.join(", ")}`.slice(0, 120);
    $("least").hidden = facts.task === "segmentation";
    say(`Ready, on ${facts.provider}${facts.failed ? ` (${facts.failed})` : ""}. Choose an image, a video or the webcam.`);
  } else if (data.fatal) {
    say(`The model could not be opened: ${data.fatal}`, true);
  } else if (waiting) {
    const resolve = waiting;
    waiting = null;
    resolve(data);
  }
};

// The worker's answer for one frame. The frame is kept, to be drawn under it. One frame is on its way at a time.
async function analyse(source) {
  const bitmap = await createImageBitmap(source, { colorSpaceConversion: "none" });
  const copy = new OffscreenCanvas(bitmap.width, bitmap.height);
  copy.getContext("2d").drawImage(bitmap, 0, 0);
  const answer = await new Promise((resolve) => {
    waiting = resolve;
    worker.postMessage({ bitmap }, [bitmap]);
  });
  if (answer.error) throw new Error(answer.error);
  shown = copy;
  found = answer.found;
  draw();
  return answer.ms;
}

function draw() {
  if (!shown) return;
  canvas.width = shown.width;
  canvas.height = shown.height;
  context.drawImage(shown, 0, 0);
  if (found.class_ids) return drawMask();
  const least = Number(threshold.value);
  const kept = found.detections.filter((each) => each.score >= least);
  const unit = Math.max(shown.width, shown.height) / 700;
  context.font = `600 ${13 * unit}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  for (const each of [...kept].reverse()) {
    const [x1, y1, x2, y2] = each.box_xyxy;
    const [red, green, blue] = facts.colours[each.class_id];
    const text = `${each.name.slice(0, 40)} ${each.score.toFixed(2)}`;
    const top = Math.max(y1, 18 * unit);
    context.strokeStyle = context.fillStyle = `rgb(${red}, ${green}, ${blue})`;
    context.lineWidth = 2.5 * unit;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.fillRect(x1, top - 18 * unit, context.measureText(text).width + 8 * unit, 18 * unit);
    context.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff";
    context.fillText(text, x1 + 4 * unit, top - unit);
  }
  $("results").hidden = false;
  $("rows").replaceChildren(
    ...kept.map((each) => {
      const row = document.createElement("tr");
      for (const text of [each.name, each.score.toFixed(4), ...each.box_xyxy.map((edge) => edge.toFixed(2))])
        row.insertCell().textContent = text;
      return row;
    }),
  );
}

function drawMask() {
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  found.class_ids.forEach((id, place) => {
    for (const channel of [0, 1, 2])
      pixels.data[4 * place + channel] = (pixels.data[4 * place + channel] + facts.colours[id][channel]) / 2;
  });
  context.putImageData(pixels, 0, 0);
}

function stop() {
  playing += 1; // a loop that sees another number ends
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  video.pause();
  video.removeAttribute("src");
  video.srcObject = null;
  $("stop").disabled = true;
}

async function play(name) {
  const mine = playing;
  $("stop").disabled = false;
  await video.play();
  for (let frames = 1; mine === playing && !video.ended; frames += 1) {
    const ms = await analyse(video);
    if (mine === playing) say(`${name}, frame ${frames}: ${ms.toFixed(1)} ms on ${facts.provider}`);
  }
  if (mine === playing) stop();
}

async function attempt(what, action) {
  try {
    if (!facts) throw new Error("the model is still loading");
    if (waiting) await new Promise((resolve) => setTimeout(resolve, 50)); // a last frame of what was stopped
    await action();
  } catch (error) {
    say(`${what}: ${error.message}`, true);
  }
}

$("file").onchange = ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (!file) return;
  stop();
  attempt(file.name, async () => {
    say(`${file.name} …`);
    if (file.type.startsWith("video/")) {
      const address = URL.createObjectURL(file);
      video.src = address;
      try {
        await play(file.name);
      } finally {
        URL.revokeObjectURL(address);
      }
    } else {
      const ms = await analyse(file);
      say(`${file.name}: ${ms.toFixed(1)} ms on ${facts.provider}`);
    }
  });
};
$("camera").onclick = () => {
  stop();
  attempt("Webcam", async () => {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
    video.srcObject = stream;
    await play("Webcam");
  });
};
$("stop").onclick = stop;
threshold.oninput = () => {
  $("shown-threshold").textContent = Number(threshold.value).toFixed(2);
  draw();
};
