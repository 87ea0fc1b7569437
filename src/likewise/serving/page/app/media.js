/**
 * Pictures and recordings of the visitor: files, what is pasted and dropped, the camera, the microphone.
 */

import { byId, fill, h, openDialog, say } from "./elements.js";

const LONGEST_SIDE = 768; // pixels: more than encoders look at, and a search takes a tenth of the time of a photo's

/** Ask for a file. */
export function chooseFile(accept, capture) {
  return new Promise((resolve) => {
    const input = h("input", { type: "file", accept, hidden: true });
    if (capture) input.setAttribute("capture", capture);
    input.addEventListener("change", () => {
      resolve(input.files[0] ?? null);
      input.remove();
    });
    input.addEventListener("cancel", () => {
      resolve(null);
      input.remove();
    });
    document.body.append(input);
    input.click();
  });
}

/**
 * A picture for a search: made smaller if the browser can read it, or else as it is, for the server to judge.
 * @param {Blob} file
 * @param {number} most bytes that the server takes
 */
export async function readPicture(file, most) {
  const name = file.name ?? "picture";
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = new OffscreenCanvas(Math.max(1, Math.round(bitmap.width * scale)), Math.max(1, Math.round(bitmap.height * scale)));
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // JPEG knows no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const small = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
    return { data: await readData(small), preview: URL.createObjectURL(small), weight: 1, name };
  } catch {
    if (file.size > most) throw new Error(`A picture has at most ${Math.round(most / 1e6)} MB.`);
    return { data: await readData(file), preview: "", weight: 1, name };
  }
}

/** A recording for a search, as it is. */
export async function readSound(file, most) {
  if (file.size > most) throw new Error(`A recording has at most ${Math.round(most / 1e6)} MB.`);
  return { data: await readData(file), preview: URL.createObjectURL(file), weight: 1, name: file.name ?? "recording" };
}

function readData(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.readAsDataURL(blob);
  });
}

/** Take pictures that are pasted into the page or dropped on it. */
export function watchForPictures(take) {
  const sign = byId("drop");
  const imageIn = (items) => [...(items ?? [])].find((item) => item.kind === "file" && item.type.startsWith("image/"))?.getAsFile();
  document.addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData?.items);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  let depth = 0; // of elements that were entered and not left
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (!holdsFiles(event)) return;
    depth += 1;
    sign.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!holdsFiles(event)) return;
    depth = Math.max(0, depth - 1);
    sign.hidden = depth === 0;
  });
  document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    depth = 0;
    sign.hidden = true;
    if (!holdsFiles(event)) return;
    event.preventDefault();
    const file = imageIn(event.dataTransfer.items);
    if (file) take(file);
    else say("That is no picture.");
  });
}

/** Take a picture with the camera; where the page may not use it, the device's own program is asked. */
export async function takePhoto(take) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    const file = await chooseFile("image/*", "environment");
    if (file) take(file);
    return;
  }
  const video = h("video", { autoplay: true, muted: true, playsInline: true, srcObject: stream, "aria-label": "What the camera sees" });
  const shoot = h("button.primary", { type: "button" }, "Take the picture");
  const dialog = openDialog("Camera", "camera", video, h("div.row", {}, shoot));
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()));
  shoot.addEventListener("click", async () => {
    if (!video.videoWidth) return;
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
    dialog.close();
    take(new File([blob], "photo.jpg", { type: blob.type }));
  });
}

const RATE = 16_000; // samples a second, which encoders of sounds expect
const LONGEST_SECONDS = 30;

/** Record with the microphone; what is recorded becomes a WAV file, which every server reads. */
export async function recordSound(take) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch {
    say("The microphone cannot be used here; choose a file instead.");
    return;
  }
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  const clock = h("p.clock", { role: "timer" }, "0 s");
  const stop = h("button.primary", { type: "button", onclick: () => recorder.stop() }, "Stop and search");
  const dialog = openDialog("Recording", "recording", clock, h("div.row", {}, stop));
  let cancelled = true;
  stop.addEventListener("click", () => (cancelled = false));
  const began = performance.now();
  const tick = setInterval(() => {
    const seconds = Math.floor((performance.now() - began) / 1000);
    fill(clock, `${seconds} s`);
    if (seconds >= LONGEST_SECONDS && recorder.state === "recording") stop.click();
  }, 200);
  dialog.addEventListener("close", () => {
    clearInterval(tick);
    if (recorder.state === "recording") recorder.stop();
    stream.getTracks().forEach((track) => track.stop());
  });
  recorder.addEventListener("stop", async () => {
    if (dialog.open) dialog.close();
    if (cancelled) return;
    try {
      take(new File([await encodeWave(new Blob(parts))], "recording.wav", { type: "audio/wav" }));
    } catch {
      say("Nothing was recorded.");
    }
  });
  recorder.start();
}

async function encodeWave(blob) {
  const context = new AudioContext();
  const heard = await context.decodeAudioData(await blob.arrayBuffer());
  await context.close();
  const resampling = new OfflineAudioContext(1, Math.ceil(heard.duration * RATE), RATE);
  const source = new AudioBufferSourceNode(resampling, { buffer: heard });
  source.connect(resampling.destination);
  source.start();
  const samples = (await resampling.startRendering()).getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const write = (place, text) => [...text].forEach((letter, index) => view.setUint8(place + index, letter.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, index) => view.setInt16(44 + 2 * index, Math.max(-1, Math.min(1, sample)) * 32_767, true));
  return view.buffer;
}
