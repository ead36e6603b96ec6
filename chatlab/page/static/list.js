// The list of messages on the page.
//
// Messages may arrive by the thousand. A browser that lays the page out for each of them shows
// nothing else meanwhile, so they are drawn together: once a frame, and so many at a time that the
// page still answers its reader.

const MOST_AT_ONCE = 1000; // items drawn at a time
const NO_FRAME = 250; // milliseconds; a page that is not visible has no frames, and draws after this
const NEAR_THE_END = 40; // pixels

export class MessageList {
  #waiting = []; // functions that make the items to draw, oldest first
  #scheduled = false;
  #following = true; // the list shows its newest item, until its reader scrolls up
  #top = 0; // where the list was put when it showed its newest item last

  constructor(element) {
    this.element = element;
    element.onscroll = () => {
      const below = element.scrollHeight - element.scrollTop - element.clientHeight;
      // A list that has lost height is not at its end any more, though nobody has scrolled it.
      const untouched = element.scrollTop >= this.#top;
      this.#following = below < NEAR_THE_END || (this.#following && untouched);
    };
    new ResizeObserver(() => this.#follow()).observe(element);
  }

  // Draw the item that `make` returns, in the next frames, after all that were added before it.
  add(make) {
    this.#waiting.push(make);
    this.#schedule();
  }

  clear() {
    this.#waiting = [];
    this.element.replaceChildren();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const draw = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      this.#scheduled = false;
      this.#draw();
    };
    const frame = requestAnimationFrame(draw);
    const timer = setTimeout(draw, NO_FRAME);
  }

  #draw() {
    const items = this.#waiting.splice(0, MOST_AT_ONCE);
    this.element.append(...items.map((make) => make()));
    this.#follow();
    if (this.#waiting.length) this.#schedule();
  }

  // Only the list is scrolled, never what is around it: the page may be a frame in a notebook.
  #follow() {
    if (!this.#following) return;
    this.element.scrollTop = this.element.scrollHeight;
    this.#top = this.element.scrollTop;
  }
}
