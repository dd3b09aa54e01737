// Starts the static demo. A file of its own, because its policy allows no inline script.
import init, { mount } from "./pkg/dashboard.js";

await init({ module_or_path: new URL("./pkg/dashboard.wasm", import.meta.url) });
mount();
