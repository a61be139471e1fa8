// Builds elements. Text only ever becomes text nodes, so nothing a user pastes is read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** element("p", {class: "note", hidden: true, on: {click}}, "text", child): null and false are left out. */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Replaces what `node` holds; null and false are left out here, too. */
export function put(node, ...children) {
  node.replaceChildren();
  return fill(node, {}, children);
}

export const byId = (id) => document.getElementById(id);

function fill(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
