/** An element with properties, listeners and children; text is always inserted as text. */
export function el(tag, properties = {}, listeners = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  for (const [name, listener] of Object.entries(listeners)) node.addEventListener(name, listener);
  node.append(...children);
  return node;
}
