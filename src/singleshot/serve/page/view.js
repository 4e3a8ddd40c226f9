// Draws a result on a canvas: boxes with labels, or a coloured mask. Nothing here calls the server or keeps state, so
// that the screen and the downloaded image are drawn by the same code.

export const css = ([red, green, blue]) => `rgb(${red}, ${green}, ${blue})`;

const inkOn = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#000" : "#fff");

// Returns the detections to show: those above the threshold, of classes that are not hidden, in their order.
// least(class_id): the threshold of a class.
export const shown = (answer, least, hidden) =>
  answer.detections.filter((each) => each.score >= least(each.class_id) && !hidden.has(each.class_id));

// Everything is drawn in pixels of the image. A small image gets a finer canvas, so that lines and text are sharp.
const SHARP = 900;

// image: what drawImage takes, or null where the browser cannot display it; then its height and width.
export function drawPicture(canvas, image, [height, width]) {
  const fine = Math.min(8, Math.max(1, Math.ceil(SHARP / Math.max(width, height))));
  canvas.width = width * fine; // this clears it, too
  canvas.height = height * fine;
  const context = canvas.getContext("2d");
  context.scale(fine, fine);
  if (image) context.drawImage(image, 0, 0, width, height);
}

// unit: image pixels per screen pixel; marked: the detection to highlight, or null.
export function drawDetections(canvas, detections, colours, size_hw, unit, marked) {
  const context = canvas.getContext("2d");
  const line = 2.5 * unit;
  const size = 13 * unit;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const labels = [];
  for (const each of detections) placeLabel(context, each, size, size_hw, labels);
  // The best last, so that it is on top.
  for (const each of [...detections].reverse()) {
    const [x1, y1, x2, y2] = each.box_xyxy;
    const strong = each === marked;
    context.fillStyle = css(colours[each.class_id]);
    context.globalAlpha = strong ? 0.35 : 0.1;
    context.fillRect(x1, y1, x2 - x1, y2 - y1);
    context.globalAlpha = 1;
    context.lineWidth = strong ? 2 * line : line;
    context.strokeStyle = context.fillStyle;
    context.strokeRect(x1 + line / 2, y1 + line / 2, Math.max(x2 - x1 - line, 0), Math.max(y2 - y1 - line, 0));
  }
  for (const { each, text, left, top, width, height } of labels.reverse()) {
    context.fillStyle = css(colours[each.class_id]);
    context.fillRect(left, top, width, height);
    context.fillStyle = inkOn(colours[each.class_id]);
    context.fillText(text, left + 0.3 * size, top + height / 2);
  }
}

// Above the box, inside it or below it, at its left or its right: where it covers the least of better ones' labels.
function placeLabel(context, each, size, [tall, wide], labels) {
  const [x1, y1, x2, y2] = each.box_xyxy;
  const name = each.class.length > 40 ? `${each.class.slice(0, 39)}…` : each.class;
  const text = `${name} ${each.score.toFixed(2)}`;
  const width = context.measureText(text).width + 0.6 * size;
  const height = 1.5 * size;
  const spots = [x1, x2 - width].flatMap((x) =>
    [y1 - height, y1, y2, y2 - height].map((y) => ({
      left: Math.max(0, Math.min(x, wide - width)),
      top: Math.max(0, Math.min(y, tall - height)),
    })),
  );
  const covered = ({ left, top }) =>
    labels.reduce((sum, other) => {
      const across = Math.min(left + width, other.left + other.width) - Math.max(left, other.left);
      const down = Math.min(top + height, other.top + other.height) - Math.max(top, other.top);
      return sum + Math.max(across, 0) * Math.max(down, 0);
    }, 0);
  const spot = spots.reduce((best, one) => (covered(one) < covered(best) ? one : best));
  // Where there is no room, a label would be hidden by those of better detections; its box is still drawn.
  if (covered(spot) < 0.5 * width * height) labels.push({ each, text, width, height, ...spot });
}

// mask: ImageData whose red channel is the class id.
export function drawMask(canvas, mask, colours, [height, width], opacity, hidden) {
  const tinted = new ImageData(mask.width, mask.height);
  const table = new Uint32Array(256);
  colours.forEach(([red, green, blue], id) => {
    if (!hidden.has(id)) table[id] = (255 << 24) | (blue << 16) | (green << 8) | red;
  });
  const pixels = new Uint32Array(tinted.data.buffer);
  for (let place = 0; place < pixels.length; place += 1) pixels[place] = table[mask.data[4 * place]];
  const layer = new OffscreenCanvas(mask.width, mask.height);
  layer.getContext("2d").putImageData(tinted, 0, 0);
  const context = canvas.getContext("2d");
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = false;
  context.drawImage(layer, 0, 0, width, height);
  context.globalAlpha = 1;
}

export async function readMask(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const picture = new Blob([bytes], { type: "image/png" });
  const image = await createImageBitmap(picture, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height);
}
