// The page's worker: passes frames between the page and the WASM that answers them.
import init, { Worker } from "./pkg/worker.js";

// Taken at once, so that nothing is lost while the WASM loads; where a blob has started this, it has done so before.
const waiting = self.waiting ?? [];
let answer = (frame) => waiting.push(frame);
onmessage = ({ data }) => answer(data);

await init({ module_or_path: new URL("./pkg/worker.wasm", import.meta.url) });
const worker = new Worker();
answer = (frame) => worker.handle(frame).forEach((frame) => postMessage(frame));
waiting.forEach((frame) => answer(frame));
