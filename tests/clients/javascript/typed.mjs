// A client whose types openapi-typescript makes of the server's description: `node typed.mjs ADDRESS FOLDER` checks a
// program that uses them, runs it, and prints one line of JSON.
import { execFileSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import openapiTS, { astToString } from "openapi-typescript";

const [address, folder] = process.argv.slice(2);
const here = import.meta.dirname;

writeFileSync(join(folder, "server.d.ts"), astToString(await openapiTS(new URL(`${address}/openapi.json`))));
writeFileSync(
  join(folder, "program.ts"),
  `
import createClient from "openapi-fetch";
import type { paths } from "./server.js";

const client = createClient<paths>({ baseUrl: ${JSON.stringify(address)} });
const drawn = await client.POST("/text_to_image", {
  body: { model: "tiny", prompt: "a red apple", seed: 7 },
  parseAs: "arrayBuffer",
});
const refused = await client.POST("/text_to_image", { body: { model: "tiny", prompt: "a red apple", width: 63 } });
const generated = await client.POST("/v1/images/generations", { body: { model: "tiny", prompt: "a red apple", seed: 7 } });
// With stream, the answer would be the text of events.
if (generated.data === undefined || typeof generated.data === "string") throw generated;
const listed = await client.GET("/models");
console.log(JSON.stringify({
  drawn: Buffer.from(drawn.data!).toString("base64"),
  seed: drawn.response.headers.get("x-jubako-seed"),
  refused: [refused.error!.code, refused.error!.field],
  openai: generated.data.data[0]!.b64_json,
  models: listed.data!.models.map((model) => model.id),
}));
`,
);
symlinkSync(join(here, "node_modules"), join(folder, "node_modules"));
writeFileSync(join(folder, "package.json"), '{"type": "module"}');
const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", "--skipLibCheck"];
try {
  execFileSync(join(here, "node_modules/.bin/tsc"), [...options, "program.ts"], { cwd: folder, encoding: "utf8" });
} catch (error) {
  console.error(error.stdout);
  process.exit(1);
}
console.log(execFileSync("node", ["program.js"], { cwd: folder, encoding: "utf8" }).trim());
