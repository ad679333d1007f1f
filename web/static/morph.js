// Makes an element's content equal to another's by changing only what differs, so that focus, scroll position, opened
// <details> and half-typed fields stay. Children with an id or data-key are recognised wherever they moved.
"use strict";

const morph = (() => {
  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "");

  const alike = (old, fresh) =>
    old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && keyOf(old) === keyOf(fresh);

  // What the reader has done to an element is the reader's: an opened <details> stays open, typed text stays typed.
  const isTheReaders = (element, name) =>
    (element instanceof HTMLDetailsElement && name === "open") ||
    (element.matches("input, select, option, textarea") && ["value", "checked", "selected"].includes(name));

  function attributes(old, fresh) {
    for (const { name, value } of fresh.attributes) {
      if (!isTheReaders(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!isTheReaders(old, name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
  }

  function node(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    attributes(old, fresh);
    if (old.nodeName !== "TEXTAREA") children(old, fresh);
  }

  function children(parent, wanted) {
    const keyed = new Map();
    for (const child of parent.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
    let at = parent.firstChild;
    for (const fresh of [...wanted.childNodes]) {
      const key = keyOf(fresh);
      const known = key ? keyed.get(key) : at;
      keyed.delete(key); // a key that comes twice, by mistake, is not taken from where it was just put
      if (known && alike(known, fresh)) {
        if (known === at) at = at.nextSibling;
        else parent.insertBefore(known, at);
        node(known, fresh);
      } else {
        parent.insertBefore(document.importNode(fresh, true), at);
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  // Moving an element takes its focus away: it is given back, or to its namesake if the element was replaced.
  return (old, fresh) => {
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    children(old, fresh);
    if (!focused || document.activeElement === focused) return;
    const again = focused.isConnected ? focused : focused.id && document.getElementById(focused.id);
    if (again) again.focus({ preventScroll: true });
  };
})();
