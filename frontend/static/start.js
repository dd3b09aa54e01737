// Starts the static site. A file of its own, because its policy allows no inline script.
import init, { mount } from "./dashboard.js";

await init({ module_or_path: new URL("dashboard.wasm", import.meta.url) });
mount();
