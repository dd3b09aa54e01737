// Starts the page over what the server, or a file, has already put there.
//
// The page builds the same markup again and takes its place within one task, so that the browser draws none of it in
// between: focus, scroll positions, the selection, open details and what was typed meanwhile go over to the new elements.
import init, { mount } from "./pkg/dashboard.js";

await init({ module_or_path: new URL("./pkg/dashboard.wasm", import.meta.url) });
swap();

function swap() {
  const served = [...document.body.childNodes];
  const kept = keep(document.body);
  mount();
  for (const node of served) node.remove();
  giveBack(document.body, kept);
}

/** What the user has done to the elements below `body`, by their place in it. */
function keep(body) {
  const elements = [...body.querySelectorAll("*")];
  const focused = body.contains(document.activeElement) && document.activeElement !== body ? document.activeElement : null;
  const selection = document.getSelection();
  return {
    scroll: [scrollX, scrollY],
    scrolled: elements
      .filter((element) => element.scrollTop !== 0 || element.scrollLeft !== 0)
      .map((element) => [place(body, element), element.scrollLeft, element.scrollTop]),
    fields: elements.filter(isChanged).map((field) => [place(body, field), isChoice(field) ? null : field.value]),
    details: elements
      .filter((element) => element.tagName === "DETAILS")
      .map((element) => [place(body, element), element.open]),
    focus: focused && { place: place(body, focused), caret: caret(focused) },
    selection:
      selection.rangeCount > 0 && !selection.isCollapsed && body.contains(selection.anchorNode)
        ? [spot(body, selection.anchorNode, selection.anchorOffset), spot(body, selection.focusNode, selection.focusOffset)]
        : null,
  };
}

function giveBack(body, kept) {
  for (const [where, open] of kept.details) {
    const element = at(body, where);
    if (element) element.open = open;
  }
  for (const [where, value] of kept.fields) {
    const field = at(body, where);
    if (!field) continue;
    if (value === null) field.checked = !field.defaultChecked;
    else field.value = value;
    // A radio button that another one has put out says nothing.
    if (field.type === "radio" && !field.checked) continue;
    // The page hears of it as if it were typed now.
    for (const type of ["input", "change"]) field.dispatchEvent(new Event(type, { bubbles: true }));
  }
  const focused = kept.focus && at(body, kept.focus.place);
  if (focused) {
    focused.focus({ preventScroll: true });
    const setCaret = () => kept.focus.caret && focused.setSelectionRange(...kept.focus.caret);
    setCaret();
    // The page puts what it has heard into the field, which moves the caret; still before anything is drawn.
    requestAnimationFrame(setCaret);
  }
  if (kept.selection) {
    const [anchor, focus] = kept.selection.map((where) => node(body, where));
    if (anchor && focus) document.getSelection().setBaseAndExtent(...anchor, ...focus);
  }
  for (const [where, left, top] of kept.scrolled) at(body, where)?.scrollTo({ left, top, behavior: "instant" });
  if (scrollX !== kept.scroll[0] || scrollY !== kept.scroll[1]) {
    scrollTo({ left: kept.scroll[0], top: kept.scroll[1], behavior: "instant" });
  }
}

/** Whether a field holds something else than it was served with. */
function isChanged(element) {
  if (element.tagName === "SELECT") return [...element.options].some((option) => option.selected !== option.defaultSelected);
  if (isChoice(element)) return element.checked !== element.defaultChecked;
  return (element.tagName === "INPUT" || element.tagName === "TEXTAREA") && element.value !== element.defaultValue;
}

/** Whether a field is on or off. */
function isChoice(field) {
  return field.type === "radio" || field.type === "checkbox";
}

/** The selection in a text field; null of other elements. */
function caret(element) {
  // Fields without text throw, or say null.
  try {
    return element.selectionStart == null ? null : [element.selectionStart, element.selectionEnd, element.selectionDirection];
  } catch {
    return null;
  }
}

/** An element's place: its number among the elements of each ancestor, from `body` down, and its name. */
function place(body, element) {
  const numbers = [];
  for (let at = element; at !== body; at = at.parentElement) numbers.unshift([...at.parentElement.children].indexOf(at));
  return { numbers, name: element.tagName };
}

/** The element in a place; undefined if there is none of that name. */
function at(body, { numbers, name }) {
  // What is mounted stands where the served elements, which are gone, stood.
  const element = numbers.reduce((element, number) => element?.children[number], body);
  return element?.tagName === name ? element : undefined;
}

/** An end of a selection: the element around it, and how much of the element's text comes before. */
function spot(body, node, offset) {
  const element = node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
  const before = document.createRange();
  before.setStart(element, 0);
  before.setEnd(node, offset);
  return { place: place(body, element), characters: before.toString().length };
}

/** The text node and offset of such an end. */
function node(body, { place, characters }) {
  const element = at(body, place);
  if (!element) return undefined;
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let left = characters;
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    if (left <= text.length) return [text, left];
    left -= text.length;
  }
  return [element, element.childNodes.length];
}
