// The browser's storage, without its exceptions. A browser throws if it does not allow the storage,
// or if the storage is full. Nothing here throws: `set` returns false if it could not store the
// value, and the page continues with what is in memory.

export class Store {
  // `area` is "localStorage", which all tabs of this origin share, or "sessionStorage", which
  // belongs to one tab. The names of our items begin with the path of the page: behind a proxy,
  // several servers share one origin, and each has its own messages.
  constructor(area, kind) {
    this.area = area;
    this.prefix = `chatlab.${kind}.${new URL(".", document.baseURI).pathname}.`;
  }

  // Whether anything can be stored at all. The only way to know is to try.
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

  // Our name for a key of the browser's storage, or undefined if the key is not ours.
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
