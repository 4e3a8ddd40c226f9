// The model, in a thread of its own: a message { bitmap } is answered by { found, ms }, or by { error }.
//
// With WebGPU where the browser has an adapter, WASM otherwise. Both builds of the runtime lie in runtime/.

const RUNTIME = new URL("runtime/", import.meta.url).href;
let facts, session, ort;

async function start() {
  facts = await (await fetch(new URL("model.json", import.meta.url))).json();
  const adapter = self.navigator.gpu ? await self.navigator.gpu.requestAdapter().catch(() => null) : null;
  let failed = "";
  for (const provider of adapter ? ["webgpu", "wasm"] : ["wasm"]) {
    try {
      ort = await import(`${RUNTIME}ort.${provider}.min.mjs`);
      ort.env.wasm.wasmPaths = RUNTIME;
      ort.env.logLevel = "error";
      // Threads need shared memory, which a page has only if its server isolates it from others.
      if (!self.crossOriginIsolated) ort.env.wasm.numThreads = 1;
      const model = new URL("model.onnx", import.meta.url).href;
      session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
      await run(new Uint8Array(32 * 32 * 3), 32, 32); // compiles what the first image would wait for
      return postMessage({ ready: { ...facts, provider, failed } });
    } catch (error) {
      failed = `${provider}: ${error.message}`; // the other one may still work
    }
  }
  throw new Error(failed);
}

async function run(rgb, height, width) {
  const outputs = await session.run({ images: new ort.Tensor("uint8", rgb, [1, height, width, 3]) });
  if (facts.task === "segmentation") return { class_ids: outputs.class_ids.data.slice() };
  const count = Number(outputs.counts.data[0]);
  const [boxes, scores, ids] = ["boxes_xyxy", "scores", "class_ids"].map((name) => outputs[name].data);
  return {
    detections: Array.from({ length: count }, (_, row) => ({
      name: facts.class_names[Number(ids[row])],
      class_id: Number(ids[row]),
      score: scores[row],
      box_xyxy: Array.from(boxes.subarray(4 * row, 4 * row + 4)),
    })),
  };
}

async function answer(bitmap) {
  const began = performance.now();
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height); // what is transparent shows black
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  const found = await run(rgb, height, width);
  postMessage({ found, ms: performance.now() - began });
}

onmessage = ({ data }) => answer(data.bitmap).catch((error) => postMessage({ error: error.message }));
start().catch((error) => postMessage({ fatal: error.message }));
