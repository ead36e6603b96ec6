// The outbox: what was written here and is not acknowledged yet.
//
// A letter has a key, made once. If an acknowledgement is lost, nobody can say whether the letter
// was: so it is sent again, under the same key, until there is an answer, and the server stores a
// key once. One letter is under way at a time, the oldest: so the order in which they were written
// is the order in which they are stored.

import { Store, parsed } from "./store.js";

const ANSWER_WITHIN = 10_000; // milliseconds; then the letter is sent again
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;

// 128 random bits. `crypto.randomUUID` would be shorter, but a page that came by plain http from
// another machine does not have it.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Longer after each failure, and never the same for two tabs: so that a server that comes back to
// its senses is not asked by all of them at once.
export function pauseAfter(failures) {
  return Math.min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE) * (0.5 + Math.random() / 2);
}

// The letter that an item of the storage holds, or undefined if it holds none.
function readLetter(name, value) {
  const [, order, key] = name.match(/^(\d+)\.([0-9a-f]{32})$/) ?? [];
  const { text, refusal, left } = parsed(value) ?? {};
  const valid = key && typeof text === "string";
  return valid ? { name, order: Number(order), key, text, refusal, left, stored: true } : undefined;
}

const byOrder = (one, other) => one.order - other.order || (one.key < other.key ? -1 : 1);

export class Outbox {
  // `emit(text, key, answered)` sends a letter and calls `answered` with the server's answer, if
  // one comes; `changed()` is called when there is something new to show.
  constructor(emit, changed) {
    this.emit = emit;
    this.changed = changed;
    this.store = new Store("localStorage", "letter");
    // What closed and reloaded tabs have left is sent from here. It may also belong to a tab that
    // lives: then both send it, in the same order, and the server stores each key once.
    const found = this.store.entries().map(([name, value]) => readLetter(name, value));
    this.letters = found.filter((letter) => letter).sort(byOrder);
    this.lastOrder = this.letters.at(-1)?.order ?? 0;
    this.online = false;
    this.current = undefined; // the letter that is under way
    this.failures = 0; // of the current letter, one after another
    this.works = this.store.works;
    addEventListener("storage", (event) => this.#heard(event));
    addEventListener("pagehide", () => this.#leave());
  }

  // Whether every letter survives a reload.
  get safe() {
    return this.works && this.letters.every((letter) => letter.stored);
  }

  add(text) {
    // The clock may be set back, and yet what is written later comes later.
    this.lastOrder = Math.max(Date.now(), this.lastOrder + 1);
    const key = newKey();
    const letter = { name: `${this.lastOrder}.${key}`, order: this.lastOrder, key, text };
    this.letters.push(letter);
    this.#save(letter);
    if (this.current) this.changed();
    else this.#sendNext();
  }

  // Take a letter out for good: it was sent, or somebody no longer wants it.
  remove(letter) {
    this.store.remove(letter.name);
    this.#drop(letter);
  }

  connected() {
    this.online = true;
    this.#sendNext();
  }

  disconnected() {
    this.online = false;
    this.#sendNext();
  }

  #sendNext() {
    clearTimeout(this.timer);
    const next = this.letters.find((letter) => letter.refusal === undefined);
    if (next !== this.current) this.#beginAnew(next);
    this.current = this.online ? next : undefined;
    if (this.current) this.#send(this.current);
    this.changed();
  }

  #beginAnew(letter) {
    this.failures = 0;
    if (letter) letter.trouble = undefined;
  }

  #send(letter) {
    this.timer = setTimeout(() => this.#tryLater("no answer yet"), ANSWER_WITHIN);
    // An answer to an earlier attempt is as good as one to the last.
    this.emit(letter.text, letter.key, (answer) => this.#answered(letter, answer));
  }

  #answered(letter, answer) {
    if (letter !== this.current) return;
    if (!answer?.error) this.remove(letter); // also if a server acknowledges with nothing
    else if (answer.error === "not stored") this.#tryLater(answer.message ?? answer.error);
    else this.#refuse(letter, String(answer.message ?? answer.error));
  }

  #tryLater(trouble) {
    clearTimeout(this.timer);
    this.current.trouble = trouble;
    this.failures += 1;
    this.timer = setTimeout(() => this.#sendNext(), pauseAfter(this.failures));
    this.changed();
  }

  // A refusal is for ever, so the letters behind this one need not wait. It is stored with the
  // letter: somebody has to read it, also after a reload.
  #refuse(letter, sentence) {
    letter.refusal = sentence;
    this.#save(letter);
    this.#goOn(letter);
  }

  #drop(letter) {
    this.letters = this.letters.filter((other) => other !== letter);
    this.#goOn(letter);
  }

  #goOn(letter) {
    if (letter === this.current) this.#sendNext();
    else this.changed();
  }

  // Each letter is an item of its own. In one list for all, two tabs that write at the same time
  // would each undo what the other has written.
  #save({ name, text, refusal, left }) {
    const stored = this.store.set(name, JSON.stringify({ text, refusal, left }));
    this.letters.find((letter) => letter.name === name).stored ||= stored;
  }

  // This tab is closed, or reloaded: the tabs that live may send what it has not sent.
  #leave() {
    for (const letter of this.letters) this.#save({ ...letter, left: Date.now() });
  }

  // Another tab has sent a letter of ours, or thrown it away, or heard that it is refused; or it
  // has left one of its own. If it has cleared the whole storage (then there is no key), the
  // letters here are all that is left.
  #heard({ key, newValue }) {
    const name = this.store.nameOf(key);
    if (name === undefined) return;
    const letter = this.letters.find((letter) => letter.name === name);
    const written = readLetter(name, newValue);
    if (!letter && written?.left) this.#adopt(written);
    if (!letter) return;
    if (newValue === null) this.#drop(letter);
    else {
      letter.refusal = written?.refusal;
      this.#goOn(letter);
    }
  }

  #adopt(letter) {
    this.letters = [...this.letters, letter].sort(byOrder);
    this.lastOrder = this.letters.at(-1).order;
    if (this.current) this.changed();
    else this.#sendNext();
  }
}
