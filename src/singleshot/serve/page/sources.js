// Images from other sources than files: the frames of a short video, and the webcam. Both end when isOver() is true.

const MOST_FRAMES = 60;
const FRAMES_A_SECOND = 4;
const LONGEST_SIDE = 1280;

// Yields { blob, time_s, count } for at most MOST_FRAMES frames, evenly spaced through the video.
export async function* videoFrames(file, isOver) {
  const video = silent();
  video.src = URL.createObjectURL(file);
  try {
    await once(video, "loadeddata");
    const length_s = Number.isFinite(video.duration) ? video.duration : 10;
    const count = Math.max(1, Math.min(MOST_FRAMES, Math.floor(length_s * FRAMES_A_SECOND)));
    for (let index = 0; index < count && !isOver(); index += 1) {
      const time_s = (index * length_s) / count;
      if (index) {
        video.currentTime = time_s;
        await once(video, "seeked");
      }
      yield { blob: await still(video), time_s, count };
    }
  } finally {
    URL.revokeObjectURL(video.src);
  }
}

// Yields { blob } as fast as they are taken.
export async function* cameraFrames(isOver) {
  if (!navigator.mediaDevices) throw new Error("Browsers allow the webcam only over HTTPS, or from this machine.");
  const wanted = { video: { width: { ideal: LONGEST_SIDE }, facingMode: "environment" } };
  const stream = await navigator.mediaDevices.getUserMedia(wanted);
  try {
    const video = silent();
    video.srcObject = stream;
    await video.play();
    while (!isOver()) yield { blob: await still(video) };
  } finally {
    stream.getTracks().forEach((track) => track.stop());
  }
}

function silent() {
  const video = document.createElement("video");
  video.muted = true;
  video.playsInline = true;
  return video;
}

const once = (video, name) =>
  new Promise((done, failed) => {
    video.addEventListener(name, done, { once: true });
    video.addEventListener("error", () => failed(new Error("This browser cannot play that video.")), { once: true });
  });

function still(video) {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = new OffscreenCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
}
