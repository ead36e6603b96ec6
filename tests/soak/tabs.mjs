// Many tabs of the chat page in one process: its script without its HTML, with the official client.
// One command a line comes in, {"tab", "do", ...}, and one event a line goes out, {"tab", "event",
// ...}. `page` counts the loads of a tab's page: what a page says after it was left is ignored.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const ANSWER_WITHIN = 10_000; // milliseconds
const COME_AGAIN = 100; // milliseconds, when the server has said that its log is not available
const RETRIES = { reconnectionDelay: 20, reconnectionDelayMax: 1000, randomizationFactor: 0 };

const tabs = new Map();

class Tab {
  constructor({ tab, page, url, transports }) {
    this.say = (event, more) => console.log(JSON.stringify({ tab, page, event, ...more }));
    this.offset = 0;
    this.socket = io(url, { ...RETRIES, transports, forceNew: true, auth: this.auth.bind(this) });
    this.socket.on("chat message", this.show.bind(this));
    this.socket.on("connect", () => this.say("connect"));
    this.socket.on("disconnect", () => this.say("disconnect"));
    this.socket.on("connect_error", this.refused.bind(this));
  }

  auth(connect) { // asked when the transport is up, just before CONNECT
    this.say("auth");
    connect({ serverOffset: this.offset });
  }

  // Who is refused does not come again by itself.
  refused(error) {
    this.say("refuse", { reason: error.message });
    if (error.data?.error === "not available") this.again = setTimeout(() => this.socket.connect(), COME_AGAIN);
  }

  show(text, offset) {
    if (offset !== undefined) this.offset = offset;
    this.say("show", { text, offset });
  }

  call({ id, event, values }) {
    if (!this.socket.connected) return this.say("no_answer", { id });
    this.socket.timeout(ANSWER_WITHIN).emit(event, ...values, (error, ...answers) => {
      error ? this.say("no_answer", { id }) : this.say("answer", { id, values: answers });
    });
  }

  // Break the line and stay offline, as the button of the page does.
  drop() {
    clearTimeout(this.again);
    this.socket.io.reconnection(false);
    if (this.socket.connected) this.socket.io.engine.close();
    else {
      this.socket.disconnect();
      this.say("disconnect");
    }
  }

  reconnect() {
    this.socket.io.reconnection(true);
    this.socket.connect();
  }

  // Be gone, without a goodbye of Socket.IO's.
  leave() {
    clearTimeout(this.again);
    this.socket.off();
    this.socket.io.reconnection(false);
    if (this.socket.connected) this.socket.io.engine.close();
    else this.socket.disconnect();
  }
}

const commands = {
  load(command) {
    tabs.get(command.tab)?.leave();
    tabs.set(command.tab, new Tab(command));
  },
  call: (command) => tabs.get(command.tab).call(command),
  drop: (command) => tabs.get(command.tab).drop(),
  reconnect: (command) => tabs.get(command.tab).reconnect(),
  close: (command) => tabs.get(command.tab)?.leave(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  commands[command.do](command);
}
process.exit();
