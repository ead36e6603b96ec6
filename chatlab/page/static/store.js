// The browser's storage, made harmless. A browser may deny it, and then it throws as soon as it is
// named; it may be full, and then it throws when something is to be stored. Nothing here throws:
// what cannot be kept is answered with `false`, and the page goes on with its memory alone.

export class Store {
  // `area` is "localStorage", which all tabs of this address share, or "sessionStorage", which
  // belongs to one tab. The names of our items begin with the path of the page: behind a proxy the
  // pages of several servers have one address, and each has letters of its own.
  constructor(area, kind) {
    this.area = area;
    this.prefix = `chatlab.${kind}.${new URL(".", document.baseURI).pathname}.`;
  }

  // Whether anything can be stored at all, said by trying.
  get works() {
    const works = this.set("trial", "");
    this.remove("trial");
    return works;
  }

  entries() {
    return this.#attempt([], (items) =>
      Object.keys(items)
        .filter((key) => key.startsWith(this.prefix))
        .map((key) => [this.nameOf(key), items.getItem(key)]));
  }

  set(name, value) {
    return this.#attempt(false, (items) => {
      items.setItem(this.prefix + name, value);
      return true;
    });
  }

  remove(name) {
    this.#attempt(false, (items) => items.removeItem(this.prefix + name));
  }

  clear() {
    for (const [name] of this.entries()) this.remove(name);
  }

  // The name under which we know a key of the browser's, or undefined for a key of somebody else's.
  nameOf(key) {
    return key?.startsWith(this.prefix) ? key.slice(this.prefix.length) : undefined;
  }

  #attempt(otherwise, action) {
    try {
      return action(window[this.area]);
    } catch {
      return otherwise;
    }
  }
}

// What was stored as JSON; undefined for anything that is not.
export function parsed(value) {
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}
