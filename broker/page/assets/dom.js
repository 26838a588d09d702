// Elements, and values written for people.

// el makes an element: el('button', {class: 'x', onclick}, 'text', child). Members that are functions
// are listened with; false, null and undefined are left out.
export function el(name, members = {}, ...children) {
  return fill(document.createElement(name), members, children);
}

// svg makes an element of a drawing.
export function svg(name, members = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), members, children);
}

function fill(e, members, children) {
  for (const [name, value] of Object.entries(members)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === 'function') e.addEventListener(name.slice(2), value);
    else if (value === true) e.setAttribute(name, '');
    else e.setAttribute(name, value);
  }
  e.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return e;
}

// byId returns the element of the page that has the id.
export function byId(id) {
  return document.getElementById(id);
}

// now is the time in ms since 1970 with fractions, the same for all tabs.
export function now() {
  return performance.timeOrigin + performance.now();
}

// clock writes a time of day.
export function clock(ms) {
  const t = new Date(ms);
  const two = (n) => String(n).padStart(2, '0');
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${String(t.getMilliseconds()).padStart(3, '0')}`;
}

// span writes a duration in ms.
export function span(ms) {
  if (ms < 10) return `${Math.max(ms, 0.1).toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

// short writes the end of a position, which is where positions differ.
export function short(position) {
  return position.length > 15 ? `…${position.slice(-14)}` : position;
}

// count writes a number of things.
export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

// random returns text that nobody else has. crypto.randomUUID is only there under TLS.
export function random() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
