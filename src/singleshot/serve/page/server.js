// Requests to the server. A busy server is asked again after Retry-After; a refusal becomes an Error with its message.

const LOWEST_SCORE = 0.01; // the lowest value of the slider, so that moving it needs no second inference
const TRIES = 6;

const headers = () => {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
};

export async function call(path, options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    if (response.ok) return response.json();
    if (response.status === 503 && attempt < TRIES) {
      const wait_s = Number(response.headers.get("Retry-After")) || 1;
      await new Promise((done) => setTimeout(done, 1000 * wait_s));
      continue;
    }
    const said = await response.json().catch(() => null);
    const error = new Error(said?.error?.message ?? `The server responded with status ${response.status}.`);
    error.status = response.status;
    throw error;
  }
}

export const ask = (blob, model) =>
  call(`/v1/predict?threshold=${LOWEST_SCORE}&model=${encodeURIComponent(model)}`, {
    method: "POST",
    body: blob,
    headers: { "Content-Type": blob.type.startsWith("image/") ? blob.type : "application/octet-stream" },
  });
