// The form to join a class: the join code and a name, which are sent with each connection.
//
// If the server is not a class, the page does not show the form and sends neither. The code can be
// in the fragment of the address, from a QR code: a browser never sends the fragment.

import { newKey } from "./outbox.js";
import { Store } from "./store.js";

const REFUSALS = [
  "no code", "wrong code", "too many codes", "bad name", "name taken", "too many names",
  "too many tabs", "class full",
];

const element = (id) => document.getElementById(id);
const [dialog, refused, code, name, who] =
  ["join", "refused", "code", "name", "who"].map(element);

const codeInAddress = () => new URLSearchParams(location.hash.slice(1)).get("code") ?? "";

export class Join {
  // The form calls `joined()` when it is complete.
  constructor(joined) {
    this.tab = new Store("sessionStorage", "join"); // so that a reload does not ask again
    this.browser = new Store("localStorage", "student"); // for the next tab of the same student
    const known = Object.fromEntries(this.browser.entries());
    // A secret of this browser: another browser cannot take its student's name.
    this.badge = known.badge ?? newKey();
    const { code: savedCode, name: savedName } = Object.fromEntries(this.tab.entries());
    const joinedBefore = savedCode && savedName;
    this.auth = joinedBefore ? { code: savedCode, name: savedName, badge: this.badge } : {};
    code.value = codeInAddress() || (savedCode ?? "");
    name.value = savedName ?? known.name ?? "";
    dialog.firstElementChild.onsubmit = () => {
      this.#remember();
      joined();
    };
    addEventListener("hashchange", () => this.#codeChanged());
  }

  // Whether the form has to be filled in before the page can connect.
  get missing() {
    return codeInAddress() !== "" && codeInAddress() !== this.auth.code;
  }

  // Whether the server refused the connection because of what the form says.
  concerns(error) {
    return REFUSALS.includes(error.data?.error);
  }

  // Show the form, and after a refusal the reason for it.
  ask(error) {
    const reason = error?.data.error ?? "no code";
    refused.textContent = reason === "no code" ? "" : `You are not in: ${error.message}.`;
    if (!dialog.open) dialog.showModal();
    const first = code.value && reason !== "wrong code" ? name : code;
    first.focus();
  }

  // Show the name under which the tab has joined.
  entered() {
    who.textContent = this.auth.name ?? "";
  }

  // The code of another class was scanned into this tab. That does not load the page anew.
  #codeChanged() {
    if (!this.missing) return;
    code.value = codeInAddress();
    this.ask();
  }

  #remember() {
    // Another tab may have joined since this page was loaded: both belong to one student.
    this.badge = Object.fromEntries(this.browser.entries()).badge ?? this.badge;
    this.auth = { code: code.value, name: name.value, badge: this.badge };
    this.tab.set("code", code.value);
    this.tab.set("name", name.value);
    this.browser.set("name", name.value);
    this.browser.set("badge", this.badge);
    // The typed code replaces the scanned one, also after a reload.
    if (codeInAddress()) history.replaceState(null, "", `#code=${encodeURIComponent(code.value)}`);
  }
}

const isolated = (content, className) => {
  const part = document.createElement("bdi"); // a name may have another direction than the text
  part.textContent = content; // never as HTML: another person wrote it
  part.className = className;
  return part;
};

// The parts of an item that shows a message of a class. The name ends at the first colon.
export function signed(content) {
  const end = content.indexOf(": ");
  if (end < 0) return [isolated(content, "")];
  return [isolated(content.slice(0, end), "name"), ": ", isolated(content.slice(end + 2), "")];
}
