// OpenAI's own JavaScript client.

import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [address, picture, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "not-needed", maxRetries: 0 });
const file = (path) => toFile(fs.readFileSync(path), "picture.png", { type: "image/png" });
export const seen = {};

const generated = await client.images.generate({
  model: "tiny",
  prompt: "a red apple",
  size: "128x64",
  n: 2,
  output_format: "webp",
  seed: 7,
  num_inference_steps: 2,
});
seen.generated = { ...generated, _request_id: generated._request_id, data: generated.data.map((image) => image.b64_json) };

const edited = await client.images.edit({
  model: "tiny-edit",
  image: [await file(picture), await file(picture)],
  prompt: "a blue apple",
  seed: 7,
});
seen.edited = edited.data[0].b64_json;

const inpainted = await client.images.edit({
  model: "miniature",
  image: await file(picture),
  mask: await file(mask),
  prompt: "a red apple",
  seed: 7,
  loras: [{ name: "sketch", scale: 0.5 }, { name: "frame", scale: 0.25 }],
});
seen.inpainted = inpainted.data[0].b64_json;

const events = await client.images.generate({ model: "tiny", prompt: "an apple", stream: true, partial_images: 2 });
seen.events = [];
for await (const { type, partial_image_index, size } of events) seen.events.push({ type, partial_image_index, size });

const reference = { image_url: `data:image/png;base64,${fs.readFileSync(picture).toString("base64")}` };
let video = await client.videos.create({ model: "tiny-video", prompt: "it falls", seconds: "1", input_reference: reference });
while (video.status === "queued" || video.status === "in_progress") {
  await new Promise((resolve) => setTimeout(resolve, 200));
  video = await client.videos.retrieve(video.id);
}
const content = await client.videos.downloadContent(video.id);
seen.video = { ...video, type: content.headers.get("content-type"), bytes: (await content.arrayBuffer()).byteLength };

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);

const failures = {
  unknown: () => client.images.generate({ model: "nothing", prompt: "an apple" }),
  wrong: () => client.images.generate({ model: "tiny", prompt: "an apple", size: "7x7" }),
  streamed: () => client.images.generate({ model: "tiny", prompt: "an apple", stream: true, n: 11 }),
};
seen.errors = {};
for (const [name, call] of Object.entries(failures)) {
  try {
    await call();
  } catch (error) {
    const { status, code, param, type } = error;
    seen.errors[name] = { class: error.constructor.name, status, code, param, type };
  }
}
