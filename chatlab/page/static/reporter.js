// Reports what happens on this page to the page around its frame, so that the panel of a lab can
// show it. Only a page of the same host that has asked gets the reports: other pages may put this
// one into a frame too, and must not read its messages.

const MOST = 1000; // reports that wait until the page around this one has asked

export class Reporter {
  #reports = [];
  #send; // undefined until the page around this one has asked

  // `state()` returns the present state of the page.
  constructor(state) {
    this.state = state;
    if (parent === window) return;
    addEventListener("message", (event) => this.#onMessage(event));
    parent.postMessage("chatlab: is there a panel?", "*");
  }

  #onMessage({ source, origin, data }) {
    if (source !== parent || data !== "chatlab: a panel") return;
    if (!URL.canParse(origin) || new URL(origin).hostname !== location.hostname) return;
    this.#send = (report) => parent.postMessage({ chatlab: report }, origin);
    this.#reports.forEach(this.#send);
    this.#reports = [];
    this.report();
  }

  // Report the state of the page, and the event that has just happened, if there is one.
  report(kind, text, offset) {
    if (parent === window) return;
    const report = { ...this.state(), kind, text, offset };
    if (this.#send) this.#send(report);
    else if (kind && this.#reports.length < MOST) this.#reports.push(report);
  }
}
