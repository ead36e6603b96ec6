// The browser's storage, without its exceptions. If the browser denies the storage, naming it
// throws; if it is full, storing something throws. Nothing here throws: `set` returns
// false if it could not store the value, and the page goes on with its memory alone.

export class Store {
  // `area` is "localStorage", which all tabs of this address share, or "sessionStorage", which
  // belongs to one tab. The names of our items begin with the path of the page: behind a proxy the
  // pages of several servers have one address, and each has messages of its own.
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
