// Vercel's AI SDK, by its provider for servers that are compatible with OpenAI's API.

import fs from "node:fs";
import { generateImage } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const [address, picture, mask] = process.argv.slice(2);
const jubako = createOpenAICompatible({ name: "jubako", baseURL: `${address}/v1`, apiKey: "not-needed" });
const draw = (model, options) => generateImage({ model: jubako.imageModel(model), maxRetries: 0, ...options });
const shown = ({ images, usage }) => ({ images: images.map((image) => image.base64), usage });
const options = (jubako) => ({ providerOptions: { jubako } });

export const seen = {};

seen.generated = shown(
  await draw("tiny", { prompt: "a red apple", size: "128x64", n: 10, ...options({ seed: 7, num_inference_steps: 2 }) }),
);
seen.byAddress = shown(await draw("dall-e-3", { prompt: "a red apple", ...options({ style: "vivid" }) }));
seen.edited = shown(
  await draw("tiny-edit", { prompt: { text: "a blue apple", images: [fs.readFileSync(picture)] }, ...options({ seed: 7 }) }),
);
seen.inpainted = shown(
  await draw("miniature", {
    prompt: { text: "a red apple", images: [fs.readFileSync(picture)], mask: fs.readFileSync(mask) },
    ...options({ seed: 7 }),
  }),
);

try {
  await draw("tiny", { prompt: "an apple", size: "7x7" });
} catch ({ name, statusCode, message, data, responseHeaders }) {
  seen.error = { name, statusCode, message, param: data?.error?.param, id: responseHeaders?.["x-request-id"] };
}
