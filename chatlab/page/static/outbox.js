// The outbox: the messages that were written here and are not acknowledged yet.
//
// Each message has a key (client_offset). Without an acknowledgement, the page cannot know whether
// the server stored the message. So it sends the message again with the same key until there is an
// answer, and the server stores each key once. The page sends one message at a time, the oldest
// first, so the server stores them in the order in which they were written.

import { Store, parsed } from "./store.js";

const ANSWER_WITHIN = 10_000; // milliseconds; then the message is sent again
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;

// The errors after which a message may be sent again with its key: all others are final.
export const sendAgain = new Set(["not stored", "perhaps stored"]);

// 128 random bits. `crypto.randomUUID` would be shorter, but a page that was loaded over plain http
// from another machine does not have it.
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Milliseconds until the next attempt: longer after each failure, and different in each tab, so
// that a server that recovers does not get all attempts at once.
export function pauseAfter(failures) {
  return Math.min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE) * (0.5 + Math.random() / 2);
}

// The message in an item of the storage, or undefined if the item is not valid.
function readMessage(name, value) {
  const [, order, key] = name.match(/^(\d+)\.([0-9a-f]{32})$/) ?? [];
  const { text, refusal, left } = parsed(value) ?? {};
  const valid = key && typeof text === "string";
  return valid ? { name, order: Number(order), key, text, refusal, left, stored: true } : undefined;
}

const byOrder = (one, other) => one.order - other.order || (one.key < other.key ? -1 : 1);

export class Outbox {
  // `emit(text, key, answered)` sends a message and calls `answered` with the server's answer, if
  // there is one. The outbox calls `changed()` when the page must show it again. `comesLater(answer)`
  // tells of a stored message whether the list will get it.
  constructor(emit, changed, comesLater) {
    Object.assign(this, { emit, changed, comesLater });
    this.store = new Store("localStorage", "letter"); // an old name: browsers have items with it
    // This tab also sends the messages of closed and reloaded tabs. If another open tab sends them
    // too, both use the same order and the same keys, and the server stores each key once.
    const found = this.store.entries().map(([name, value]) => readMessage(name, value));
    this.messages = found.filter((message) => message).sort(byOrder);
    this.lastOrder = this.messages.at(-1)?.order ?? 0;
    this.sent = []; // stored messages that the list does not have yet: { text, offset }
    this.online = false;
    this.current = undefined; // the message that is under way
    this.failures = 0; // of the current message, one after another
    this.works = this.store.works;
    addEventListener("storage", (event) => this.#onStorage(event));
    addEventListener("pagehide", () => this.#leave());
  }

  // Whether every message survives a reload.
  get safe() {
    return this.works && this.messages.every((message) => message.stored);
  }

  add(text) {
    // Keep the order of writing even if the clock is set back.
    this.lastOrder = Math.max(Date.now(), this.lastOrder + 1);
    const key = newKey();
    const message = { name: `${this.lastOrder}.${key}`, order: this.lastOrder, key, text };
    this.messages.push(message);
    this.#save(message);
    if (this.current) this.changed();
    else this.#sendNext();
  }

  // Remove a message for good: it was sent, or its author has discarded it.
  remove(message) {
    this.store.remove(message.name);
    this.#drop(message);
  }

  // The list has the messages up to this offset.
  listed(offset) {
    if (!this.sent.length) return;
    this.sent = this.sent.filter((message) => message.offset > offset);
    this.changed();
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
    const next = this.messages.find((message) => message.refusal === undefined);
    if (next !== this.current) this.#beginAnew(next);
    this.current = this.online ? next : undefined;
    if (this.current) this.#send(this.current);
    this.changed();
  }

  #beginAnew(message) {
    this.failures = 0;
    if (message) message.trouble = undefined;
  }

  #send(message) {
    this.timer = setTimeout(() => this.#tryLater("no answer yet"), ANSWER_WITHIN);
    // An answer to an earlier attempt counts too.
    this.emit(message.text, message.key, (answer) => this.#answered(message, answer));
  }

  #answered(message, answer) {
    if (message !== this.current) return;
    if (!answer?.error) this.#stored(message, answer); // also if a server acknowledges with nothing
    else if (sendAgain.has(answer.error)) this.#tryLater(answer.message ?? answer.error);
    else this.#refuse(message, String(answer.message ?? answer.error));
  }

  #stored(message, answer) {
    // The same object, so that its place on the page stays the same.
    if (this.comesLater(answer)) this.sent.push(Object.assign(message, { offset: answer }));
    this.remove(message);
  }

  #tryLater(trouble) {
    clearTimeout(this.timer);
    this.current.trouble = trouble;
    this.failures += 1;
    this.timer = setTimeout(() => this.#sendNext(), pauseAfter(this.failures));
    this.changed();
  }

  // A refusal is final, so the next messages do not wait. The page stores it with the message, so
  // that its author can read it after a reload.
  #refuse(message, sentence) {
    message.refusal = sentence;
    this.#save(message);
    this.#goOn(message);
  }

  #drop(message) {
    this.messages = this.messages.filter((other) => other !== message);
    this.#goOn(message);
  }

  #goOn(message) {
    if (message === this.current) this.#sendNext();
    else this.changed();
  }

  // Each message has its own item in the storage. With one list for all, two tabs that write at the
  // same time would overwrite each other's list.
  #save({ name, text, refusal, left }) {
    const stored = this.store.set(name, JSON.stringify({ text, refusal, left }));
    this.messages.find((message) => message.name === name).stored ||= stored;
  }

  // When this tab is closed or reloaded, let other open tabs send its messages.
  #leave() {
    for (const message of this.messages) this.#save({ ...message, left: Date.now() });
  }

  // Another tab has sent or discarded one of our messages, or received its refusal; or it was
  // closed with an unsent one. If it has cleared the whole storage, `key` is null, and this tab
  // still has its messages in memory.
  #onStorage({ key, newValue }) {
    const name = this.store.nameOf(key);
    if (name === undefined) return;
    const message = this.messages.find((message) => message.name === name);
    const written = readMessage(name, newValue);
    if (!message && written?.left) this.#adopt(written);
    if (!message) return;
    if (newValue === null) this.#drop(message);
    else {
      message.refusal = written?.refusal;
      this.#goOn(message);
    }
  }

  #adopt(message) {
    this.messages = [...this.messages, message].sort(byOrder);
    this.lastOrder = this.messages.at(-1).order;
    if (this.current) this.changed();
    else this.#sendNext();
  }
}
