// The chat page. It remembers the offset of the last message that it has shown, and the epoch of
// that offset. It sends both whenever it connects; the server answers with the messages after this
// offset. A message that the user writes goes into the outbox, and from there to the server.

import { Earlier } from "./earlier.js";
import { Join, signed } from "./join.js";
import { MessageList } from "./list.js";
import { refusedAddress } from "./origin.js";
import { Outbox, pauseAfter, sendAgain } from "./outbox.js";
import { showPending } from "./pending.js";
import { Reporter } from "./reporter.js";
import { SavedList } from "./saved.js";
import { endBrokenUpgrades } from "./upgrade.js";

const CDN = "https://cdn.socket.io/4.8.4/socket.io.min.js";
const INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1";

const element = (id) => document.getElementById(id);
const [state, offset, toggle, reload, messages] =
  ["state", "offset", "connection", "reload", "messages"].map(element);
const [form, problem, anew, notice, text] =
  ["form", "problem", "anew", "notice", "text"].map(element);

function loadScript(src, attributes = {}) {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src, ...attributes });
    script.onload = resolve;
    script.onerror = () => reject(new Error(`cannot load ${src}`));
    document.head.append(script);
  });
}

// Load the client that was installed with the package, or else the same file from its CDN.
async function loadClient() {
  try {
    await loadScript(new URL("vendor/socket.io.min.js", import.meta.url));
  } catch {
    await loadScript(CDN, { integrity: INTEGRITY, crossOrigin: "anonymous" });
  }
}

const list = new MessageList(messages, () => earlier.show());
let dropped = false; // whether the button has cut the connection

const join = new Join(() => {
  dropped = false;
  socket?.io.reconnection(true);
  socket?.disconnect().connect();
});

function itemOf(content, position) {
  const item = document.createElement("li");
  if (join.auth.name) item.append(...signed(content));
  else item.textContent = content; // never as HTML: another person wrote it
  item.dir = "auto";
  item.dataset.first = position;
  return item;
}

// An item in the place of messages that the log has deleted.
function gapOf(first, last) {
  const item = document.createElement("li");
  const which = first === last ? `Message ${first} is` : `Messages ${first} to ${last} are`;
  item.textContent = `${which} gone from the server.`;
  item.className = "gap";
  item.dataset.first = first;
  return item;
}

const path = new URL("socket.io", document.baseURI).pathname; // also right behind a proxy

// What a connection asks for: the messages after an offset, many in one event. An epoch that is not
// known is not sent.
const authAfter = (asked) =>
  ({ ...join.auth, serverOffset: asked, epoch: saved.epoch, pages: true });

// The server of a class asks a connection, perhaps the latest one, for the offset of the page.
const answering = (connection) => connection.on("where", (answer) => answer(reached));

const connectAfter = (begin) =>
  answering(io({ path, auth: authAfter(begin), forceNew: true, reconnection: false }));
const earlier = new Earlier(list, connectAfter, itemOf, gapOf);

// `position` is the message's offset. The servers of the first chapters send none: then the page
// shows the message, and does not save it.
const saved = new SavedList(showNotice);
let reached = 0; // the offset of the last message that is shown, or known to be gone

function reach(position) {
  reached = position;
  offset.textContent = position;
  outbox.listed(position);
}

function showSaved() {
  for (const { before, offset: position, text: content } of saved.load()) {
    const gone = content === undefined;
    if (gone) list.add(0, () => gapOf(before + 1, position));
    else list.add(content.length, () => itemOf(content, position));
    reach(position);
  }
}

// Show messages that arrived together: [text, offset] of each.
function show(rows) {
  for (const [content, position] of rows) {
    list.add(String(content).length, () => itemOf(content, position));
    if (Number.isInteger(position)) saved.add(position, content);
  }
  const last = numbered(rows.at(-1)[1]);
  if (last !== undefined) reach(last); // once: it changes the page
  for (const [content, position] of rows) reporter.report("show", String(content), numbered(position));
}

// The offset of a message, or undefined if the server gave none.
const numbered = (position) => (Number.isInteger(position) ? position : undefined);

function showGap(position) {
  const first = reached + 1;
  list.add(0, () => gapOf(first, position));
  reach(position);
  saved.add(position);
}

// Forget the list, but not the outbox: its messages are in no log yet.
function forget() {
  list.clear();
  saved.forget();
  outbox.listed(Infinity);
  reach(0);
}

// The server sends the offset after which it continues, and whether that continues our list, leaves
// a gap, or starts again ("reset": its log does not have our offset).
function goOn({ epoch, after, outcome }) {
  if (outcome !== "continued") reporter.report(outcome, undefined, after);
  if (outcome === "reset") {
    forget();
    anew.textContent = "The server has another history: the page began anew.";
  }
  if (after > reached) showGap(after);
  saved.enter(epoch);
}

// The servers of the chapters do not send that, so the page guesses from their first message. If it
// is not after the offset that we sent, the server has another log, or sends its whole log to every
// client. (If another log is longer than our list, the page cannot notice.)
function guess(position, asked) {
  if (position <= asked) forget();
  saved.enter(undefined); // the epoch of this server is unknown
}

let socket; // undefined until the client has loaded
const outbox = new Outbox(send, () => {
  showPending(outbox, takeBack);
  showNotice();
  reporter.report();
}, (answer) => saved.epoch !== undefined && answer > reached); // with an epoch, every message comes
const reporter = new Reporter(() => ({
  state: state.textContent,
  connected: Boolean(socket?.connected),
  reached,
  pending: outbox.messages.filter(({ refusal }) => refusal === undefined).length,
}));

const old = new Set(); // keys of messages that were sent already, or have waited for a connection

function send(content, key, answered) {
  if (old.has(key)) reporter.report("retry", content);
  old.add(key);
  socket.emit("chat message", content, key, (answer) => {
    if (!answer?.error) reporter.report("acknowledge", content, numbered(answer));
    else if (!sendAgain.has(answer.error)) reporter.report("refuse", content);
    answered(answer);
  });
}

const countAsOld = () => outbox.messages.forEach(({ key }) => old.add(key));

// Take the text of a message back into the form, in front of what is being written there.
function takeBack(message) {
  text.value = [message.text, text.value].filter(Boolean).join(" ");
  text.focus();
}

// Show what this browser cannot store.
function showNotice() {
  const words = [];
  if (!outbox.safe) {
    const why = outbox.works ? "has no room" : "stores nothing";
    words.push(`This browser ${why}: unsent messages are gone after a reload.`);
  }
  if (!saved.whole) words.push("The list is not kept: a reload asks for all messages again.");
  const sentences = words.join(" ");
  if (notice.textContent !== sentences) notice.textContent = sentences; // announced once
}

function start() {
  let asked; // the offset that was sent with this connection
  let placed; // whether we know if this offset fits the server's log
  socket = answering(io({
    path,
    autoConnect: !join.missing,
    auth: (send) => {
      [asked, placed] = [reached, false];
      send(authAfter(asked));
    },
  }));
  endBrokenUpgrades(socket.io);

  socket.on("catching up", (place) => {
    placed = true;
    goOn(place);
  });
  socket.on("chat message", (content, position) => {
    if (Number.isInteger(position) && !placed) {
      placed = true;
      guess(position, asked);
    }
    show([[content, position]]);
  });
  socket.on("chat messages", show); // from a server that sends its place

  // `active` is false if the server refused or disconnected us: the client does not try again.
  // If the server refuses only for now, this page does: `again` is the timer, `refusals` in a row.
  let again;
  let refusals = 0;
  const wanted = () => !dropped && (socket.active || again !== undefined);
  const comeAgain = () => {
    refusals += 1;
    again = setTimeout(() => {
      again = undefined;
      socket.connect();
    }, pauseAfter(refusals));
  };
  const stopComing = () => {
    clearTimeout(again);
    again = undefined;
  };
  const showState = () => {
    const absent = dropped ? "line dropped" : wanted() ? "connecting …" : "not connected";
    state.textContent = socket.connected ? "connected" : absent;
    state.dataset.connected = socket.connected;
    toggle.textContent = wanted() ? "Drop the line" : "Reconnect";
  };
  let first = true; // whether this page has had no connection yet
  socket.on("connect", () => {
    problem.textContent = "";
    refusals = 0;
    join.entered();
    showState();
    reporter.report(first ? "load" : "reconnect");
    first = false;
    earlier.connected();
    outbox.connected();
  });
  socket.on("disconnect", () => {
    // If the button cut a connection that was being upgraded, and was pressed again before it ended,
    // the client does not try again by itself. If it does, this changes nothing.
    if (wanted()) setTimeout(() => socket.connect());
    showState();
    reporter.report("drop");
    countAsOld();
    earlier.disconnected();
    outbox.disconnected();
  });
  socket.on("connect_error", async (error) => {
    if (join.concerns(error)) join.ask(error);
    else if (error.data) problem.textContent = `The server refuses: ${error.message}`;
    if (error.data?.error === "not available" && !dropped) comeAgain();
    showState();
    reporter.report();
    const refused = error.data ? "" : await refusedAddress();
    if (refused && !socket.connected) problem.textContent = refused;
  });

  toggle.onclick = () => {
    dropped = wanted();
    stopComing();
    socket.io.reconnection(!dropped);
    if (!dropped) socket.connect();
    else if (socket.connected) socket.io.engine.close();
    else socket.disconnect(); // and stop trying
    showState();
    reporter.report();
  };
  if (join.missing) {
    join.ask();
    showState();
  }
}

// Writing needs no connection, and not even the Socket.IO client: the outbox keeps the message.
form.onsubmit = (event) => {
  event.preventDefault();
  reporter.report("send", text.value);
  outbox.add(text.value);
  list.release(); // else what was written would be nowhere
  if (!socket?.connected) countAsOld();
  text.value = "";
};
reload.onclick = () => location.reload();

showSaved();
countAsOld(); // the messages of an earlier page
showPending(outbox, takeBack);
showNotice();
// In a frame, do not take the focus: it belongs to the notebook around the frame.
if (window.top === window.self) text.focus();
try {
  await loadClient();
  start();
} catch (error) {
  state.textContent = "not connected";
  problem.textContent = `The page cannot work: the Socket.IO client did not load (${error.message}).`;
}
