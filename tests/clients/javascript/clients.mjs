// What clients in JavaScript make of a server: `node clients.mjs ADDRESS PICTURE MASK` prints one line of JSON.

const [openai, vercel] = await Promise.all([import("./openai.mjs"), import("./vercel.mjs")]);

console.log(JSON.stringify({ openai: openai.seen, vercel: vercel.seen }));
