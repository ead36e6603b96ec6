// The page in a frame tells what is around it what happens here: so the panel of a lab can show it.
// It tells a page of the same host that has asked, and no other: what is written here is not for
// everybody who puts this page into a frame.

const MOST = 1000; // events that are kept for who has not asked yet

export class Teller {
  #news = [];
  #send; // there is none until somebody has asked

  // `state()` says how the page is at the moment.
  constructor(state) {
    this.state = state;
    if (parent === window) return;
    addEventListener("message", (event) => this.#heard(event));
    parent.postMessage("chatlab: is there a panel?", "*");
  }

  #heard({ source, origin, data }) {
    if (source !== parent || data !== "chatlab: a panel") return;
    if (!URL.canParse(origin) || new URL(origin).hostname !== location.hostname) return;
    this.#send = (news) => parent.postMessage({ chatlab: news }, origin);
    this.#news.forEach(this.#send);
    this.#news = [];
    this.tell();
  }

  // Tell how the page is; and what has happened, if something has.
  tell(kind, text, offset) {
    const news = { ...this.state(), kind, text, offset };
    if (this.#send) this.#send(news);
    else if (kind && parent !== window && this.#news.length < MOST) this.#news.push(news);
  }
}
