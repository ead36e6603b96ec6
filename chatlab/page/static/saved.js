// The end of the list that this tab shows, saved so that a reload does not ask for all of it again:
// the newest messages, the gaps, and the epoch of the server's log that the messages belong to.

import { Store, parsed } from "./store.js";

const MOST = 250_000; // characters that are saved, of some 5,000,000 that a browser has room for
const IN_A_CHUNK = 10_000; // characters; a chunk has at least one message
const SOON = 500; // milliseconds until a message is saved; a page that is left saves at once

const isRow = (row) => Number.isInteger(row?.[0]) && ["string", "undefined"].includes(typeof row[1]);

// Messages are saved in chunks, because each write costs a browser much, whatever its length. A
// chunk is named by the offset before its first message, and is a list of rows: [offset, text], and
// for messages that are gone from the server, [offset of the last of them]. So the page notices if
// a chunk is missing, and then does not use the list: it would ask only for what is after the last
// message, and never get the missing one.
//
// A tab that is killed may have saved less than it showed. It loses nothing: a page asks for what
// comes after the last message that was saved.
export class SavedList {
  #chunks = []; // oldest first: { before, rows (each as JSON), size, changed }
  #dropped = []; // the names of older chunks that may still be in the storage
  #timer;

  // The list calls `changed()` when `whole` may have changed.
  constructor(changed) {
    this.changed = changed;
    this.store = new Store("sessionStorage", "message");
    this.whole = true; // whether all that is to be saved is saved
    this.last = 0; // the offset of the last message that is to be saved, or known to be gone
    this.epoch = undefined; // unknown if the server has not sent it
    addEventListener("pagehide", () => this.#write());
  }

  // The saved list: `{ before, offset, text }` for each message; without a text, the messages after
  // `before` up to `offset` are gone. If a chunk is missing, the list is empty.
  load() {
    const { epoch, ...items } = Object.fromEntries(this.store.entries());
    const chunks = Object.entries(items).map(([name, value]) => ({
      before: Number(name), rows: parsed(value), size: value.length,
    }));
    chunks.sort((one, other) => one.before - other.before);
    this.last = chunks[0]?.before ?? 0;
    const list = [];
    for (const { before, rows } of chunks) {
      if (before !== this.last || !Array.isArray(rows) || !rows.every(isRow)) {
        this.forget();
        return [];
      }
      for (const [offset, text] of rows) {
        list.push({ before: this.last, offset, text });
        this.last = offset;
      }
    }
    const encoded = (rows) => rows.map((row) => JSON.stringify(row));
    this.#chunks = chunks.map(({ rows, ...chunk }) => ({ ...chunk, rows: encoded(rows) }));
    this.epoch = epoch;
    return list;
  }

  // Save a message; without a text, the messages up to this offset are gone.
  add(offset, text) {
    if (!this.whole) return;
    const row = JSON.stringify(text === undefined ? [offset] : [offset, String(text)]);
    const chunk = this.#open();
    chunk.rows.push(row);
    chunk.size += row.length;
    chunk.changed = true;
    this.last = offset;
    this.#timer ??= setTimeout(() => this.#write(), SOON);
  }

  // From now on, offsets belong to this epoch. The saved messages are in this log too.
  enter(epoch) {
    this.epoch = epoch;
    if (epoch === undefined) this.store.remove("epoch");
    else this.#set("epoch", epoch);
  }

  // Start again with an empty list.
  forget() {
    [this.#chunks, this.#dropped] = [[], []];
    this.store.clear();
    this.last = 0;
    this.epoch = undefined;
    this.whole = true;
    this.changed();
  }

  // The chunk to which the next message belongs. A new one takes the place of the oldest.
  #open() {
    const newest = this.#chunks.at(-1);
    if (newest?.size < IN_A_CHUNK) return newest;
    let size = this.#chunks.reduce((sum, chunk) => sum + chunk.size, 0);
    while (size > MOST) {
      const oldest = this.#chunks.shift();
      this.#dropped.push(oldest.before);
      size -= oldest.size;
    }
    this.#chunks.push({ before: this.last, rows: [], size: 0 });
    return this.#chunks.at(-1);
  }

  // The oldest first: at no moment is there a hole in the storage.
  #write() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const name of this.#dropped.splice(0)) this.store.remove(name);
    for (const chunk of this.#chunks.filter(({ changed }) => changed)) {
      this.#set(chunk.before, `[${chunk.rows}]`);
      chunk.changed = false;
    }
  }

  #set(name, value) {
    if (!this.whole) return;
    this.whole = this.store.set(name, value);
    if (this.whole) return;
    this.store.clear(); // an incomplete list is of no use
    this.changed();
  }
}
